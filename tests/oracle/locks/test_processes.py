"""Locks that processes share: in memory, and of files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.oracle.locks.answers import keeps_its_promises
from tests.programs.build import build
from tests.programs.build import tool as tool_path
from tests.programs.cores import written_by_gcore
from tests.programs.running import eventually, running
from tests.programs.waits import VARIANTS, calm_survey, started, survey
from unspool import api

pytestmark = pytest.mark.oracle


CONTAINED = ("unshare", "--pid", "--fork", "--kill-child")


@contextlib.contextmanager
def sharing(
    root: Path, memory: Path, count: int, kind: str, *, within: Sequence[str] = ()
) -> Iterator[list[int]]:
    """Processes in a circle; none says that it is ready before the next one holds its lock.

    `within` is a command that starts each of them.
    """
    memory.write_bytes(bytes(4096))
    command = [*within, str(build(VARIANTS["locks"], root)), "share", str(memory)]
    processes = [
        subprocess.Popen([*command, str(role), str(count), kind], stdout=subprocess.DEVNULL)
        for role in range(count)
    ]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("kind", ["n", "R", "p"])
def test_two_processes_share_mutexes(
    programs_root: Path, tmp_path: Path, tool: Tool, kind: str
) -> None:
    memory = tmp_path / "memory"
    with sharing(programs_root, memory, 2, kind) as pids:
        report = calm_survey(pids, 2)
        for pid in pids:
            Path(f"/proc/{pid}/coredump_filter").write_text("0x3f")
            written_by_gcore(pid, tmp_path)
        cores = [str(tmp_path / f"core.{pid}") for pid in pids]
        alone = survey(pids[0])
        twice = survey(cores[0], *pids)
        os.kill(pids[1], signal.SIGKILL)
        os.waitid(os.P_PID, pids[1], os.WEXITED | os.WNOWAIT)
        left = survey(pids[0])
    assert "same_process" in [each.kind for each in twice.findings]
    assert not any(each.certain for each in twice.deadlocks)
    for found in (report, survey(*cores)):
        keeps_its_promises(found)
        (deadlock,) = found.deadlocks
        assert deadlock.certain
        assert sorted(found.waits[index].party for index in deadlock.chain) == [0, 1]
        assert all(str(memory) in (lock.shared or "") for lock in found.locks)
    assert not alone.deadlocks
    assert f"thread of process {pids[1]} (locks), which shares" in (alone.locks[0].unknown or "")
    if kind == "n":  # of the others the kernel lets the waiter know
        assert "nor one of any process here: it has ended" in (left.locks[0].unknown or "")


@pytest.fixture
def contained() -> None:
    """For tests of pid namespaces, which not every machine lets be made."""
    if subprocess.run([tool_path(CONTAINED[0]), *CONTAINED[1:], "true"], check=False).returncode:
        pytest.skip("no pid namespaces can be made here")


def child_of(pid: int) -> int:
    found: list[str] = []

    def look() -> bool:
        found[:] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return bool(found)

    assert eventually(look)
    return int(found[0])


@pytest.mark.usefixtures("contained")
def test_a_container_seen_from_outside(programs_root: Path, tmp_path: Path, tool: Tool) -> None:
    """Its locks have ids of its own namespace, and what is written out here has others."""
    dumps = [str(tmp_path / name) for name in ("whole", "sanitized", "of a core")]
    program = str(build(VARIANTS["locks"], programs_root))
    with running([*CONTAINED, program, "ring", "2"]) as process:
        pid = child_of(process.pid)
        found = [calm_survey([pid], 2)]
        core = str(written_by_gcore(pid, tmp_path))
        for source, dump in ((pid, dumps[0]), (pid, dumps[1]), (core, dumps[2])):
            with api.open(source) as target:
                api.dump(target, dump, sanitize=dump == dumps[1])
    for report in (*found, *map(survey, (core, *dumps))):
        keeps_its_promises(report)
        assert [each.kind for each in report.findings] == ["deadlock"]
        assert 1 in [report.waits[at].thread for at in report.deadlocks[0].chain]


@pytest.mark.usefixtures("contained")
def test_two_containers_with_threads_of_the_same_id(programs_root: Path, tmp_path: Path) -> None:
    """Each has a thread 1, which owns what the other one wants: none waits for itself."""
    with sharing(programs_root, tmp_path / "memory", 2, "n", within=CONTAINED) as outer:
        pids = [child_of(pid) for pid in outer]
        both = calm_survey(pids, 2)
        alone = survey(pids[0])
    keeps_its_promises(both)
    (deadlock,) = both.deadlocks
    assert not deadlock.certain
    assert sorted(both.waits[index].party for index in deadlock.chain) == [0, 1]
    assert not alone.deadlocks
    assert "another pid namespace" in (alone.locks[0].unknown or "")


@contextlib.contextmanager
def two_with_files(root: Path, folder: Path, kind: str) -> Iterator[list[int]]:
    """Each has one file locked and wants the other's."""
    first, second = folder / "first", folder / "second"
    first.touch()
    second.touch()
    with (
        started("locks", root, "files", first, second, kind) as one,
        started("locks", root, "files", second, first, kind) as other,
    ):
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield [one.pid, other.pid]


@pytest.mark.parametrize("kind", ["flock", "ofd"])
def test_files_locked_across_processes(programs_root: Path, tmp_path: Path, kind: str) -> None:
    """By flock, and by fcntl's locks of open files: the kernel looks for no circle there."""
    with two_with_files(programs_root, tmp_path, kind) as pids:
        report = calm_survey(pids, 2)
    keeps_its_promises(report)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert {lock.kind for lock in report.locks} == {"file_lock"}
    shared = sorted((lock.shared or "").partition(",")[0] for lock in report.locks)
    assert shared == [str(tmp_path / "first"), str(tmp_path / "second")]


def test_a_file_locked_by_fcntl(programs_root: Path, tmp_path: Path) -> None:
    """Of these the kernel refuses the one that would close the circle; the other one waits."""
    with two_with_files(programs_root, tmp_path, "posix") as pids:
        report = calm_survey(pids, 1)
        alone = survey(pids[report.waits[0].party])
    assert not report.deadlocks
    (lock,) = report.locks
    assert [each.party for each in lock.holders] == [1 - report.waits[0].party]
    assert "which is none of the targets" in (alone.locks[0].unknown or "")


def test_three_parties_of_several_processes(programs_root: Path, tmp_path: Path) -> None:
    """A circle over three processes, of which one is a core, one a minidump, and one runs."""
    with sharing(programs_root, tmp_path / "memory", 3, "n") as (first, second, third):
        live = calm_survey([first, second, third], 3)
        # Its core lacks the file's memory: the others have it as well.
        Path(f"/proc/{first}/coredump_filter").write_text("0x33")
        core, dump = str(written_by_gcore(first, tmp_path)), str(tmp_path / "b.dmp")
        with api.open(second) as target:
            api.dump(target, dump)
        mixed = survey(core, dump, third)
        partial = survey(core, third)
    for report in (live, mixed):
        keeps_its_promises(report)
        (deadlock,) = report.deadlocks
        assert deadlock.certain
        assert sorted(report.waits[index].party for index in deadlock.chain) == [0, 1, 2]
    assert not partial.deadlocks
    assert [party.report.target.kind for party in mixed.parties] == ["core", "minidump", "live"]
