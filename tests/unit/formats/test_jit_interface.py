"""Descriptors and entries of GDB's JIT interface, as each CPU's compiler lays them out."""

from __future__ import annotations

import ctypes
import struct

import pytest

from unspool.errors import FormatError
from unspool.formats.jit_interface import (
    descriptor_size,
    entry_size,
    first_entry,
    parse_entry,
)


class CEntry(ctypes.Structure):
    """`struct jit_code_entry` by this machine's own ABI."""

    _fields_ = (
        ("next_entry", ctypes.c_void_p), ("prev_entry", ctypes.c_void_p),
        ("symfile_addr", ctypes.c_void_p), ("symfile_size", ctypes.c_uint64),
    )  # fmt: skip


class CDescriptor(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint32), ("action_flag", ctypes.c_uint32),
        ("relevant_entry", ctypes.c_void_p), ("first_entry", ctypes.c_void_p),
    )  # fmt: skip


def test_this_machines_layout() -> None:
    word = ctypes.sizeof(ctypes.c_void_p)
    alignment = ctypes.alignment(CEntry)
    assert entry_size(word, alignment) == ctypes.sizeof(CEntry)
    assert descriptor_size(word) == ctypes.sizeof(CDescriptor)
    entry = parse_entry(bytes(CEntry(1, 2, 3, 4)), word, alignment)
    assert (entry.following, entry.address, entry.size) == (1, 3, 4)
    assert first_entry(bytes(CDescriptor(1, 2, 3, 4)), word) == 4


@pytest.mark.parametrize(
    ("layout", "alignment"), [("<IIIQ", 4), ("<IIIxxxxQ", 8)], ids=["i386", "arm"]
)
def test_32_bit_entries(layout: str, alignment: int) -> None:
    data = struct.pack(layout, 0x1000, 0x2000, 0x3000, 1 << 40)
    assert entry_size(4, alignment) == len(data)
    entry = parse_entry(data, 4, alignment)
    assert (entry.following, entry.address, entry.size) == (0x1000, 0x3000, 1 << 40)
    with pytest.raises(FormatError):
        parse_entry(data[:-1], 4, alignment)


@pytest.mark.parametrize("word", [4, 8])
@pytest.mark.parametrize("version", [0, 2, 1 << 31])
def test_other_versions_are_refused(word: int, version: int) -> None:
    data = struct.pack("<IIII" if word == 4 else "<IIQQ", version, 0, 0, 5)
    with pytest.raises(FormatError, match="version"):
        first_entry(data, word)
    with pytest.raises(FormatError, match="short"):
        first_entry(data[:-1], word)
