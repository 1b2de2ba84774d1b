"""Waits in the dynamic linker while a lock is held; variables' names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.oracle.locks.answers import Live
from tests.programs.build import build
from tests.programs.build import tool as tool_path
from tests.programs.waits import VARIANTS
from unspool.formats.elf import Elf
from unspool.symbols.elf.data import DataSymbols

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("name", ["locks", "locks-stripped"])
def test_a_lock_held_while_the_dynamic_linker_is_waited_for(live: Live, name: str) -> None:
    report = live(name, "loader", waits=2)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert "the dynamic linker's lock (_rtld_global)" in [lock.name for lock in report.locks]
    loading = [each for each in report.findings if each.kind == "loading_with_lock"]
    assert len(loading) == 2
    assert all("dl_iterate_phdr" in finding.title for finding in loading)


def test_a_library_whose_constructor_waits(live: Live, tmp_path: Path) -> None:
    """The dynamic linker's lock is held while constructors run."""
    library = tmp_path / "plugin.so"
    source = Path(__file__).parents[2] / "programs" / "locks_plugin.c"
    subprocess.run([tool_path("gcc"), "-shared", "-fPIC", "-o", library, source], check=True)
    report = live("locks", "dlopen", str(library), waits=2)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert "the dynamic linker's lock (_rtld_global)" in [lock.name for lock in report.locks]
    loading = [each for each in report.findings if each.kind == "loading_with_lock"]
    assert len(loading) == 2
    assert all("waits in dlopen while it holds" in finding.title for finding in loading)


def test_variables_are_those_of_nm(programs_root: Path, tool: Tool) -> None:
    program = build(VARIANTS["locks"], programs_root)
    symbols = DataSymbols(Elf(program.read_bytes()))
    found = 0
    for line in tool("nm", "-S", "--defined-only", program).splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] in "bBdD":
            start, size = int(fields[0], 16), int(fields[1], 16)
            assert symbols.lookup(start) == (fields[3], 0)
            assert symbols.lookup(start + size - 1) == (fields[3], size - 1)
            found += 1
    assert found > 5
    assert symbols.lookup(0) is None
    assert symbols.lookup(1 << 63) is None
