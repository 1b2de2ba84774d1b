"""The plan of reservations takes all that is free by whole granules, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unspool.analyses.layout.records import Kind
from unspool.analyses.layout.reserve import GRANULARITY, plan, tenant

from .made_up import area

PAGE = 0x1000
# (pages to skip, pages long) of one area after the other.
PIECES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), max_size=10)


def literal(areas: list[tuple[int, int]], start: int, end: int) -> tuple[int, list[int]]:
    """reserve_area as it runs: calls of mmap, and the granules that it gets."""
    if start >= end:
        return 0, []
    if all(high <= start or low >= end for low, high in areas):
        return 1, list(range(start, end, GRANULARITY))
    half = (end - start) // 2 & -GRANULARITY
    if not half:
        return 1, []
    one, two = literal(areas, start, start + half), literal(areas, start + half, end)
    return 1 + one[0] + two[0], one[1] + two[1]


@given(PIECES, st.integers(0, 20), st.integers(1, 40))
def test_it_is_what_reserve_area_would_do(
    pieces: list[tuple[int, int]], first: int, count: int
) -> None:
    at = 0
    taken = []
    for skip, size in pieces:
        taken.append((at + skip * PAGE, at + (skip + size) * PAGE))
        at = taken[-1][1]
    start, end = first * GRANULARITY, (first + count) * GRANULARITY
    made = plan([area(*each) for each in taken], [("all", start, end)])
    calls, granules = literal(taken, start, end)
    assert made.attempts == calls
    reserved = [step for step in made.steps if step.action == "reserve"]
    assert granules == [
        each for step in reserved for each in range(step.start, step.end, GRANULARITY)
    ]
    # The steps tell of every byte of the range, in order.
    assert [made.steps[0].start, made.steps[-1].end] == [start, end]
    pairs = zip(made.steps, made.steps[1:], strict=False)
    assert all(one.end == two.start for one, two in pairs)
    for step in made.steps:
        inside = [low for low, high in taken if low < step.end and high > step.start]
        assert bool(inside) == (step.action == "unknown")


def test_free_neighbours_are_one_reservation() -> None:
    made = plan([area(0x330000, 0x331000)], [("low", 0x110000, 0x68000000)])
    found = [(step.start, step.end, step.action) for step in made.steps]
    assert found == [
        (0x110000, 0x330000, "reserve"), (0x330000, 0x331000, "unknown"),
        (0x331000, 0x340000, "granule"), (0x340000, 0x68000000, "reserve"),
    ]  # fmt: skip


def test_whose_memory_is() -> None:
    cases = {
        "windows": (Kind.PROGRAM, Kind.BUILTIN, Kind.TEB, Kind.WINDOWS_STACK, Kind.WINE_STACK),
        "foreign": (Kind.LIBRARY, Kind.EXECUTABLE, Kind.HEAP, Kind.STACK, Kind.KERNEL),
        "unknown": (Kind.ANONYMOUS, Kind.FILE, Kind.SHARED),
    }
    for whose, kinds in cases.items():
        assert {tenant(area(0, 1, kind)) for kind in kinds} == {whose}
    assert tenant(area(0, 1, Kind.RESERVED, permissions="---p")) == "held"
    guard = area(0, 1, Kind.GUARD, "guard of the Windows stack of thread 1", "---p")
    assert tenant(guard) == "windows"
    assert tenant(area(0, 1, Kind.GUARD, "guard of the stack of thread 1", "---p")) == "foreign"


def test_thousands_of_areas_in_the_way() -> None:
    taken = [area(at * GRANULARITY, at * GRANULARITY + PAGE) for at in range(1, 30_000, 2)]
    made = plan(taken, [("all", 0x10000, 0x80000000)])
    assert sum(step.action == "reserve" for step in made.steps) == 15_000
    assert made.attempts <= 2 * 32768
