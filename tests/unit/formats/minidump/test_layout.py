"""Structures as tables: their bytes, their values, and what does not fit."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.errors import FormatError
from unspool.formats.minidump.layout import Layout
from unspool.formats.minidump.structures import LOCATION, THREAD

INNER = Layout("INNER", "inside", (("A", "u8", "dec", "a"), ("B", "i16", "dec", "b")))
OUTER = Layout(
    "OUTER",
    "outside",
    (
        ("Small", "u16", "dec", "small"),
        ("Pair", (INNER, 2), "", "two"),
        ("One", INNER, "", "one"),
        ("Words", "u32[3]", "hex", "words"),
        ("Raw", "bytes[5]", "raw", "raw"),
        ("Name", "wide[4]", "text", "name"),
        ("Id", "guid", "guid", "id"),
        ("Wide", "i64", "dec", "wide"),
    ),
)


def test_fields_follow_each_other_without_padding() -> None:
    places = [(field.name, field.offset, field.size, field.count) for field in OUTER.fields]
    assert places == [
        ("Small", 0, 2, 1), ("Pair", 2, 6, 2), ("One", 8, 3, 1), ("Words", 11, 12, 3),
        ("Raw", 23, 5, 1), ("Name", 28, 8, 1), ("Id", 36, 16, 1), ("Wide", 52, 8, 1),
    ]  # fmt: skip
    assert OUTER.size == 60
    assert OUTER.field("Pair").layout is INNER
    assert OUTER.field("Raw").code == "bytes"
    with pytest.raises(KeyError):
        OUTER.field("Other")


def test_values_come_as_dicts_lists_and_strings() -> None:
    data = struct.pack(
        "<HBhBhBhIII5s8s16sq", 7, 1, -1, 2, -2, 3, -3, 4, 5, 6, b"abcde",
        "hi\0x".encode("utf-16-le"), bytes(range(16)), -5,
    )  # fmt: skip
    assert OUTER.unpack(b"?" + data, 1) == {
        "Small": 7,
        "Pair": [{"A": 1, "B": -1}, {"A": 2, "B": -2}],
        "One": {"A": 3, "B": -3},
        "Words": [4, 5, 6],
        "Raw": b"abcde",
        "Name": "hi",
        "Id": bytes(range(16)),
        "Wide": -5,
    }


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "Small": st.integers(0, 0xFFFF),
        "One": st.fixed_dictionaries({"A": st.integers(0, 255), "B": st.integers(-32768, 32767)}),
        "Words": st.lists(st.integers(0, 0xFFFFFFFF), min_size=3, max_size=3),
        "Raw": st.binary(min_size=5, max_size=5),
        "Name": st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=3),
        "Id": st.binary(min_size=16, max_size=16),
        "Wide": st.integers(-(1 << 63), (1 << 63) - 1),
    },
)


@given(VALUES)
def test_what_is_packed_is_unpacked(values: dict[str, object]) -> None:
    data = OUTER.pack(**values)
    assert len(data) == OUTER.size
    found = OUTER.unpack(data)
    assert {name: found[name] for name in values} == values
    empty = OUTER.unpack(bytes(OUTER.size))
    assert {name: found[name] for name in found if name not in values} == {
        name: empty[name] for name in empty if name not in values
    }


def test_structures_inside_are_given_as_bytes_or_as_values() -> None:
    place = LOCATION.pack(DataSize=9, Rva=0x40)
    by_bytes = THREAD.pack(ThreadId=5, ThreadContext=place)
    assert by_bytes == THREAD.pack(ThreadId=5, ThreadContext={"DataSize": 9, "Rva": 0x40})
    assert OUTER.pack(Pair=[{"A": 9}]) == OUTER.pack(Pair=[INNER.pack(A=9), {}])


def test_short_values_are_filled_up() -> None:
    assert OUTER.unpack(OUTER.pack(Raw=b"a"))["Raw"] == b"a\0\0\0\0"
    assert OUTER.unpack(OUTER.pack(Words=[1]))["Words"] == [1, 0, 0]
    # With a NUL behind it, and without half of a character.
    assert OUTER.unpack(OUTER.pack(Name="abcdef"))["Name"] == "abc"
    assert OUTER.unpack(OUTER.pack(Name="ab\U0001f600"))["Name"] == "ab"
    assert OUTER.unpack(OUTER.pack(Name="\ud800"))["Name"] == "?"


@pytest.mark.parametrize(
    "values",
    [
        {"Small": 0x10000}, {"Small": -1}, {"Small": b"abc"}, {"Words": [1, 2, 3, 4]},
        {"Words": [-1]}, {"Raw": b"abcdef"}, {"Raw": 5}, {"Id": bytes(17)}, {"One": b"ab"},
        {"Wide": 1 << 63},
    ],
)  # fmt: skip
def test_values_that_do_not_fit(values: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        OUTER.pack(**values)


def test_unknown_names() -> None:
    with pytest.raises(TypeError, match="no field Other"):
        OUTER.pack(Other=1)


@pytest.mark.parametrize(("offset", "end"), [(1, None), (0, 59), (-1, None), (1 << 40, None)])
def test_a_cut_structure(offset: int, end: int | None) -> None:
    with pytest.raises(FormatError, match="needs 60 bytes"):
        OUTER.unpack(bytes(60), offset, end)


@pytest.mark.parametrize("size", range(61))
def test_fields_that_are_there(size: int) -> None:
    data = bytes(range(1, 61))
    known = OUTER.unpack_known(data + b"more", 0, size)
    whole = OUTER.unpack(data)
    assert known == {
        field.name: whole[field.name] for field in OUTER.fields if field.offset + field.size <= size
    }
    assert OUTER.unpack_known(data[:size], 0, 1 << 40) == known
    assert OUTER.unpack_known(data, -1, 60) == {}


def test_rows_are_flat() -> None:
    rows = list(INNER.rows(bytes([9, 1, 2, 0, 9, 9, 9, 3, 4, 0]), 1, 2, 6))
    assert rows == [(1, 2), (3, 4)]
