"""Regions of minidumps: pieces, mappings around them, modules that are split when asked for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from unspool.memory import Region
from unspool.targets.minidump.regions import (
    Pieces,
    Span,
    Spans,
    SplitMemory,
    UnsplitRegion,
    disjoint,
    gaps,
    spans_of_information,
)

FILE = bytes(range(256)) * 16

numbers = st.integers(0, 400)
bounds = st.tuples(numbers, st.integers(1, 90))


def test_pieces_that_overlap() -> None:
    assert disjoint([(0, 10, 0), (5, 20, 100), (6, 8, 200), (30, 40, 300)]) == [
        (0, 10, 0), (10, 20, 105), (30, 40, 300),
    ]  # fmt: skip


def test_pieces_that_follow_each_other_in_the_file_are_one() -> None:
    assert disjoint([(10, 20, 110), (0, 10, 100)]) == [(0, 20, 100)]
    assert disjoint([(10, 20, 111), (0, 10, 100)]) == [(0, 10, 100), (10, 20, 111)]


@given(st.lists(st.tuples(numbers, st.integers(0, 90), numbers), max_size=12))
def test_every_byte_is_the_first_pieces_that_has_it(pieces: list[tuple[int, int, int]]) -> None:
    given_ = [(start, start + size, offset) for start, size, offset in pieces]
    found = disjoint(given_)
    known: dict[int, int] = {}
    for start, end, offset in sorted(given_, key=lambda piece: piece[0]):
        for at in range(start, end):
            known.setdefault(at, offset + at - start)
    taken = {at: offset + at - start for start, end, offset in found for at in range(start, end)}
    assert taken == known
    assert all(first[1] <= second[0] for first, second in pairwise(found))


@given(st.lists(bounds, max_size=8), st.lists(bounds, max_size=8))
def test_pieces_are_cut_at_the_borders_of_mappings(
    pieces: list[tuple[int, int]], mappings: list[tuple[int, int]]
) -> None:
    held = disjoint((start, start + size, start) for start, size in pieces)
    spans = Spans(Span(start, start + size, True, False) for start, size in mappings)
    made = Pieces(FILE, held, spans)
    covered = [(region.start, region.end) for region in made.regions]
    assert [at for low, high in covered for at in range(low, high)] == [
        at for low, high, _ in held for at in range(low, high)
    ]
    for region in made.regions:
        span = spans.at(region.start)
        expected = (span.start, span.end) if span else (region.start, region.end)
        assert region.mapping == expected
        assert (region in made.loose) is (span is None)
        window = region.window()
        assert window is not None
        assert window.buffer[region.start - window.base] == FILE[region.start]
    everything = sorted(covered + [(start, end) for _, start, end in made.rests()])
    assert all(first[1] <= second[0] for first, second in pairwise(everything))
    present = {at for low, high in everything for at in range(low, high)}
    assert present == {
        at
        for low, high in [*((a, b) for a, b, _ in held), *((s.start, s.end) for s in spans.spans)]
        for at in range(low, high)
    }


@given(st.lists(bounds, max_size=8), st.lists(bounds, max_size=8))
def test_gaps(ranges: list[tuple[int, int]], held: list[tuple[int, int]]) -> None:
    parts = [(a, b) for a, b, _ in disjoint((a, a + size, a * 1000) for a, size in ranges)]
    regions = [Region(a, b, None) for a, b, _ in disjoint((a, a + s, a * 1000) for a, s in held)]
    found = gaps(parts, regions)
    covered = {at for region in regions for at in range(region.start, region.end)}
    wanted = {at for a, b in parts for at in range(a, b)} - covered
    assert [at for a, b in found for at in range(a, b)] == sorted(wanted)


def test_reserved_pages_belong_to_the_stack_above_them() -> None:
    commit, reserve, read_write, guard = 0x1000, 0x2000, 0x04, 0x100
    spans = spans_of_information(
        [
            (0x10000, 0x8000, 0x10000, reserve, 0),
            (0x18000, 0x1000, 0x10000, commit, read_write | guard),
            (0x19000, 0x7000, 0x10000, commit, read_write),
            (0x20000, 0x1000, 0x20000, commit, read_write),
        ]
    )
    assert spans.block_at(0x1F000) == (0x10000, 0x20000)
    assert spans.block_at(0x20000) == (0x20000, 0x21000)
    assert spans.block_at(0x10000) is None
    assert [span.writable for span in spans.spans] == [False, True, True]


# --- modules that are split --------------------------------------------------------------


def test_a_module_is_split_when_it_is_first_looked_at() -> None:
    asked = []

    def split(region: UnsplitRegion) -> list[Region]:
        asked.append(region.start)
        # What is outside, upside down or twice there does no harm.
        return [
            Region(0x1800, 0x2000, None, executable=True),
            Region(0x1000, 0x1800, None),
            Region(0x1400, 0x1900, None, executable=True),
            Region(0x0, 0x1000, None), Region(0x1F00, 0x2800, None),
        ]  # fmt: skip

    memory = SplitMemory(
        [Region(0, 0x100, None), UnsplitRegion(0x1000, 0x2000, None, executable=True),
         UnsplitRegion(0x5000, 0x6000, None, executable=True)],
        split,
    )  # fmt: skip
    assert memory.region(0x50) is not None
    assert memory.region(0x3000) is None
    assert asked == []
    assert not memory.is_executable(0x1000)
    assert memory.is_executable(0x1900)
    assert asked == [0x1000]
    memory.split_all()
    assert asked == [0x1000, 0x5000]
    assert not any(isinstance(region, UnsplitRegion) for region in memory.regions)


def test_a_module_that_nothing_is_known_of_stays_code() -> None:
    memory = SplitMemory(
        [UnsplitRegion(0x1000, 0x2000, None, executable=True)], lambda region: []
    )
    assert memory.is_executable(0x1800)
    assert memory.read_available(0x1800, 4) == b""


