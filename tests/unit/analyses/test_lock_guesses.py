"""Who may hold a lock that does not say it: only made-up processes, whose stacks are empty."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from unspool.analyses.locks.guesses import guess_holders
from unspool.analyses.locks.process import Examined
from unspool.analyses.locks.records import Lock, Wait


@pytest.mark.parametrize(("kind", "guessed"), [("rwlock", [0, 1]), ("condition", [])])
def test_who_waits_for_the_same_lock_holds_it_only_if_nobody_else_can(
    kind: str, guessed: list[int]
) -> None:
    """A thread that waits for a signal, or is parked, may hold it as well."""
    process = SimpleNamespace(
        index=0,
        names_of=lambda stack: SimpleNamespace(functions=[]),
        report=SimpleNamespace(stacks=[SimpleNamespace(index=each, frames=[]) for each in (0, 1)]),
        target=SimpleNamespace(
            arch=SimpleNamespace(pointer_size=8),
            space=SimpleNamespace(memory=SimpleNamespace(read_available=None)),
        ),
    )
    locks = [Lock("rwlock", 0, 0x10), Lock(kind, 0, 0x20)]
    waits = [
        Wait(0, thread, thread if kind == "condition" else 0, "made up", address=0x10,
             evidence="", frame=0)
        for thread in (0, 1)
    ]  # fmt: skip
    guess_holders([cast(Examined, process)], locks, waits)
    assert [each.thread for each in locks[0].holders] == guessed
