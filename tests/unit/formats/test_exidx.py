"""The exception index of 32-bit Arm, of tables that `tests.build.exidx` makes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import exidx as build
from unspool.errors import FormatError
from unspool.formats.exidx import ExidxTable, prel31, table_instructions

INDEX, EXTRA = 0x3000, 0x4000


def tables() -> build.Tables:
    return build.Tables(INDEX, EXTRA)


def opened(made: build.Tables) -> tuple[ExidxTable, bytes]:
    index, extra = made.build()
    return ExidxTable(b"??" + index, 2, 2 + len(index), INDEX), extra


def instructions_at(made: build.Tables, address: int) -> bytes:
    """What the index leads to, as a walk would find it."""
    table, extra = opened(made)
    entry = table.find(address)
    assert entry is not None
    if entry.instructions is not None:
        return entry.instructions
    assert entry.table is not None
    return table_instructions(extra, entry.table - EXTRA, len(extra))


def test_an_entry_holds_up_to_the_next() -> None:
    made = tables()
    for number in range(20):
        made.inline(0x1000 + 0x10 * number, build.vsp(4 + 4 * number))
    table, _ = opened(made)
    assert len(table) == 20
    assert table.find(0xFFF) is None
    for number in range(20):
        for at in (0, 1, 0xF):
            entry = table.find(0x1000 + 0x10 * number + at)
            assert entry is not None
            assert entry.start == 0x1000 + 0x10 * number
            assert entry.instructions == bytes([number, 0xB0, 0xB0])
    assert table.find(0xFFFF_FFFF) is not None


def test_functions_may_lie_behind_the_index() -> None:
    made = tables()
    made.inline(0x10, build.FINISH)
    made.inline(0x2000_0000, build.vsp(8))
    table, _ = opened(made)
    assert [table.entry(n).start for n in (0, 1)] == [0x10, 0x2000_0000]


def test_what_cannot_be_unwound() -> None:
    made = tables()
    made.cantunwind(0x1000)
    table, _ = opened(made)
    entry = table.find(0x1004)
    assert entry is not None
    assert entry.cantunwind
    assert (entry.instructions, entry.table) == (None, None)


CODE = build.vsp(0x900) + build.pop(4, 5, 6, 7, 8, 9, 10, 11, 14) + build.pop_arguments(0, 3)


@pytest.mark.parametrize("size", range(len(CODE) + 1))
@pytest.mark.parametrize("routine", [1, 2])
def test_compact_models(routine: int, size: int) -> None:
    made = tables()
    made.compact(0x1000, CODE[:size], routine=routine)
    made.compact(0x2000, b"\x99", routine=0)
    found = instructions_at(made, 0x1001)
    assert found.rstrip(b"\xb0") == CODE[:size]
    assert instructions_at(made, 0x2001) == b"\x99\xb0\xb0"


@pytest.mark.parametrize("size", range(len(CODE) + 1))
def test_personality_routines_of_languages(size: int) -> None:
    made = tables()
    made.inline(0x500, b"\x91")
    made.generic(0x1000, 0x8000, CODE[:size])
    made.generic(0x2000, 0x100, CODE)
    assert instructions_at(made, 0x1001).rstrip(b"\xb0") == CODE[:size]
    assert instructions_at(made, 0x2001).rstrip(b"\xb0") == CODE


@pytest.mark.parametrize("word", [0x8100_0000, 0x8F00_0000, 0x9000_0000, 0xFFFF_FFFF])
def test_an_entry_in_no_form_is_refused(word: int) -> None:
    made = tables()
    made.raw(0x1000, word)
    with pytest.raises(FormatError, match="no form"):
        opened(made)[0].find(0x1000)


def test_an_entry_without_an_address_is_refused() -> None:
    data = struct.pack("<II", 0x8000_0000, 1)
    with pytest.raises(FormatError, match="no address"):
        ExidxTable(data, 0, 8, 0).entry(0)


@pytest.mark.parametrize("word", [0x8300_0000, 0x8F00_0000, 0xF000_0000, 0x9100_0000])
def test_an_unknown_personality_routine_is_refused(word: int) -> None:
    with pytest.raises(FormatError, match="none of the ABI"):
        table_instructions(struct.pack("<I", word), 0, 4)


@pytest.mark.parametrize(
    ("words", "start"),
    [((), 0), ((0x8101_A8B0,), 0), ((0x1234,), 0), ((0x1234, 0x02B0_B0B0, 0), 0), ((0,), -4),
     ((0,), 4)],
)  # fmt: skip
def test_a_table_entry_that_is_cut_is_refused(words: tuple[int, ...], start: int) -> None:
    data = struct.pack(f"<{len(words)}I", *words)
    with pytest.raises(FormatError, match="past the end"):
        table_instructions(data, start, len(data))


def test_a_cut_index_has_the_entries_that_are_whole() -> None:
    made = tables()
    made.cantunwind(0x1000)
    made.cantunwind(0x2000)
    index, _ = made.build()
    for size in range(17):
        assert len(ExidxTable(index[:size], 0, 1000, INDEX)) == size // 8
        assert len(ExidxTable(index, 0, size, INDEX)) == size // 8
    assert ExidxTable(index, 40, 16, INDEX).find(0x1000) is None


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
def test_relative_addresses(distance: int, place: int) -> None:
    target = prel31(distance, place)
    assert 0 <= target < 1 << 32
    assert (target - place - distance) % (1 << 31) == 0
    assert prel31(distance | 1 << 31, place) == prel31(distance & ~(1 << 31), place)


@given(st.binary(max_size=200), st.integers(0, (1 << 32) - 1), st.integers(-10, 300))
def test_any_bytes_will_do(data: bytes, address: int, at: int) -> None:
    table = ExidxTable(data, 0, len(data), INDEX)
    for action in (
        lambda: table.find(address),
        lambda: table_instructions(data, at, len(data)),
    ):
        try:
            action()
        except FormatError:
            continue
