"""x64 unwind data that is broken or made to do harm: a row or a `FormatError`, and soon."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import unwind_info as b
from tests.build.pe_unwind import CODE, Image, lay_out, random_function
from tests.conftest import examples
from tests.fuzz.harness import within
from unspool.errors import FormatError
from unspool.formats.pe_epilogue import MAX_SIZE
from unspool.formats.pe_row import leaf_row, row_at
from unspool.formats.pe_unwind import FunctionTable

SECONDS = 5


@cache
def honest() -> Image:
    return lay_out([random_function(Random(seed)) for seed in range(12)])


def probe(data: bytes, table_at: int, rvas: list[int]) -> None:
    """Every answer there is, of addresses in the code and of some that are not."""
    table = FunctionTable(data, table_at, len(data))

    def read(rva: int, size: int) -> bytes:
        return data[rva : rva + size]

    for rva in rvas:
        function = table.find(rva)
        at_hand = read(rva, MAX_SIZE) if rva >= 0 else b""
        if function is None:
            leaf_row(read(max(rva - 48, 0), 48), at_hand, rva)
            continue
        assert function.begin <= rva < function.end
        for each in (at_hand, b"", None):
            with suppress(FormatError):
                made = row_at(table, read, function, rva, each)
                assert 16 in made.saved
                assert 0 <= made.register < 16


RVAS = [0, 1, 0xFFF, -1, 0x7FFFFFFF, 0xFFFFFFFF, *range(CODE, CODE + 0x800, 7)]


@settings(max_examples=examples(100))
@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 16), st.one_of(st.integers(0, 255), st.just(0xFF))),
        min_size=1,
        max_size=8,
    )
)
def test_bytes_changed_anywhere(changes: list[tuple[int, int]]) -> None:
    image = honest()
    data = bytearray(image.data)
    for at, value in changes:
        data[CODE + at % (len(data) - CODE)] = value
    with within(SECONDS):
        probe(bytes(data), image.table_at, RVAS)


@settings(max_examples=examples(50))
@given(st.integers(0, 1 << 16))
def test_an_image_that_is_cut(size: int) -> None:
    image = honest()
    with within(SECONDS):
        probe(image.data[: size % len(image.data)], image.table_at, RVAS)


@settings(max_examples=examples(100))
@given(
    st.lists(st.tuples(*[st.integers(0, 0x1000) for _ in range(3)]), max_size=30),
    st.binary(min_size=1, max_size=400),
)
def test_tables_of_nonsense(entries: list[tuple[int, int, int]], rest: bytes) -> None:
    """Overlapping, out of order, ending before they begin, and with infos anywhere."""
    raw = b.runtime_functions(entries)
    data = (rest * (0x1000 // len(rest) + 1))[:0x1000] + raw
    with within(SECONDS):
        probe(data, 0x1000, list(range(0, 0x1000, 61)))


def test_the_most_that_one_row_can_take() -> None:
    """As many codes as there can be, chained to themselves as often as Windows follows."""
    info = b.unwind_info([b.push(0, b.RBX)] * 255, chained=(0x1000, 0x2000, 0x4000))
    data = bytes(0x4000) + info + b.runtime_functions([(0x1000, 0x2000, 0x4000)])
    with within(SECONDS):
        probe(data, 0x4000 + len(info), list(range(0x1000, 0x1100)))


@pytest.mark.parametrize("rva", [0, 3, 0xFFFF_FFFC, 0xFFFF_FFFF])
def test_infos_that_are_not_in_the_image(rva: int) -> None:
    data = struct.pack("<III", 0x1000, 0x2000, rva)
    with within(SECONDS):
        probe(data, 0, [0x1000])
