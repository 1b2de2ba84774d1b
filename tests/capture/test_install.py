"""The installation, with the kernel's own settings: a crash has a report, and all is put back."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.build import build
from tests.programs.cores import CORE_PATTERN
from tests.programs.table import BY_NAME
from unspool.capture import install
from unspool.cli import main

from .kernel import CORE_PIPE_LIMIT, SCRIPT, SOURCE, crash, pattern

pytestmark = pytest.mark.oracle


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="u", dir="/tmp"))
    monkeypatch.setattr(install, "STATE", str(path / "state.json"))
    monkeypatch.setattr(install, "SYSCTL_FILE", str(path / "sysctl.conf"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def test_the_kernel_runs_what_was_installed(folder: Path, programs_root: Path) -> None:
    import sys

    if os.geteuid() != 0:
        pytest.skip("only root may set core_pattern")
    script = SCRIPT.format(python=sys.executable, source=str(SOURCE), options=[])
    # The command itself, not what the tests' handler is given.
    (folder / "unspool").write_text(
        "\n".join(line for line in script.splitlines() if "argv" not in line) + "\n"
    )
    (folder / "unspool").chmod(0o755)
    (folder / "c.toml").write_text(f'[spool]\ndirectory = "{folder}/spool"\nfree_mb = 0\n')
    program = build(BY_NAME["chain-O2"], programs_root)
    with pattern("core", 0):
        _there_and_back(folder, program)


def _there_and_back(folder: Path, program: Path) -> None:
    words = ["--program", f"{folder}/unspool", "--config", f"{folder}/c.toml", "--force"]
    if main(["capture", "install", *words]) != 0:
        pytest.skip("the interpreter of the tests is in a place that others write to")
    assert CORE_PATTERN.read_text().startswith(f"|{folder}/unspool capture handle --config")
    assert CORE_PIPE_LIMIT.read_text() == "8\n"
    assert main(["capture", "status", "--config", f"{folder}/c.toml"]) == 0
    pid = crash([program])
    assert len(list((folder / "spool").glob(f"*-chain-O2-{pid}.json.gz"))) == 1
    assert main(["capture", "uninstall"]) == 0
    assert CORE_PATTERN.read_text() == "core\n"
    assert CORE_PIPE_LIMIT.read_text() == "0\n"
    assert main(["capture", "status"]) == 1
