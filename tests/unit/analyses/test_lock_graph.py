"""Cycles of made-up waits: which are found, what is behind them, what is only possible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unspool.analyses.locks.graph import deadlocks
from unspool.analyses.locks.records import Deadlock, Holder, Lock, Wait


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


def choices(*waits: tuple[int, list[list[int]]], any_: bool = True) -> list[Deadlock]:
    """(thread, the holders of each lock that it waits for)."""
    made: list[Wait] = []
    locks: list[Lock] = []
    for thread, groups in waits:
        for holders in groups:
            held = [Holder(0, each, "made up") for each in holders]
            locks.append(Lock("mutant", 0, None, holders=held))
            made.append(
                Wait(
                    0, thread, len(locks) - 1, "wait", address=None, evidence="made up", frame=0,
                    any_=any_ and len(groups) > 1,
                )
            )  # fmt: skip
    return deadlocks(made, locks)


def test_one_of_all_that_a_thread_needs_is_enough_for_a_circle() -> None:
    (found,) = choices((1, [[], [2], [9]]), (2, [[1]]), any_=False)
    assert found.chain == [1, 3]


def test_any_of_several_is_no_circle_while_one_may_still_come() -> None:
    assert not choices((1, [[2], []]), (2, [[1]]))
    assert not choices((1, [[2], [9]]), (2, [[1]]))
    assert not choices((1, [[2], [3]]), (2, [[1]]), (3, [[9]])), "by way of one that may go on"


def test_any_of_several_is_a_circle_if_all_lead_into_it() -> None:
    (found,) = choices((1, [[2], [3]]), (2, [[1]]), (3, [[1]]))
    assert found.certain
    assert len(found.chain) == 2
    assert len(found.behind) == 1


def test_who_needs_any_is_behind_when_all_of_them_are() -> None:
    (found,) = choices((1, [[2]]), (2, [[1]]), (3, [[1], [2]]), (4, [[1], []]), (5, [[4]]))
    assert found.behind == [3], "thread 3 alone: 4 may go on, and so 5"


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.lists(st.lists(st.integers(0, 7), max_size=2), min_size=1, max_size=3),
        ),
        max_size=8,
    )
)
def test_what_is_stuck_is_what_no_order_of_events_can_free(
    threads: list[tuple[bool, list[list[int]]]],
) -> None:
    """Against a simulation: a thread that needs nothing more gives back what it holds."""
    made: list[Wait] = []
    locks: list[Lock] = []
    for thread, (any_, groups) in enumerate(threads):
        for holders in groups:
            held = [Holder(0, each, "made up") for each in dict.fromkeys(holders)]
            locks.append(Lock("mutant", 0, None, holders=held))
            made.append(
                Wait(
                    0, thread, len(locks) - 1, "wait", address=None, evidence="made up", frame=0,
                    any_=any_,
                )
            )  # fmt: skip
    stuck = set(range(len(threads)))
    changed = True
    while changed:
        free = {
            thread
            for thread in stuck
            if (any if threads[thread][0] else all)(
                not stuck & set(holders) for holders in threads[thread][1]
            )
        }
        changed = bool(free)
        stuck -= free
    found = deadlocks(made, locks)
    listed = {made[index].thread for each in found for index in (*each.chain, *each.behind)}
    assert listed == stuck
