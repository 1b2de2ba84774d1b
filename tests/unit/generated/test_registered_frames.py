"""libgcc's registered unwind tables: its lists and its tree, and what looks like them."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest

from tests.unit.generated.surroundings import surroundings
from unspool.generated import registered_frames
from unspool.generated.registered_frames import registered_tables
from unspool.model import Module

LIBRARY, HEAP, TABLES = 0x70_0000, 0x100_0000, 0x200_0000
ARCHES = pytest.mark.parametrize(("arch", "word"), [("x86_64", 8), ("i386", 4)])
OMITTED = 0xFF << 3  # the encoding of an object whose FDEs nobody has looked at


def words(word: int, *values: int) -> bytes:
    return struct.pack(f"<{len(values)}{'Q' if word == 8 else 'I'}", *values)


def found(
    arch: str, variables: bytes, heap: Mapping[int, bytes], name: str = "libgcc_s.so.1"
) -> list[int]:
    data = bytearray(0x4000)
    for at, part in heap.items():
        data[at : at + len(part)] = part
    process = surroundings(
        arch,
        [
            (LIBRARY, bytes(0x100), True), (LIBRARY + 0x1000, variables, False),
            (HEAP, bytes(data), False), (TABLES, bytes(0x1000), False),
        ],
        modules=[Module(0, name, LIBRARY, LIBRARY + 0x2000)],
    )  # fmt: skip
    read: list[tuple[int, int]] = []
    tables = list(registered_tables(process, read))
    assert (LIBRARY + 0x1000, LIBRARY + 0x1000 + len(variables)) in read or not tables
    return tables


def unseen(word: int, table: int, following: int = 0, flags: int = OMITTED) -> bytes:
    return words(word, (1 << 8 * word) - 1, 0, 0, table, flags, following)


def node(word: int, kind: int, *entries: tuple[int, ...], count: int | None = None) -> bytes:
    head = words(word, 7) + struct.pack("<II", len(entries) if count is None else count, kind)
    return head + b"".join(words(word, *entry) for entry in entries)


@ARCHES
def test_a_list(arch: str, word: int) -> None:
    heap = {
        0x100: unseen(word, TABLES, HEAP + 0x200),
        0x200: unseen(word, TABLES + 0x40, HEAP + 0x300),
        0x300: unseen(word, TABLES + 0x80),
    }
    expected = [TABLES, TABLES + 0x40, TABLES + 0x80]
    assert found(arch, words(word, 0, 5, HEAP + 0x100, HEAP + 0x300), heap) == expected


@ARCHES
def test_objects_that_were_searched(arch: str, word: int) -> None:
    """Their FDEs are sorted in an array, that begins with what was registered."""
    heap = {
        0x100: words(word, TABLES + 0x900, 0, 0, HEAP + 0x400, OMITTED | 1, 0),
        0x400: words(word, TABLES + 0x40, 2, TABLES + 0x60, TABLES + 0x80),
    }
    assert found(arch, words(word, HEAP + 0x100), heap) == [TABLES + 0x40]


@ARCHES
@pytest.mark.parametrize("is_sorted", [0, 1])
def test_objects_of_several_tables(arch: str, word: int, is_sorted: int) -> None:
    """`__register_frame_table`."""
    place = HEAP + (0x400 if is_sorted else 0x500)
    heap = {
        0x100: unseen(word, place, flags=OMITTED | 2 | is_sorted),
        0x400: words(word, HEAP + 0x500, 9),
        0x500: words(word, TABLES, TABLES + 0x40, 0, TABLES + 0x80),
    }
    assert found(arch, words(word, HEAP + 0x100), heap) == [TABLES, TABLES + 0x40]


@ARCHES
def test_a_tree(arch: str, word: int) -> None:
    heap = {
        0x100: unseen(word, TABLES),
        0x200: unseen(word, TABLES + 0x40),
        0x300: unseen(word, TABLES + 0x80),
        0x1000: node(word, 0, (5, HEAP + 0x1200), ((1 << 8 * word) - 1, HEAP + 0x1400)),
        0x1200: node(word, 1, (1, 4, HEAP + 0x100)),
        0x1400: node(word, 1, (6, 4, HEAP + 0x200), (10, 4, HEAP + 0x300)),
    }
    expected = [TABLES, TABLES + 0x40, TABLES + 0x80]
    assert found(arch, words(word, HEAP + 0x1000), heap) == expected


@ARCHES
def test_circles_end(arch: str, word: int) -> None:
    heap = {
        0x100: unseen(word, TABLES, HEAP + 0x200),
        0x200: unseen(word, TABLES + 0x40, HEAP + 0x100),
        0x1000: node(word, 0, *[(5, HEAP + 0x1000)] * 15),
    }
    variables = words(word, HEAP + 0x100, HEAP + 0x1000)
    assert found(arch, variables, heap) == [TABLES, TABLES + 0x40]


def test_the_number_of_objects_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered_frames, "_MAX_OBJECTS", 10)
    heap = {0x100 * n: unseen(8, TABLES + 0x10 * n, HEAP + 0x100 * (n + 1)) for n in range(1, 30)}
    assert len(found("x86_64", words(8, HEAP + 0x100), heap)) == 10


@pytest.mark.parametrize(
    "variables",
    [
        words(8, HEAP + 0x101),
        words(8, LIBRARY + 0x1000),
        words(8, 0xDEAD_0000),
        words(8, HEAP + 0x3FF8),
        b"\x00\x01\x00",
    ],
    ids=["odd", "its own", "nowhere", "cut", "short"],
)
def test_words_that_point_at_no_object(variables: bytes) -> None:
    heap = {0x101: unseen(8, TABLES)}
    assert found("x86_64", variables, heap) == []


def test_other_libraries_are_not_looked_at() -> None:
    heap = {0x100: unseen(8, TABLES)}
    assert found("x86_64", words(8, HEAP + 0x100), heap, "libc.so.6") == []


@pytest.mark.parametrize("count", [0, 11, 1 << 31])
def test_nodes_with_a_count_that_none_has(count: int) -> None:
    heap = {0x100: unseen(8, TABLES), 0x1000: node(8, 1, (1, 4, HEAP + 0x100), count=count)}
    assert found("x86_64", words(8, HEAP + 0x1000), heap) == []
