"""Locks that do not say who holds them, or whose owner has ended."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.oracle.locks.answers import Live, keeps_its_promises
from tests.programs.running import running
from tests.programs.waits import calm_survey
from unspool.render import locks_text

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize(
    ("file", "kinds"), [("words", ["futex", "futex"]), ("wine-77-fsync", ["mutant", "handle"])]
)
@pytest.mark.parametrize("name", ["locks", "locks-m32", "locks-musl"])
def test_a_wait_for_any_of_several_words(
    live: Live, tmp_path: Path, name: str, file: str, kinds: list[str]
) -> None:
    """By futex_waitv, as Proton's fsync has it: its memory is known by its file's name."""
    report = live(name, "vector", str(tmp_path / file), waits=2)
    assert [lock.kind for lock in report.locks] == kinds
    assert all(wait.any for wait in report.waits)
    first, second = report.waits
    assert (second.address or 0) - (first.address or 0) == 8
    assert str(tmp_path / file) in (report.locks[0].shared or "")
    assert "0x1" in report.locks[0].state


def test_a_reader_is_not_known_and_so_the_deadlock_is_only_possible(live: Live) -> None:
    report = live("locks", "readers", waits=2)
    (deadlock,) = report.deadlocks
    assert not deadlock.certain
    assert [finding.kind for finding in report.findings] == ["possible_deadlock"]
    assert any("does not say which" in (lock.unknown or "") for lock in report.locks)


@pytest.mark.parametrize("name", ["locks", "locks-stripped", "locks-m32", "locks-musl"])
def test_other_waits_have_their_kinds(live: Live, name: str) -> None:
    report = live(name, "others", waits=4)
    assert not report.deadlocks
    kinds = [report.locks[wait.lock].kind for wait in report.waits]
    # What waits for a semaphore has no exported name: without debug symbols it is any word.
    assert kinds[2] in ("semaphore", "futex")
    assert kinds[:2] + kinds[3:] == ["condition", "barrier", "join"]
    barrier, join = report.locks[1], report.locks[3]
    if name != "locks-musl":
        assert barrier.state == "1 of 3 threads have come to it"
    assert [holder.thread for holder in join.holders] == [4]


def test_a_mutex_that_notes_no_owner(live: Live) -> None:
    """As those of Rust's library, and of others that are made of a futex alone."""
    report = live("locks", "bare", waits=2)
    (lock,) = report.locks
    assert (lock.kind, lock.name) == ("futex", "bare of locks")
    assert not lock.holders
    assert "who will wake it up" in (lock.unknown or "")


def test_rusts_mutexes_note_no_owner(live: Live) -> None:
    """The deciding frame is the program's, behind those of Rust's library."""
    report = live("locks-rust", waits=3)
    assert not report.deadlocks
    (lock,) = (lock for lock in report.locks if lock.name and "LOCK" in lock.name)
    assert lock.name == "locks::LOCK of locks-rust"
    assert (lock.kind, lock.unknown) == ("mutex", "Rust's locks do not know who holds them")
    text = "\n".join(locks_text.lines(report))
    assert text.count("in locks::main::{{closure}}, locks.rs:") == 2
    assert "who holds 1 of the locks is not known" in text
    assert "may be held by thread" in text


def test_rusts_guards_on_the_stacks_of_a_ring(live: Live) -> None:
    """A guard has its lock's address: that is evidence, and no proof."""
    (deadlock,) = live("locks-rust", "ring", waits=3).deadlocks
    assert not deadlock.certain
    assert len(deadlock.chain) == 2


def test_who_initialises_and_who_reads_is_guessed(live: Live) -> None:
    """The static variable, the once_flag, and each thread of the two that read and want to write.

    Who joins one of them holds none of their locks.
    """
    report = live("locks-c++", "initialise", waits=7)
    assert not any(each.certain for each in report.deadlocks)
    chains = [[report.waits[at].thread for at in each.chain] for each in report.deadlocks]
    assert sorted(map(sorted, chains)) == [[1, 2], [3, 4], [5], [6]]
    assert [each.kind for each in report.findings].count("all_wait") == 1
    text = "\n".join(locks_text.lines(report))
    assert "one-time initialisation" in text
    assert "guard variable for app::made()::only" in text
    assert "in app::upgrade, locks.cpp" in text


def test_a_lock_of_a_thread_that_has_ended(live: Live) -> None:
    report = live("locks", "gone", waits=1)
    assert not report.deadlocks
    assert [each.kind for each in report.findings] == ["holder_gone", "all_wait"]
    assert "is no thread of the process" in report.findings[0].title
    assert "but see the notes" in "\n".join(locks_text.lines(report))


@pytest.mark.parametrize("name", ["locks", "locks-m32"])
def test_a_reader_behind_a_writer(live: Live, name: str) -> None:
    """A reader waits for another word there; without others it can only be the one that reads."""
    report = live(name, "prefer", waits=2)
    assert {(lock.kind, lock.name) for lock in report.locks} == {("rwlock", "rwlocks of " + name)}
    assert "a writer that waits comes first" in (report.locks[0].unknown or "")
    assert [report.waits[at].thread for at in report.deadlocks[0].chain] == [0]


def test_a_runtime_whose_locks_are_not_seen(tmp_path: Path) -> None:
    """Python's deadlock is none of threads' locks, and "no deadlock" would be a lie."""
    program = tmp_path / "ring.py"
    program.write_text(
        "import threading\n"
        "locks = threading.Lock(), threading.Lock()\n"
        "both = threading.Barrier(3)\n"
        "def take(own):\n"
        "    with locks[own]:\n"
        "        both.wait()\n"
        "        locks[1 - own].acquire()\n"
        "for own in (0, 1):\n"
        "    threading.Thread(target=take, args=(own,)).start()\n"
        "both.wait()\n"
        "print('ready', flush=True)\n"
    )
    with running([sys.executable, program]) as process:
        report = calm_survey([process.pid], 3)
    keeps_its_promises(report)
    assert not report.deadlocks
    assert "runtime_locks" in [each.kind for each in report.findings]
    text = "\n".join(locks_text.lines(report))
    assert "no deadlock is known" in text
    assert "runs CPython: its locks are semaphores" in text
