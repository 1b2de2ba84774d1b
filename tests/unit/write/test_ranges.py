"""Sets of address ranges against sets of addresses."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from unspool.write.ranges import joined, without

SOME = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def addresses(ranges: list[tuple[int, int]]) -> set[int]:
    return {each for low, high in ranges for each in range(low, high)}


@given(SOME)
def test_joined_ranges_hold_the_same_addresses(ranges: list[tuple[int, int]]) -> None:
    found = joined(ranges, 0)
    assert addresses(found) == addresses(ranges)
    assert all(low < high for low, high in found)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))


@given(SOME, st.integers(0, 9))
def test_close_ranges_are_joined_with_what_is_between(
    ranges: list[tuple[int, int]], close: int
) -> None:
    found = joined(ranges, close)
    assert addresses(found) >= addresses(ranges)
    assert all(one[1] + close < other[0] for one, other in itertools.pairwise(found))
    extra = sorted(addresses(found) - addresses(ranges))
    runs = [each for index, each in enumerate(extra) if not index or extra[index - 1] != each - 1]
    for start in runs:
        end = start
        while end in extra:
            end += 1
        assert end - start <= close


@given(SOME, st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_a_part_is_taken_out(ranges: list[tuple[int, int]], hidden: tuple[int, int]) -> None:
    left = without(joined(ranges, 0), hidden)
    if hidden[0] < hidden[1]:
        assert addresses(left) == addresses(ranges) - addresses([hidden])
    assert all(low < high for low, high in left)


def test_nothing_is_taken_out_without_a_part() -> None:
    assert without([(1, 2), (3, 4)], None) == [(1, 2), (3, 4)]
