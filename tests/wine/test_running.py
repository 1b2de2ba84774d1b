"""The zoo is where it says, in each flavour of Wine, and nothing of it stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import unspool
from unspool import api

from . import flavours, prefixes
from .conftest import Runner
from .expected import DEBUGGED
from .flavours import FLAVOURS, Flavour
from .prefixes import processes

pytestmark = pytest.mark.oracle

SCENARIOS = ["@sleep:2", "wndproc:3:2", "unix_call:1", "suspended_spin:1"]
ELF_CLASS = {"win32": 1, "win64": 2}


@pytest.mark.parametrize("name", FLAVOURS)
def test_threads_are_where_the_zoo_says(name: str, zoo: Runner, tmp_path: Path) -> None:
    flavour = FLAVOURS[name]
    with zoo(name, "O0", SCENARIOS) as zoo_here:
        tasks = {int(task) for task in os.listdir(f"/proc/{zoo_here.pid}/task")}
        maps = Path(f"/proc/{zoo_here.pid}/maps").read_text()
        with Path(f"/proc/{zoo_here.pid}/exe").open("rb") as executable:
            elf_class = executable.read(5)[4]
        prefix, folder = zoo_here.prefix.inside, zoo_here.folder
        assert processes(prefix)
        with unspool.open(zoo_here.pid) as target:
            api.dump(target, tmp_path / "zoo.dmp")
            program = target.info.executable
    assert os.path.basename(program or "") == "zoo.exe"
    with unspool.open(tmp_path / "zoo.dmp") as dumped:
        assert dumped.info.executable == program
    names = [(t.scenario, t.depth, t.nesting, t.main) for t in zoo_here.threads]
    assert names == [
        ("sleep", 2, 1, True),
        ("wndproc", 3, 2, False),
        ("unix_call", 1, 1, False),
        ("suspended_spin", 1, 1, False),
        ("reporter", 0, 0, False),
    ]
    assert {thread.tid for thread in zoo_here.threads} <= tasks
    assert len({thread.windows_tid for thread in zoo_here.threads}) == len(names)
    assert "zoo.exe" in maps
    assert (elf_class, "/wow64.dll" in maps) == (ELF_CLASS[flavour.architecture], flavour.wow64)
    assert not processes(prefix)
    assert not folder.exists()
    assert str(flavour.release.root) not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize("name", ["8.0-x86_64", "10.0-wow64"])
def test_a_zoo_that_fails_says_why_and_leaves_nothing(
    name: str, zoo: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make_prefix(flavour: Flavour, prefix: Path) -> None:
        made.append(prefix.parent)
        flavours.make_prefix(flavour, prefix)

    monkeypatch.setattr(prefixes, "make_prefix", make_prefix)
    with pytest.raises(AssertionError, match="failed: no_such_scenario"):
        zoo(name, "O0", ["no_such_scenario:1"]).__enter__()
    (folder,) = made
    assert not folder.exists()


@pytest.mark.parametrize("name", ["8.0-x86_64", "10.0-wow64"])
@pytest.mark.parametrize("scenario", DEBUGGED)
def test_a_debugger_holds_the_whole_process(name: str, scenario: str, zoo: Runner) -> None:
    with zoo(name, "O0", ["spin:1", f"{scenario}:1"]) as zoo_here:
        spinning = next(t.tid for t in zoo_here.threads if t.scenario == "spin")
        state = Path(f"/proc/{zoo_here.pid}/task/{spinning}/stat").read_text()
    assert state.rpartition(") ")[2].startswith("S")
