"""What a stack may import: starting is most of the time that a small core takes
(docs/decisions/0002-no-dataclasses-on-the-hot-path.md).
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import BUNDLED, ROOT

SLOW = {
    "argparse", "asyncio", "collections.abc", "contextlib", "ctypes", "dataclasses", "enum",
    "importlib.metadata", "importlib.resources", "inspect", "json", "logging", "lzma", "pathlib",
    "random", "re", "shutil", "socket", "subprocess", "tempfile", "threading", "typing",
}  # fmt: skip

SCRIPT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
before = set(sys.modules)
from unspool.cli import main
code = main(sys.argv[1:])
sys.stdout.flush()
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps({"code": code, "modules": loaded}), file=sys.stderr)
"""


def modules_of(*arguments: str) -> set[str]:
    """The modules that a command line loads, in an interpreter without site-packages."""
    command = [sys.executable, "-S", "-c", SCRIPT, str(ROOT / "src"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stderr.splitlines()[-1])
    assert answer["code"] == 0, done.stderr
    return set(answer["modules"])


@pytest.mark.parametrize("options", [(), ("--no-symbols",), ("--explain",), ("--verbose",)])
def test_a_plain_core_needs_nothing_slow(demo_core: str, options: tuple[str, ...]) -> None:
    assert not modules_of(demo_core, "--symbols", str(BUNDLED), *options) & SLOW


def test_a_core_loads_nothing_for_live_processes_and_compression(demo_core: str) -> None:
    loaded = modules_of(demo_core, "--symbols", str(BUNDLED))
    assert "unspool.targets.core.target" in loaded
    assert not {
        "unspool.targets.live", "unspool.targets.input.unpack", "unspool.targets.input.decompress",
        "unspool.targets.input.spool", "unspool.render.json",
    } & loaded  # fmt: skip


def test_json_needs_json_and_what_that_needs(demo_core: str) -> None:
    loaded = modules_of(demo_core, "--symbols", str(BUNDLED), "--format", "json")
    assert not loaded & (SLOW - {"json", "re", "enum"})


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_needs_nothing_slow(option: str) -> None:
    assert not modules_of(option) & SLOW


def test_the_package_itself_loads_nothing() -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import unspool; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", script, str(ROOT / "src")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = {name for name in done.stdout.split() if name.startswith("unspool")}
    assert loaded == {"unspool", "unspool.unwind"}
    assert not set(done.stdout.split()) & SLOW
