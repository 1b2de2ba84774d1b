""".ARM.exidx and .ARM.extab as the assembler and the linker make them (EHABI32).

    tables = Tables(index=0x3000, extra=0x4000)
    tables.inline(0x1000, pop(4, 14))
    tables.cantunwind(0x1020)
    tables.compact(0x1040, vsp(32), pop(4, 5, 6, 7, 14))
    tables.generic(0x1060, 0x2000, pop(4, 14))
    index, extra = tables.build()
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.build.encoding import uleb

FINISH, REFUSE = b"\xb0", b"\x80\x00"


def vsp(size: int) -> bytes:
    """The stack pointer goes up by `size` bytes, or down: the instructions of an assembler."""
    if size > 0x200:
        return b"\xb2" + uleb((size - 0x204) >> 2)
    code, rest = b"", abs(size)
    while rest:
        part = min(rest, 0x100)
        code += bytes([(0x40 if size < 0 else 0) | (part - 4) >> 2])
        rest -= part
    return code


def from_register(number: int) -> bytes:
    return bytes([0x90 | number])


def pop(*numbers: int) -> bytes:
    """Pops of r4 to r15; with a mask, as any list of them can be given."""
    mask = sum(1 << number - 4 for number in numbers)
    return bytes([0x80 | mask >> 8, mask & 0xFF])


def pop_range(last: int, *, link: bool = False) -> bytes:
    """Pops of r4 to `last`, and the link register."""
    return bytes([(0xA8 if link else 0xA0) | last - 4])


def pop_arguments(*numbers: int) -> bytes:
    """Pops of r0 to r3."""
    return bytes([0xB1, sum(1 << number for number in numbers)])


class Tables:
    """Entries are to be added in the order of their functions."""

    def __init__(self, index: int, extra: int) -> None:
        self.index = index
        self.extra = extra
        self._words: list[Callable[[int], int]] = []
        self._extra = b""

    def _entry(self, function: int, second: Callable[[int], int]) -> None:
        self._words += [lambda place: prel31(function, place), second]

    def cantunwind(self, function: int) -> None:
        self._entry(function, lambda _: 1)

    def inline(self, function: int, *instructions: bytes) -> None:
        """Three bytes of instructions at most, in the index itself."""
        code = b"".join(instructions).ljust(3, FINISH)
        word = int.from_bytes(b"\x80" + code, "big")
        self._entry(function, lambda _: word)

    def raw(self, function: int, word: int) -> None:
        """An entry whose second word is given."""
        self._entry(function, lambda _: word)

    def table(self, function: int, data: bytes) -> None:
        """An entry that refers to these bytes of .ARM.extab."""
        address = self.extra + len(self._extra)
        self._extra += data
        self._entry(function, lambda place: prel31(address, place))

    def compact(self, function: int, *instructions: bytes, routine: int = 1) -> None:
        """Personality routine 0 (three bytes), 1 or 2, in .ARM.extab."""
        code = b"".join(instructions)
        if routine == 0:
            data = b"\x80" + code.ljust(3, FINISH)
        else:
            data = bytes([0x80 | routine]) + counted(code, 2)
        self.table(function, swapped(data) + bytes(4))

    def generic(self, function: int, personality: int, *instructions: bytes) -> None:
        """A language's personality routine, GNU's form of its data, and four bytes of its own."""
        place = self.extra + len(self._extra)
        data = swapped(counted(b"".join(instructions), 3))
        first = struct.pack("<I", prel31(personality, place))
        self.table(function, first + data + b"LSDA")

    def build(self) -> tuple[bytes, bytes]:
        words = [make(self.index + 4 * at) for at, make in enumerate(self._words)]
        return struct.pack(f"<{len(words)}I", *words), self._extra


def counted(code: bytes, room: int) -> bytes:
    """A count of further words, then instructions, of which `room` bytes are in the first."""
    more = max(0, -(-(len(code) - room) // 4))
    return bytes([more]) + code.ljust(room + 4 * more, FINISH)


def swapped(data: bytes) -> bytes:
    """Words whose first byte is the highest, as they are in little-endian memory."""
    assert len(data) % 4 == 0, data
    return b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))


def prel31(address: int, place: int) -> int:
    return (address - place) & 0x7FFFFFFF
