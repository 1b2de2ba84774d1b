"""`unspool locks` on Java's own locks, beside jstack, which looks for deadlocks in the JVM."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.oracle.locks.answers import keeps_its_promises
from tests.programs.cores import written_by_kernel
from tests.programs.jvms import EACH_JDK, SMALL, Jdk, newest_jdk, running_java
from tests.programs.waits import survey
from unspool import api
from unspool.analyses.locks.records import LockReport
from unspool.render import locks_text

pytestmark = pytest.mark.oracle

# "one":
#   waiting to lock monitor 0x00007f3388068280 (object 0x000000069ec19810, a java.lang.Object),
#   which is held by "two"
SAID = re.compile(
    r'^"([^"]+)":\n  waiting (?:to lock monitor|for ownable synchronizer) (0x[0-9a-f]+),? '
    r'\((?:object 0x[0-9a-f]+, )?a ([\w.$]+)\),\n  which is held by "([^"]+)"',
    re.MULTILINE,
)
Wait = tuple[str, int, str, str]


def said_by_jstack(jdk: Jdk, pid: int) -> set[Wait]:
    done = subprocess.run(
        [jdk.tool("jstack"), str(pid)], capture_output=True, text=True, check=True
    )
    return {
        (thread, int(address, 16), kind, holder)
        for thread, address, kind, holder in SAID.findall(done.stdout)
    }


def names(report: LockReport) -> dict[int, str]:
    """Threads' names by their ids: a core has none."""
    return {stack.tid: stack.name or "" for stack in report.parties[0].report.stacks}


def seen(report: LockReport, names: dict[int, str]) -> set[Wait]:
    """The waits of Java's deadlocks."""
    found = set()
    (party,) = report.parties
    for deadlock in report.deadlocks:
        assert deadlock.certain
        assert not deadlock.timed
        for index in deadlock.chain:
            wait = report.waits[index]
            lock = report.locks[wait.lock]
            (holder,) = lock.holders
            name, of = (names[party.stack(each).tid] for each in (wait.thread, holder.thread))
            kind = (lock.name or "").removeprefix("a ").partition(" at ")[0]
            found.add((name, lock.address or 0, kind, of))
    return found


def java(report: LockReport) -> set[str]:
    return {lock.kind for lock in report.locks if lock.kind.startswith("java_")}


def java_heap(core: Path) -> list[tuple[int, int]]:
    with api.open(str(core)) as target:
        found = api.layout(target)
    return [(area.start, area.end) for area in found.areas if area.name == "the Java heap"]


@EACH_JDK
def test_deadlocks_are_those_that_jstack_finds(
    jdk: Jdk, programs_root: Path, tmp_path: Path
) -> None:
    """Of a process, its minidump and its core; of a sanitized one it is said that none is known."""
    dump, sanitized = str(tmp_path / "dump"), str(tmp_path / "sanitized")
    with running_java(jdk, programs_root, "Locked", options=SMALL, cwd=tmp_path) as (process, _):
        said = said_by_jstack(jdk, process.pid)
        live = survey(process.pid)
        for path in (dump, sanitized):
            with api.open(process.pid) as target:
                api.dump(target, path, sanitize=path == sanitized)
        core = written_by_kernel(process.pid, tmp_path)
        assert len(said) == 4
        for report in (live, survey(dump), survey(str(core))):
            keeps_its_promises(report)
            assert len(report.deadlocks) == 2
            assert seen(report, names(live)) == said
            assert java(report) == {"java_monitor", "java_lock"}
            text = "\n".join(locks_text.lines(report))
            assert "in Locked.enter, Locked.java:" in text
            assert "by java.util.concurrent.locks.ReentrantLock.lock" in text
            assert "exclusiveOwnerThread is null" in text, "of the semaphore"
        heap = java_heap(core)
        objects = [address for _, address, kind, _ in said if kind.startswith("java.util")]
        assert len(objects) == 2
        assert all(any(low <= each < high for low, high in heap) for each in objects)
        blank = survey(sanitized)
        assert not blank.deadlocks
        assert not blank.complete
        assert "Java's locks cannot be read" in " ".join(each.title for each in blank.findings)


@pytest.mark.parametrize("option", ["-XX:+UseCompactObjectHeaders", "-XX:+UseZGC"])
def test_objects_in_other_forms(programs_root: Path, option: str) -> None:
    """Of ZGC the references are not read: that is said, and monitors' owners are not known."""
    jdk = newest_jdk(25)
    with running_java(jdk, programs_root, "Locked", options=(*SMALL, option)) as (process, _):
        report = survey(process.pid)
        if option == "-XX:+UseZGC":
            assert not report.deadlocks
            assert not report.complete
            assert "java_monitor" in java(report)
            assert "which of Java's locks" in " ".join(each.title for each in report.findings)
        else:
            assert seen(report, names(report)) == said_by_jstack(jdk, process.pid)
