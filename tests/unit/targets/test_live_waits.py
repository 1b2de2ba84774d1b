"""When a thread of a running process counts as one that still waits where it did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from unspool.targets.live import waits as live_waits
from unspool.targets.live.procfs import Process
from unspool.targets.live.waits import Waiting

SP = 0x7FFE0E88
CALL = b"202 0x5000 0x80 0x2 0x0 0x0 0x0 0x7ffe0e88 0x7f00012b\n"
ELSEWHERE = CALL.replace(b"0x5000", b"0x6000")
RUNNING = b"running\n"


class Scripted:
    """Gives for the only thread one answer after the other, the last one ever again."""

    def __init__(self, *looks: tuple[bytes, int]) -> None:
        self.looks: Iterator[tuple[bytes, int]] = iter(looks)
        self.last, self.count = b"", 0

    def read(self, _name: str) -> bytes:
        self.last, self.count = next(self.looks, (self.last, self.count))
        return self.last

    def status(self, _tid: int) -> dict[str, str]:
        return {"voluntary_ctxt_switches": str(self.count)}


def waiting(*looks: tuple[bytes, int]) -> Waiting:
    return Waiting(cast(Process, Scripted(*looks)), [7])


def test_a_thread_that_waits_all_the_time_stays() -> None:
    found = waiting((CALL, 3))
    assert found.words(7)[:2] == [202, 0x5000]
    assert found.still(7, SP)
    assert found.still(7, None)


def test_a_thread_that_is_on_its_way_back_to_its_call_is_waited_for() -> None:
    """Taking its stack has woken it; when it is looked at first it has no CPU yet."""
    found = waiting((RUNNING, 3), (RUNNING, 3), (CALL, 4))
    assert found.words(7)[:2] == [202, 0x5000]
    assert found.still(7, SP)


def test_a_thread_that_moves_after_that_does_not_stay() -> None:
    assert not waiting((RUNNING, 3), (CALL, 4), (CALL, 5)).still(7, SP)
    assert not waiting((RUNNING, 3), (CALL, 4), (ELSEWHERE, 4)).still(7, SP)
    assert not waiting((RUNNING, 3), (CALL, 4), (RUNNING, 4)).still(7, SP)


def test_a_thread_that_came_back_to_another_place_does_not_stay() -> None:
    assert not waiting((RUNNING, 3), (CALL, 4)).still(7, SP + 0x40)


def test_a_thread_that_only_runs_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_waits, "_PATIENCE", 0.005)
    found = waiting((RUNNING, 3))
    assert found.words(7) == []


def test_a_thread_that_may_not_be_looked_at_does_not_stay() -> None:
    assert not waiting((b"", 0)).still(7, SP)
