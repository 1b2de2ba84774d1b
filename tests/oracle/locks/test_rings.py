"""Deadlocks whose owners are known, and queues that are none."""

from __future__ import annotations

import pytest

from tests.oracle.locks.answers import Live, owner_known
from tests.programs.waits import NATIVE
from unspool.render import locks_text

pytestmark = pytest.mark.oracle
RECURSIVE, NORMAL = "recursive", "normal"
KINDS = {"n": NORMAL, "r": RECURSIVE, "e": "error-checking", "R": "robust", "a": "adaptive"}


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("name", [name for name in NATIVE if name != "locks-musl"])
def test_a_ring_is_one_deadlock(live: Live, name: str, count: int) -> None:
    report = live(name, "ring", str(count), waits=count)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert sorted(report.waits[index].thread for index in deadlock.chain) == [*range(1, count + 1)]
    assert not deadlock.behind
    assert {lock.kind for lock in report.locks} == {"mutex"}
    assert [finding.kind for finding in report.findings] == ["deadlock"]
    if name == "locks":
        names = {lock.name for lock in report.locks}
        assert {"locks of locks", "locks+0x28 of locks"} <= names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NATIVE)
def test_mutexes_of_every_kind(live: Live, name: str, kind: str) -> None:
    report = live(name, "ring", "2", kind, waits=2)
    assert [lock.kind for lock in report.locks] == ["mutex", "mutex"]
    assert bool(report.deadlocks) == owner_known(name, kind)
    if not owner_known(name, kind):
        assert all(lock.unknown for lock in report.locks)
    elif name != "locks-musl":
        assert KINDS[kind] in report.locks[0].state


def test_a_priority_inheriting_deadlock_that_the_kernel_refused(live: Live) -> None:
    """One thread waits for a word of its own stack, for ever."""
    for name in ("locks", "locks-static", "locks-m32"):
        (deadlock,) = live(name, "ring", "2", "p", waits=2).deadlocks
        assert len(deadlock.chain) == 2
        if name == "locks-static":
            assert not deadlock.certain, "no name says that it waits for a mutex"


def test_who_waits_behind_a_ring_is_not_in_it(live: Live) -> None:
    report = live("locks", "behind", "3", waits=6)
    (deadlock,) = report.deadlocks
    assert sorted(report.waits[index].thread for index in deadlock.chain) == [1, 2, 3]
    assert sorted(report.waits[index].thread for index in deadlock.behind) == [4, 5, 6]


@pytest.mark.parametrize("name", ["locks", "locks-static"])
def test_a_convoy_is_no_deadlock(live: Live, name: str) -> None:
    report = live(name, "convoy", "20", waits=20)
    assert not report.deadlocks
    assert not report.findings
    (lock,) = report.locks
    assert [holder.thread for holder in lock.holders] == [0]


@pytest.mark.parametrize("name", ["locks", "locks-static", "locks-m32"])
def test_who_was_signalled_waits_for_the_mutex(live: Live, name: str) -> None:
    """And for a signal waits another one, which only threads of the circle could send."""
    report = live(name, "signal", waits=4)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert len(deadlock.chain) == 3
    if name != "locks-static":
        assert [each.kind for each in report.findings] == ["deadlock", "all_wait"]


def test_a_thread_that_waits_for_itself(live: Live) -> None:
    (deadlock,) = live("locks", "self", waits=1).deadlocks
    assert len(deadlock.chain) == 1


@pytest.mark.parametrize("name", ["locks", "locks-static", "locks-m32"])
def test_a_writer_and_a_mutex(live: Live, name: str) -> None:
    report = live(name, "writer", waits=2)
    assert {lock.kind for lock in report.locks} == {"mutex", "rwlock"}
    assert [deadlock.certain for deadlock in report.deadlocks] == [True]


@pytest.mark.parametrize("name", ["locks", "locks-stripped", "locks-m32", "locks-musl"])
def test_threads_that_join_each_other(live: Live, name: str) -> None:
    (deadlock,) = live(name, "joins", waits=3).deadlocks
    assert deadlock.certain
    assert len(deadlock.chain) == 3


@pytest.mark.parametrize("name", ["locks", "locks-static", "locks-m32", "locks-musl"])
def test_the_lock_of_a_file_that_is_written(live: Live, name: str) -> None:
    (deadlock,) = live(name, "file", "2", "r", waits=2).deadlocks
    assert len(deadlock.chain) == 2
    assert deadlock.certain


def test_mutexes_of_cpp(live: Live) -> None:
    report = live("locks-c++", waits=3)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert len(deadlock.behind) == 1, "main joins one of them"
    names = sorted(lock.name or "" for lock in report.locks if lock.kind == "mutex")
    assert names == ["app::first of locks-c++", "app::second of locks-c++"]
    text = "\n".join(locks_text.lines(report))
    assert "in app::one, locks.cpp:" in text
    assert "in app::two, locks.cpp:" in text


def test_a_thousand_threads(live: Live) -> None:
    report = live("locks", "ring", "1000", waits=1000)
    (deadlock,) = report.deadlocks
    assert len(deadlock.chain) == 1000
