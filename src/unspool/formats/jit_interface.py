"""GDB's interface for code that a program makes: the list of its ELF objects in memory.

A program that makes code keeps a variable `__jit_debug_descriptor`, the head of a list of
entries, each with the place of an object: symbols, unwind data, lines. (GDB manual, "JIT
Compilation Interface".) Here are the records; `generated.gdb_jit` reads the list.
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError

DESCRIPTOR_NAME = "__jit_debug_descriptor"
VERSION = 1

_DESCRIPTORS = {4: Struct("<IIII"), 8: Struct("<IIQQ")}
# The object's size is a uint64_t whatever the CPU. i386's ABI aligns it to four bytes, the
# one of 32-bit Arm to eight.
_ENTRIES = {(4, 4): Struct("<IIIQ"), (4, 8): Struct("<III4xQ"), (8, 8): Struct("<QQQQ")}


class JitEntry:
    """One object: its place, and the entry after it (0: none)."""

    __slots__ = ("address", "following", "size")

    def __init__(self, following: int, address: int, size: int) -> None:
        self.following = following
        self.address = address
        self.size = size


def descriptor_size(word: int) -> int:
    """The bytes of a descriptor where pointers have that many."""
    return _DESCRIPTORS[word].size


def first_entry(data: bytes, word: int) -> int:
    """The address of a descriptor's first entry, 0 if it has none. Raises `FormatError`."""
    if len(data) < _DESCRIPTORS[word].size:
        raise FormatError(DESCRIPTOR_NAME, "cut short")
    version, _action, _relevant, first = _DESCRIPTORS[word].unpack_from(data)
    if version != VERSION:
        raise FormatError(DESCRIPTOR_NAME, f"version {version}")
    return int(first)


def entry_size(word: int, alignment: int) -> int:
    """The bytes of an entry, where a uint64_t is aligned like that."""
    return _ENTRIES[word, alignment].size


def parse_entry(data: bytes, word: int, alignment: int) -> JitEntry:
    """An entry's fields. Raises `FormatError` if the data are too short."""
    layout = _ENTRIES[word, alignment]
    if len(data) < layout.size:
        raise FormatError("entry of a JIT object", "cut short")
    following, _previous, address, size = layout.unpack_from(data)
    return JitEntry(following, address, size)
