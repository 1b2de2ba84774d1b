"""WebAssembly code: where its instructions begin, and nothing of what they do.

By the specification's binary format (3.0, chapter 5.4) and the opcodes of proposals that engines
run: old and new exceptions, garbage collection, threads, vectors, wide arithmetic.
"""

from __future__ import annotations

from unspool.cursor import Cursor
from unspool.errors import FormatError
from unspool.formats.wasm_file import value_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

_MAX_LOCALS = 100_000

# What follows an opcode, a letter for each thing: a number of any size in LEB128 (`n`), a type of
# a block (`b`), an access of memory (`m`), single bytes (`1`, `4`, `8`), a list of types (`t`), of
# labels (`l`), of handlers (`h`). What is not listed has nothing behind it.
_AFTER = {
    **dict.fromkeys((0x02, 0x03, 0x04, 0x06), "b"),
    **dict.fromkeys((0x07, 0x08, 0x09, 0x0C, 0x0D, 0x10, 0x12, 0x14, 0x15, 0x18), "n"),
    0x0E: "ln", 0x11: "nn", 0x13: "nn", 0x1C: "t", 0x1F: "bh",
    **dict.fromkeys(range(0x20, 0x27), "n"),
    **dict.fromkeys(range(0x28, 0x3F), "m"),
    **dict.fromkeys((0x3F, 0x40, 0x41, 0x42, 0xD0, 0xD2, 0xD5, 0xD6), "n"),
    0x43: "4", 0x44: "8",
}  # fmt: skip
_KNOWN = {
    *range(0x16), 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1F, *range(0x20, 0x27),
    *range(0x28, 0xC5), *range(0xD0, 0xD7),
}  # fmt: skip
# The same for opcodes of two parts, and which there are.
_GC = {
    **dict.fromkeys((0, 1, 6, 7, 11, 12, 13, 14, 16), "n"),
    **dict.fromkeys((2, 3, 4, 5, 8, 9, 10, 17, 18, 19), "nn"),
    **dict.fromkeys((20, 21, 22, 23), "n"), 24: "1nnn", 25: "1nnn",
}  # fmt: skip
_MORE = {8: "nn", 9: "n", 10: "nn", 11: "n", 12: "nn", 13: "n", 14: "nn", 15: "n", 16: "n", 17: "n"}
_VECTORS = {
    **dict.fromkeys(range(12), "m"), 12: "88", 13: "88", **dict.fromkeys(range(21, 35), "1"),
    **dict.fromkeys(range(84, 92), "m1"), 92: "m", 93: "m",
}  # fmt: skip
_ATOMIC = {0: "m", 1: "m", 2: "m", 3: "1", **dict.fromkeys(range(0x10, 0x4F), "m")}
_PREFIXED = {
    0xFB: (_GC, 30), 0xFC: (_MORE, 22), 0xFD: (_VECTORS, 0x113), 0xFE: (_ATOMIC, 0x4E),
}  # fmt: skip


def instructions(data: Buffer, start: int, end: int) -> set[int]:
    """Where the instructions of a function's body begin; `[start, end)` is the body in the file.

    With them the beginning of the body and of each group of locals: compilers have made the code
    that comes before all others from there. Raises `FormatError` for what is no code, or of a
    kind that is not known.
    """
    cursor = Cursor(data, start, end)
    groups = cursor.uleb()
    if groups > _MAX_LOCALS:
        raise FormatError(f"offset 0x{start:x}", f"{groups} groups of locals")
    found = {start}
    for _ in range(groups):
        found.add(cursor.offset)
        cursor.uleb()
        value_type(cursor)
    while cursor.offset < end:
        found.add(cursor.offset)
        opcode = cursor.u8()
        after = _AFTER.get(opcode)
        if after is None:
            if opcode in _KNOWN:
                continue
            after = _prefixed(cursor, opcode)
        for each in after:
            _SKIP[each](cursor)
    return found


def _prefixed(cursor: Cursor, opcode: int) -> str:
    at = cursor.offset - 1
    table, last = _PREFIXED.get(opcode, ({}, -1))
    number = cursor.uleb()
    if number > last:
        raise FormatError(f"offset 0x{at:x}", f"instruction 0x{opcode:02x} {number}")
    return table.get(number, "")


def _block(cursor: Cursor) -> None:
    # A type's number, or a negative one that is a value type.
    if cursor.sleb() in (-0x1D, -0x1C):
        cursor.sleb()


def _memory(cursor: Cursor) -> None:
    if cursor.uleb() & 0x40:
        cursor.uleb()
    cursor.uleb()


def _list(cursor: Cursor) -> int:
    count = cursor.uleb()
    # An element has a byte at least.
    if count > cursor.end - cursor.offset:
        raise FormatError(f"offset 0x{cursor.offset:x}", f"a list of {count}")
    return count


def _labels(cursor: Cursor) -> None:
    for _ in range(_list(cursor)):
        cursor.uleb()


def _types(cursor: Cursor) -> None:
    for _ in range(_list(cursor)):
        value_type(cursor)


def _handlers(cursor: Cursor) -> None:
    for _ in range(_list(cursor)):
        if cursor.u8() < 2:
            cursor.uleb()
        cursor.uleb()


_SKIP = {
    "n": Cursor.uleb, "b": _block, "m": _memory, "l": _labels, "t": _types, "h": _handlers,
    "1": Cursor.u8, "4": Cursor.u32, "8": Cursor.u64,
}  # fmt: skip
