"""Tables of V8 that say which place of the source each bytecode is of, in packed numbers."""

from __future__ import annotations

from unspool.cursor import Cursor
from unspool.errors import FormatError

_WHO = "V8's source positions"
_MOST_BYTES = 10
_ENTRY = -1
_SCRIPT_BITS = 31  # above them is which inlined function: none in bytecode


def read_positions(data: bytes, flags: bool) -> list[tuple[int, int]]:
    """(offset in the bytecode, position in the script), as they lie there: by offset.

    An entry is two packed differences to the entry before. That of the offset is negative, -1 -
    it, where the place is an expression and no statement; with `flags`, as in V8 14, it has that
    and another bit below it, and no sign. The position is one more than it, times two. The first
    entry is of the function's entry, at -1, since V8 8.6.
    """
    found: list[tuple[int, int]] = []
    place = 0
    offset = _ENTRY
    numbers = packed_numbers(data, _MOST_BYTES)
    if len(numbers) % 2:
        raise FormatError("an offset without a position", _WHO)
    for bits, step in zip(numbers[::2], numbers[1::2], strict=True):
        if flags:
            offset += bits >> 2
        else:
            offset += bits >> 1  # of -1 - it, with its sign in the lowest bit, the same
        place += step >> 1 ^ -(step & 1)
        position = (place & (1 << _SCRIPT_BITS) - 1) >> 1
        if place < 0 or place >> _SCRIPT_BITS or place & 1 or not position:
            raise FormatError(f"a position {place}", _WHO)
        if not found and (offset != _ENTRY or data[0] != (2 if flags else 1)):
            raise FormatError("no place of the function's entry", _WHO)
        found.append((offset, position - 1))
    return found


def packed_numbers(data: bytes, most: int) -> list[int]:
    """Numbers as in LEB128, each of at most that many bytes. Raises `FormatError`."""
    cursor = Cursor(data)
    found = []
    while cursor.offset < cursor.end:
        start = cursor.offset
        found.append(cursor.uleb())
        if cursor.offset - start > most:
            raise FormatError(f"a number of more than {most} bytes", "V8's tables")
    return found
