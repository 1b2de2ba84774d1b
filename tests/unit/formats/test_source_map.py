from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.source_map import source_map
from unspool.errors import FormatError
from unspool.formats.source_map import read_source_map

PLACES = st.tuples(st.integers(0, 1 << 32), st.integers(0, 2), st.integers(0, 1 << 20))


def test_the_place_before_an_offset_counts() -> None:
    made = source_map([(10, 0, 4), (20, 1, 2), (30,), (40, 0, 0)], ["a.ts", None], sourceRoot="src")
    found = read_source_map(made)
    assert found.at(9, 0) is None
    assert found.at(10, 0) == found.at(19, 10) == ("src/a.ts", 5)
    assert found.at(19, 11) is None  # of another function
    assert found.at(25, 0) == ("?", 3)
    assert found.at(35, 0) is None  # of no source
    assert found.at(1 << 60, 0) == ("src/a.ts", 1)


@given(st.lists(PLACES, max_size=30))
def test_numbers_there_and_back(places: list[tuple[int, int, int]]) -> None:
    places = sorted({each[0]: each for each in places}.values())
    found = read_source_map(source_map(places, ["a", "b", "c"]))
    assert found.offsets == [offset for offset, _, _ in places]
    for offset, file, line in places:
        assert found.at(offset, 0) == ("abc"[file], line + 1)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"[" * 100_000, source_map([], version=2), source_map([], mappings=3),
        source_map([], mappings="A,"), source_map([], mappings="AA"),
        source_map([], mappings="AAAA;AAAA"), source_map([], mappings="D"),
        source_map([], mappings="C,D"), source_map([], mappings="g"),
        source_map([], mappings="g" * 100), source_map([], mappings="ü"),
        b'{"version": 3, "sources": "a", "mappings": ""}', source_map([], sourceRoot=[1]),
    ],
    ids=range(16),
)  # fmt: skip
def test_what_is_broken_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_source_map(data)


def test_places_outside_of_all_files_say_nothing() -> None:
    found = read_source_map(source_map([(1, 7, 0), (2, 0, -3), (3, -1, 5)]))
    assert [found.at(offset, 0) for offset in (1, 2, 3)] == [None] * 3


@given(st.text(alphabet="ACDgz,;+/", max_size=60))
def test_no_letters_break_it(text: str) -> None:
    try:
        found = read_source_map(source_map([], mappings=text))
    except FormatError:
        return
    assert found.offsets == sorted(found.offsets)
