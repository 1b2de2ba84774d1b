"""Variables of broken files: some answer or none, and no other exception than a broken ELF's."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from unspool.errors import FormatError
from unspool.formats.elf import Elf
from unspool.symbols.elf.data import DataSymbols

NAMES = b"\0lock\0"
SYMBOLS = bytes(24) + struct.pack("<IBBHQQ", 1, 1, 0, 1, 0x4000, 40)


def file() -> bytes:
    """An ELF header, two sections' data, and three section headers."""
    names_at = 64
    symbols_at = names_at + len(NAMES) + 2
    table = symbols_at + len(SYMBOLS)
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 56, 0, 64, 3, 1)
    names = struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at, len(NAMES), 0, 0, 1, 0)
    symbols = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, symbols_at, len(SYMBOLS), 1, 0, 8, 24)
    return head + NAMES + bytes(2) + SYMBOLS + bytes(64) + names + symbols


def test_the_variable_that_covers_an_address() -> None:
    symbols = DataSymbols(Elf(file()))
    assert symbols.lookup(0x4000) == ("lock", 0)
    assert symbols.lookup(0x4027) == ("lock", 39)
    assert symbols.lookup(0x4028) is None
    assert symbols.lookup(0x3FFF) is None


@given(
    st.lists(st.tuples(st.integers(0, 359), st.integers(0, 255)), max_size=8), st.integers(0, 360)
)
def test_any_file(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(file())
    for at, value in changes:
        data[at % len(data)] = value
    with contextlib.suppress(FormatError):
        DataSymbols(Elf(bytes(data[: len(data) - cut // 4]))).lookup(0x4000)
