"""The cursor: what it reads, and that nothing makes it read outside its window."""

from __future__ import annotations

import mmap
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.cfi import sleb, uleb
from unspool.cursor import Cursor
from unspool.errors import FormatError

READERS = {
    "u8": ("<B", 1), "i8": ("<b", 1), "u16": ("<H", 2), "i16": ("<h", 2),
    "u32": ("<I", 4), "i32": ("<i", 4), "u64": ("<Q", 8), "i64": ("<q", 8),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@given(raw=st.binary(min_size=8, max_size=8), lead=st.integers(0, 5))
def test_integers_are_those_of_struct(name: str, raw: bytes, lead: int) -> None:
    code, size = READERS[name]
    cursor = Cursor(bytes(lead) + raw, lead)
    assert getattr(cursor, name)() == struct.unpack_from(code, raw)[0]
    assert cursor.offset == lead + size


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("missing", [1, 100])
def test_a_read_past_the_window_fails_and_moves_nothing(name: str, missing: int) -> None:
    size = READERS[name][1]
    data = bytes(64)
    cursor = Cursor(data, 10, 10 + max(size - missing, 0))
    with pytest.raises(FormatError):
        getattr(cursor, name)()
    assert cursor.offset == 10


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 14))
def test_uleb_reads_what_was_written_with_any_padding(value: int, pad: int) -> None:
    raw = uleb(value, pad)
    cursor = Cursor(raw + b"\xff")
    assert cursor.uleb() == value
    assert cursor.offset == len(raw)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_sleb_reads_what_was_written(value: int) -> None:
    raw = sleb(value)
    cursor = Cursor(raw + b"\x00")
    assert cursor.sleb() == value
    assert cursor.offset == len(raw)


def test_leb_examples_of_the_specification() -> None:
    # DWARF 5, figures C.1 and C.2.
    assert Cursor(b"\x80\x01").uleb() == 128
    assert Cursor(b"\xb9\x64").uleb() == 12857
    assert Cursor(b"\x81\x7f").sleb() == -127
    assert Cursor(b"\x80\x7f").sleb() == -128


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff" * 10, b"\x80" * 1000])
@pytest.mark.parametrize("name", ["uleb", "sleb"])
def test_an_endless_leb_fails_and_moves_nothing(name: str, raw: bytes) -> None:
    cursor = Cursor(raw)
    with pytest.raises(FormatError):
        getattr(cursor, name)()
    assert cursor.offset == 0


def test_a_leb_does_not_run_out_of_its_window() -> None:
    cursor = Cursor(b"\x80\x80\x01", 0, 2)
    with pytest.raises(FormatError):
        cursor.uleb()


@given(st.binary(max_size=40).filter(lambda raw: 0 not in raw), st.binary(max_size=10))
def test_strings_end_at_their_nul(text: bytes, rest: bytes) -> None:
    cursor = Cursor(text + b"\0" + rest)
    assert cursor.cstring() == text
    assert cursor.offset == len(text) + 1


def test_strings_are_bounded() -> None:
    assert Cursor(b"abc\0", 0, 4).cstring(4) == b"abc"
    for cursor, limit in (
        (Cursor(b"abcdef"), 4096),
        (Cursor(b"abc\0"), 3),
        (Cursor(b"a\0", 0, 1), 9),
    ):
        with pytest.raises(FormatError):
            cursor.cstring(limit)
        assert cursor.offset == 0


def test_take_skip_and_unsigned() -> None:
    cursor = Cursor(bytes(range(10)))
    assert cursor.take(3) == b"\0\1\2"
    cursor.skip(2)
    assert cursor.unsigned(4) == 0x08070605
    with pytest.raises(FormatError):
        cursor.take(2)
    assert cursor.take(1) == b"\x09"


@pytest.mark.parametrize("size", [-1, -(1 << 64), 1 << 64, 11])
def test_hostile_sizes_are_refused(size: int) -> None:
    cursor = Cursor(bytes(10))
    with pytest.raises(FormatError):
        cursor.take(size)
    with pytest.raises(FormatError):
        cursor.skip(size)
    assert cursor.offset == 0


@pytest.mark.parametrize("offset", [-1, 11, 1 << 64])
def test_a_window_outside_of_the_data_is_refused(offset: int) -> None:
    with pytest.raises(FormatError):
        Cursor(bytes(10), offset)


def test_an_end_past_the_data_is_cut() -> None:
    cursor = Cursor(bytes(10), 4, 1 << 64)
    assert cursor.end == 10
    cursor.skip(6)
    with pytest.raises(FormatError):
        cursor.u8()


def test_reads_a_memory_map() -> None:
    with mmap.mmap(-1, 4096) as area:
        area[:11] = b"\x01\x02\x00\x00\x00\x00\x00\x00\x00hi"
        cursor = Cursor(area)
        assert cursor.u64() == 0x201
        assert cursor.u8() == 0
        assert cursor.cstring() == b"hi"


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 80), st.data())
def test_no_sequence_of_reads_leaves_the_window(
    data: bytes, start: int, end: int, choices: st.DataObject
) -> None:
    try:
        cursor = Cursor(data, start, end)
    except FormatError:
        assert start > min(end, len(data))
        return
    names = [*READERS, "uleb", "sleb", "cstring"]
    for name in choices.draw(st.lists(st.sampled_from(names), max_size=12)):
        before = cursor.offset
        try:
            getattr(cursor, name)()
            assert before < cursor.offset <= min(end, len(data))
        except FormatError as error:
            assert cursor.offset == before
            assert error.where
            assert error.what
