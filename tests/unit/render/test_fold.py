from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reports import BOOM, STACK, frames, stack
from unspool.model import SUBJECT, Segment, Stop, StopReason
from unspool.render import fold


def folded(
    pcs: Sequence[int], function_of: Callable[[int], Hashable] = lambda pc: pc
) -> list[tuple[int, int]]:
    found = fold.fold_frames(pcs, 0, len(pcs), function_of)
    return [(each.start, each.end) for each in found]


def test_a_function_that_calls_itself_shows_its_first_and_last_calls() -> None:
    pcs = [1, 2, *[3] * 1000, 4, 5]
    assert folded(pcs) == [(5, 1000)]


@pytest.mark.parametrize("period", range(1, fold.MAX_PERIOD + 1))
@pytest.mark.parametrize("rest", [0, 1, 5])
def test_mutual_recursion_is_folded_by_whole_turns(period: int, rest: int) -> None:
    cycle = [100 + number for number in range(period)]
    pcs = [1, 2, *(cycle * 50), *cycle[: rest % period], 3, 4]
    ((start, end),) = folded(pcs)
    assert (start - 2) % period == 0
    assert start - 2 >= 3
    # Shown at the end: at least two frames and one turn of the cycle.
    assert len(pcs) - 2 - end >= max(2, period)
    assert end - start > 20 * period


def test_a_period_beyond_the_longest_is_shown_whole() -> None:
    cycle = list(range(fold.MAX_PERIOD + 1))
    assert folded(cycle * 20) == []


def test_a_pc_that_occurs_twice_in_a_cycle_does_not_hide_it() -> None:
    assert folded([1, 1, 2, 2] * 30) == [(4, 116)]
    assert folded([1, 1, 2, 1, 3] * 30) == [(5, 145)]


def test_a_little_recursion_is_not_folded() -> None:
    assert folded([1, *[2] * 8, 3]) == []
    assert folded([1, *[2] * 9, 3]) == [(4, 8)]
    assert folded([1, 2, 1, 2, 1, 2]) == []


def test_several_recursions_in_one_stack_are_folded_each() -> None:
    pcs = [*[1] * 50, 2, *[3, 4] * 50, 5]
    assert folded(pcs) == [(3, 48), (55, 149)]


def test_recursion_without_a_pattern_among_few_functions_is_folded_if_there_is_plenty() -> None:
    # A parser: which function calls which, and from where, depends on the input.
    text = [(index * index * 7919) % 11 for index in range(4000)]
    random = [100 + 10 * (value % 5) + value % 3 for value in text]
    pcs = [1, 2, 3, *random, 4, 5]
    ((start, end),) = folded(pcs, lambda pc: pc // 10)
    assert end - start > 3900
    assert folded(pcs[:200], lambda pc: pc // 10) == []


def test_many_functions_are_never_folded() -> None:
    pcs = [(index * 7919) % 4001 for index in range(4000)]
    assert folded(pcs) == []


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 12), min_size=1, max_size=10), st.integers(1, 200)),
        max_size=6,
    )
)
def test_folds_lie_in_order_and_hide_no_function_that_is_not_shown(
    parts: list[tuple[list[int], int]],
) -> None:
    pcs = [pc for cycle, turns in parts for pc in cycle * turns]
    folds = folded(pcs, lambda pc: pc // 2)
    ends = [0]
    for start, end in folds:
        assert ends[-1] < start < end < len(pcs)
        ends.append(end)
        hidden = {pc // 2 for pc in pcs[start:end]}
        assert len(hidden) <= fold.MAX_PERIOD
    shown = {
        pc // 2
        for index, pc in enumerate(pcs)
        if not any(start <= index < end for start, end in folds)
    }
    if len(pcs) < 512:
        assert shown == {pc // 2 for pc in pcs}


@given(
    st.lists(st.integers(0, 3), max_size=60),
    st.integers(1, 8),
    st.integers(0, 60),
)
def test_repeats_until_agrees_with_a_plain_loop(pcs: list[int], period: int, start: int) -> None:
    start = max(start, period)
    expected = start
    while expected < len(pcs) and pcs[expected] == pcs[expected - period]:
        expected += 1
    if start <= len(pcs):
        assert fold.repeats_until(pcs, start, len(pcs), period) == expected


def test_work_on_a_stack_of_distinct_functions_is_linear() -> None:
    asked = 0

    def function_of(pc: int) -> int:
        nonlocal asked
        asked += 1
        return pc

    folded(range(100_000), function_of)
    assert asked <= 100_000


def test_stacks_that_look_the_same_are_grouped_and_the_crashed_one_is_first_and_alone() -> None:
    same = [BOOM + 1, BOOM + 2]
    other = [BOOM + 1, BOOM + 3]
    stacks = [
        stack(0, frames(*same)),
        stack(1, frames(*other)),
        stack(2, frames(*same, sp=STACK + 0x5000)),
        stack(3, frames(*same), crashed=True),
        stack(4, frames(*same), Stop(StopReason.FAULT, "memory at 0x1")),
        stack(5, frames(*same), Stop(StopReason.FAULT, "memory at 0x2")),
        stack(6, []),
    ]
    groups = fold.group_stacks(stacks)
    assert [[each.index for each in group] for group in groups] == [[3], [0, 2], [1], [4, 5], [6]]


def test_stacks_on_different_segments_are_different() -> None:
    stacks = [stack(index, frames(1, 2, 3, 4)) for index in range(4)]
    for each in stacks[1:]:
        each.segments = [Segment("signal"), Segment("unix")]
    for each, switch in zip(stacks[1:], (1, 2, 1), strict=True):
        for frame in each.frames[switch:]:
            frame.segment = 1
    groups = fold.group_stacks(stacks)
    assert [[each.index for each in group] for group in groups] == [[0], [1, 3], [2]]


def test_frames_are_alike_by_their_look_up_pc_or_their_subject() -> None:
    one = stack(0, frames(10, 20, 30))
    one.frames[1].exact = True
    assert fold.location_keys(one) == [frame.lookup_pc for frame in one.frames] == [10, 20, 29]
    one.subjects = {1: SUBJECT + 7}
    assert fold.location_keys(one) == [10, SUBJECT + 7, 29]
    other = stack(1, frames(10, 20, 30))
    other.frames[1].exact = True
    other.subjects = {1: SUBJECT + 8}
    assert len(fold.group_stacks([one, other])) == 2
    other.subjects = dict(one.subjects)
    assert len(fold.group_stacks([one, other])) == 1
