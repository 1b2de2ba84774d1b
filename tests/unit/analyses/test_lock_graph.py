"""Cycles of made-up waits: which are found, what is behind them, what is only possible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unspool.analyses.locks.graph import deadlocks
from unspool.analyses.locks.records import Holder, Lock, Wait


def graph(
    *waits: tuple[int, int, list[int]], possible: bool = False
) -> tuple[list[Wait], list[Lock]]:
    """(thread, lock, holders of the lock) each; a lock has the holders that came first with it."""
    numbers = {lock: index for index, lock in enumerate(dict.fromkeys(w[1] for w in waits))}
    locks = [Lock("mutex", 0, 0x1000 + lock) for lock in numbers]
    made = []
    for thread, lock, holders in waits:
        found = locks[numbers[lock]]
        if not found.holders:
            found.holders = [Holder(0, each, "made up", certain=not possible) for each in holders]
        made.append(
            Wait(0, thread, numbers[lock], "lock", address=lock, evidence="made up", frame=0)
        )
    return made, locks


def chains(waits: list[Wait], locks: list[Lock]) -> list[list[int]]:
    return [[waits[index].thread for index in each.chain] for each in deadlocks(waits, locks)]


def test_a_ring_is_one_closed_chain_in_the_order_of_holding() -> None:
    assert chains(*graph((1, 1, [2]), (2, 2, [3]), (3, 3, [1]))) == [[1, 2, 3]]


def test_a_thread_that_waits_for_itself() -> None:
    assert chains(*graph((7, 1, [7]))) == [[7]]


def test_a_queue_before_a_running_thread_is_none() -> None:
    assert chains(*graph((1, 1, [9]), (2, 1, [9]), (3, 3, [2]))) == []


def test_what_leads_to_a_ring_is_behind_it_and_not_in_it() -> None:
    waits, locks = graph((1, 1, [2]), (2, 2, [1]), (3, 1, [2]), (4, 4, [3]), (5, 5, [9]))
    (found,) = deadlocks(waits, locks)
    assert [waits[index].thread for index in found.chain] == [1, 2]
    assert [waits[index].thread for index in found.behind] == [3, 4]


def test_two_rings_are_two() -> None:
    waits, locks = graph((1, 1, [2]), (2, 2, [1]), (3, 3, [4]), (4, 4, [3]))
    assert chains(waits, locks) == [[1, 2], [3, 4]]


def test_a_ring_through_one_of_several_readers() -> None:
    assert chains(*graph((1, 1, [8, 9, 2]), (2, 2, [1]))) == [[1, 2]]


def test_a_holder_that_is_only_possible_makes_a_possible_deadlock() -> None:
    waits, locks = graph((1, 1, [2]), (2, 2, [1]), possible=True)
    (found,) = deadlocks(waits, locks)
    assert not found.certain


def test_a_certain_ring_does_not_become_uncertain_by_other_holders() -> None:
    waits, locks = graph((1, 1, [2]), (2, 2, [1]), (3, 3, [1]))
    locks[0].holders.append(Holder(0, 3, "perhaps", certain=False))
    (found,) = deadlocks(waits, locks)
    assert found.certain
    assert len(found.chain) == 2


def test_a_wait_with_a_timeout_is_said() -> None:
    waits, locks = graph((1, 1, [2]), (2, 2, [1]))
    waits[0].timed = True
    assert deadlocks(waits, locks)[0].timed


def test_a_ring_of_100_000_threads_takes_no_recursion() -> None:
    size = 100_000
    waits, locks = graph(*((i, i, [(i + 1) % size]) for i in range(size)))
    assert len(deadlocks(waits, locks)[0].chain) == size


@given(st.dictionaries(st.integers(0, 12), st.tuples(st.integers(0, 12), st.integers(0, 12))))
def test_every_chain_is_closed_and_every_cycle_is_found(
    edges: dict[int, tuple[int, int]],
) -> None:
    """Against walking from each thread along first and second holders, all ways."""
    waits, locks = graph(*((thread, thread, [*to]) for thread, to in edges.items()))
    found = deadlocks(waits, locks)
    for each in found:
        threads = [waits[index].thread for index in each.chain]
        for here, after in zip(threads, [*threads[1:], threads[0]], strict=True):
            assert after in edges[here]

    def reaches(start: int) -> set[int]:
        seen: set[int] = set()
        todo = [start]
        while todo:
            for after in edges.get(todo.pop(), ()):
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
        return seen

    cyclic = {thread for thread in edges if thread in reaches(thread)}
    stuck = {thread for thread in edges if thread in cyclic or reaches(thread) & cyclic}
    told = {waits[index].thread for each in found for index in (*each.chain, *each.behind)}
    assert told == stuck
