"""`unspool locks` on Windows programs under Wine: critical sections, the loader lock, the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.programs.cores import written_by_gcore
from tests.programs.waits import calm_survey, survey
from unspool import api
from unspool.analyses.locks.records import LockReport
from unspool.render import locks_text

from .flavours import FLAVOURS
from .locks import running, running_all

pytestmark = pytest.mark.oracle


def look(name: str, mode: str, root: Path, waits: int, *, stripped: bool = False) -> LockReport:
    with running(FLAVOURS[name], mode, root, stripped=stripped) as pid:
        return calm_survey([pid], waits)


@pytest.mark.parametrize("stripped", [False, True], ids=["named", "stripped"])
@pytest.mark.parametrize("name", FLAVOURS)
def test_critical_sections_in_a_circle(name: str, stripped: bool, wine_root: Path) -> None:
    report = look(name, "ring", wine_root, 2, stripped=stripped)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert len(deadlock.chain) == 2
    assert [lock.kind for lock in report.locks] == ["critical_section"] * 2
    distance = abs((report.locks[0].address or 0) - (report.locks[1].address or 0))
    assert distance == (40 if name.endswith("x86_64") else 24), "neighbours in an array"
    assert not any(finding.kind == "loading_with_lock" for finding in report.findings)


@pytest.mark.parametrize("name", FLAVOURS)
def test_the_loader_lock_in_a_circle(name: str, wine_root: Path, tmp_path: Path) -> None:
    """Of the process and of its minidumps, which keep the sections, also sanitized."""
    dumps = [str(tmp_path / "whole.dmp"), str(tmp_path / "sanitized.dmp")]
    with running(FLAVOURS[name], "loader", wine_root) as pid:
        live = calm_survey([pid], 2)
        for dump in dumps:
            with api.open(pid) as target:
                api.dump(target, dump, sanitize=dump == dumps[1])
    for report in (live, *map(survey, dumps)):
        (deadlock,) = report.deadlocks
        assert deadlock.certain
        assert [lock.name for lock in report.locks].count("the loader lock") == 1
        assert [lock.address for lock in report.locks] == [lock.address for lock in live.locks]
        loading = [each for each in report.findings if each.kind == "loading_with_lock"]
        assert len(loading) == 2
        assert all("LoadLibrary" in finding.title for finding in loading)


@pytest.mark.parametrize("name", ["8.0-i386", "10.0-x86_64"])
def test_a_wait_in_symbol_loading_is_pointed_out(name: str, wine_root: Path) -> None:
    """A thread that names its stacks, in a callback of dbghelp, and holds what others need."""
    report = look(name, "symbols", wine_root, 2)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    (loading,) = (each for each in report.findings if each.kind == "loading_with_lock")
    assert "of dbghelp.dll while it holds critical section" in loading.title


@pytest.mark.parametrize("name", ["8.0-x86_64", "10.0-wow64"])
def test_a_queue_before_a_thread_that_sleeps_is_no_deadlock(name: str, wine_root: Path) -> None:
    report = look(name, "convoy", wine_root, 4)
    assert not report.deadlocks
    (lock,) = report.locks
    assert [holder.thread for holder in lock.holders] == [0]


@pytest.mark.parametrize("name", FLAVOURS)
def test_what_has_no_holder_says_so(name: str, wine_root: Path) -> None:
    """And who was woken waits for the section again, which the one that woke it has kept."""
    report = look(name, "others", wine_root, 8)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert {report.locks[report.waits[at].lock].kind for at in deadlock.chain} == {
        "critical_section"
    }
    srw, event, condition, address, keyed = report.locks[:5]
    assert (condition.kind, address.kind, keyed.kind) == ("condition", "wait_on_address", "handle")
    assert [wait.thread for wait in report.waits if wait.lock == 2] == [3, 4]
    assert keyed.unknown == "a keyed event has no holder: any thread may release its key"
    assert (srw.kind, event.kind) == ("srw_lock", "event")
    assert srw.address is not None
    assert "do not know" in (srw.unknown or "")
    assert event.state.startswith("manual-reset, not signalled")
    assert "handles that may set it are in locks.exe" in (event.unknown or "")


@pytest.mark.parametrize("name", FLAVOURS)
def test_mutants_in_a_circle(name: str, wine_root: Path) -> None:
    report = look(name, "mutants", wine_root, 2)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert len(deadlock.chain) == 2
    assert [lock.kind for lock in report.locks] == ["mutant"] * 2
    names = {lock.name or "" for lock in report.locks}
    assert "\\Sessions\\1\\BaseNamedObjects\\unspool_mutant" in names
    assert any(name.startswith("handle 0x") for name in names)


@pytest.mark.parametrize("name", ["8.0-x86_64", "10.0-wow64"])
def test_all_of_several_objects(name: str, wine_root: Path) -> None:
    """One that is held by who waits is enough, whatever the others are."""
    report = look(name, "all", wine_root, 3)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert [wait.any for wait in report.waits] == [False] * 3
    assert sorted(lock.kind for lock in report.locks) == ["event", "mutant", "mutant"]


def test_one_of_several_objects_may_still_come(wine_root: Path) -> None:
    report = look("8.0-i386", "either", wine_root, 3)
    assert not report.deadlocks
    assert sum(wait.any for wait in report.waits) == 2


def test_who_waits_for_any_of_what_never_comes_is_behind(wine_root: Path) -> None:
    """Who needs one of two mutants in a circle hangs; with an event beside, it may go on."""
    report = look("10.0-x86_64", "any", wine_root, 2 + 2 + 3)
    (deadlock,) = report.deadlocks
    (behind,) = deadlock.behind
    others = [wait for wait in report.waits if wait.key == report.waits[behind].key]
    assert len(others) == 2
    text = "\n".join(locks_text.lines(report))
    assert "as any of 3" in text
    assert "as any of 2" not in text


@pytest.mark.parametrize("name", ["8.0-x86_64", "10.0-i386"])
def test_threads_that_wait_for_each_others_end(name: str, wine_root: Path) -> None:
    report = look(name, "ends", wine_root, 2)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert {lock.kind for lock in report.locks} == {"join"}
    assert all("the end of Windows thread" in lock.state for lock in report.locks)


def test_a_semaphore_and_the_own_process(wine_root: Path) -> None:
    report = look("8.0-x86_64", "semaphore", wine_root, 2)
    assert not report.deadlocks
    semaphore, process = report.locks
    assert (semaphore.kind, process.kind) == ("semaphore", "process")
    assert semaphore.state.startswith("count 0 of at most 5")
    assert not process.holders


@pytest.mark.parametrize("name", ["8.0-x86_64", "8.0-i386", "10.0-wow64"])
def test_a_debugger_its_program_and_who_stands_by(name: str, wine_root: Path) -> None:
    """The program owns a mutant and loads a library, of which its debugger is told; that waits
    for the mutant before it lets the program go on. A third process waits behind them."""
    with running_all(FLAVOURS[name], "debugger", wine_root) as (pids, _):
        assert len(pids) == 3
        report = calm_survey(pids, 3)
        partial = survey(*[pid for pid in pids if debugs(pid)])
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert len({report.waits[index].party for index in deadlock.chain}) == 2
    (behind,) = deadlock.behind
    assert {report.waits[index].party for index in (*deadlock.chain, behind)} == {0, 1, 2}
    assert sorted(lock.kind for lock in report.locks) == ["debug_event", "mutant"]
    (loading,) = (each for each in report.findings if each.kind == "loading_with_lock")
    assert "waits in LoadLibrary" in loading.title
    assert "while it holds mutant" in loading.title
    assert not partial.deadlocks
    assert "which is no thread of the targets" in (partial.locks[0].unknown or "")


def debugs(pid: int) -> bool:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return arguments[-1] == b"debugger"


@pytest.mark.parametrize("name", FLAVOURS)
def test_two_processes_and_their_named_objects(
    name: str, wine_root: Path, tmp_path: Path, tool: Tool
) -> None:
    """Of running processes the server is found; of cores, its core is given as well."""
    with running_all(FLAVOURS[name], "pair", wine_root) as (pids, server):
        assert len(pids) == 2
        live = calm_survey(pids, 2)
        alone = survey(pids[0])
        for pid in (*pids, server):
            written_by_gcore(pid, tmp_path)
    paths = [str(tmp_path / f"core.{pid}") for pid in (*pids, server)]
    cores, without = survey(*paths), survey(*paths[:2])
    for path in paths:
        Path(path).unlink()
    for report in (live, cores):
        (deadlock,) = report.deadlocks
        assert deadlock.certain
        assert sorted(report.waits[index].party for index in deadlock.chain) == [0, 1]
        names = sorted(lock.name or "" for lock in report.locks)
        assert names == [f"\\BaseNamedObjects\\unspool_shared_{half}" for half in (0, 1)]
    assert not alone.deadlocks
    assert f"locks.exe (process {pids[1]}) holds it" in (alone.locks[0].unknown or "")
    assert not without.deadlocks
    assert not without.complete
    assert [each.kind for each in without.findings] == ["server_missing"] * 2
    assert all("give a core of it" in (lock.unknown or "") for lock in without.locks)


@pytest.mark.parametrize("name", ["8.0-x86_64", "8.0-i386"])
def test_a_core_says_the_same(name: str, wine_root: Path, tmp_path: Path, tool: Tool) -> None:
    with running(FLAVOURS[name], "ring", wine_root) as pid:
        calm_survey([pid], 2)
        core = written_by_gcore(pid, tmp_path)
    report = survey(str(core))
    core.unlink()
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert [lock.kind for lock in report.locks] == ["critical_section"] * 2
