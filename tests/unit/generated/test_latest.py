"""Which of several ranges an address belongs to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unspool.generated.latest import Latest


def test_replaced_code() -> None:
    code = Latest([10, 40, 15, 60, 10], [20, 50, 17, 70, 12])
    assert [code.find(at) for at in (9, 10, 11, 12, 15, 16, 17, 19, 20)] == [
        None, 4, 4, 0, 2, 2, 0, 0, None,
    ]  # fmt: skip
    assert [code.find(at) for at in (39, 40, 49, 50, 60, 69, 70)] == [
        None, 1, 1, None, 3, 3, None,
    ]  # fmt: skip


def test_ranges_that_touch_are_apart() -> None:
    code = Latest([0, 10], [10, 20])
    assert (code.find(9), code.find(10)) == (0, 1)


def test_nothing() -> None:
    assert Latest([], []).find(0) is None
    assert not Latest([], []).any_in(0, 100)


_RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=14)


@given(_RANGES)
def test_it_is_always_the_last_that_covers(ranges: list[tuple[int, int]]) -> None:
    starts = [start for start, _ in ranges]
    ends = [start + size for start, size in ranges]
    code = Latest(starts, ends)
    for address in range(95):
        covering = [n for n in range(len(ranges)) if starts[n] <= address < ends[n]]
        assert code.find(address) == (covering[-1] if covering else None)


@given(_RANGES, st.integers(0, 90), st.integers(1, 20))
def test_whether_there_is_any(ranges: list[tuple[int, int]], low: int, size: int) -> None:
    code = Latest([start for start, _ in ranges], [start + length for start, length in ranges])
    expected = any(start < low + size and start + length > low for start, length in ranges)
    assert code.any_in(low, low + size) == expected
