"""PHP's compiled code, which it tells gdb of: objects made by hand, code in shared memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.minidumps import Place, check
from tests.programs.build import HERE, tool
from tests.programs.cores import written_by_gcore
from tests.programs.running import running

from .peers import ask_gdb_about

pytestmark = pytest.mark.oracle

LEVELS = ["JIT$level"] * 9
# All functions compiled when they are loaded, however new the file; 0x100 is for gdb.
SETTINGS = {
    "opcache.enable_cli": 1, "opcache.jit_buffer_size": "8M", "opcache.jit": "function",
    "opcache.jit_debug": "0x100", "opcache.file_update_protection": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def pid() -> Iterator[int]:
    settings = [part for name, value in SETTINGS.items() for part in ("-d", f"{name}={value}")]
    with contextlib.ExitStack() as stack:
        try:
            started = running([tool("php"), *settings, HERE / "levels.php"])
            process = stack.enter_context(started)
        except AssertionError as error:
            if "off" in str(error) or "opcache_get_status" in str(error):
                pytest.skip("this php has no compiler")
            raise
        yield process.pid


def compiled(report: dict[str, Any]) -> list[str | None]:
    frames = report["threads"][0]["frames"]
    assert report["threads"][0]["stop"]["reason"] == "root"
    kinds = [module["kind"] for module in report["modules"]]
    found = [f for f in frames if f.get("module") is not None and kinds[f["module"]] == "jit"]
    assert {f["trust"] for f in found} == {"cfi"}
    return [frame["function"] for frame in found]


def test_a_process_as_gdb_sees_it(pid: int) -> None:
    ours = Place(pid).report()
    assert compiled(ours) == LEVELS
    theirs = ask_gdb_about(pid)[pid]
    frames = ours["threads"][0]["frames"]
    assert [int(f["pc"], 16) for f in frames] == [pc for pc, _ in theirs]
    assert [name for _, name in theirs if name == "JIT$level"] == LEVELS


def test_a_core_and_a_dump_of_it(pid: int, tmp_path: Path) -> None:
    """In a core's list of mapped files the compiled code is in one, "/dev/zero"."""
    core = Place(written_by_gcore(pid, tmp_path))
    assert compiled(core.report()) == LEVELS
    dumped, _ = core.dump(tmp_path / "a.dmp")
    check(core.report(), dumped.report())
    assert compiled(dumped.report()) == LEVELS
