"""The exception index of 32-bit Arm: .ARM.exidx and .ARM.extab. (EHABI32, "Exception Handling
ABI for the Arm Architecture": "Index table entries", "The compact model".)

Addresses are those of the file that the tables were linked into. What the instructions found
here do is said in `exidx_row.py`.
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

_CANTUNWIND = 1
_ENTRY = Struct("<II")
_WORD = Struct("<I")
_ADDRESSES = (1 << 32) - 1


class Entry:
    """An index entry: what is known of the code from `start` up to the next entry.

    One of three: `cantunwind`; `instructions` that the index itself holds; else `table`, the
    address of a .ARM.extab entry.
    """

    __slots__ = ("cantunwind", "instructions", "start", "table")

    def __init__(
        self, start: int, table: int | None, instructions: bytes | None, *, cantunwind: bool
    ) -> None:
        self.start = start
        self.table = table
        self.instructions = instructions
        self.cantunwind = cantunwind


class ExidxTable:
    """A .ARM.exidx section: `buffer[start:end]`, whose first byte is at the address `address`.

    Its entries are sorted by what they describe, as the linker guarantees; of a table that
    lies about that some entries are not found.
    """

    __slots__ = ("_count", "address", "buffer", "start")

    def __init__(self, buffer: Buffer, start: int, end: int, address: int) -> None:
        self.buffer = buffer
        self.start = start
        self.address = address
        self._count = max(0, min(end, len(buffer)) - start) // _ENTRY.size

    def __len__(self) -> int:
        return self._count

    def find(self, address: int) -> Entry | None:
        """The last entry that starts at or before `address`; None if the first starts later.

        Raises `FormatError` for one that is broken.
        """
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if self._start_of(middle) <= address:
                low = middle + 1
            else:
                high = middle
        return self.entry(low - 1) if low else None

    def entry(self, index: int) -> Entry:
        """The entry at a position, from 0 to the length. Raises `FormatError` if it is broken."""
        at = index * _ENTRY.size
        first, second = _ENTRY.unpack_from(self.buffer, self.start + at)
        where = f".ARM.exidx entry 0x{self.address + at:x}"
        if first >> 31:
            raise FormatError(where, "has no address")
        start = prel31(first, self.address + at)
        if second == _CANTUNWIND:
            return Entry(start, None, None, cantunwind=True)
        if not second >> 31:
            return Entry(start, prel31(second, self.address + at + 4), None, cantunwind=False)
        # Only personality routine 0 has so few instructions that they fit in here.
        if second >> 24 != 0x80:
            raise FormatError(where, f"0x{second:08x} is no form of an entry")
        return Entry(start, None, second.to_bytes(4, "big")[1:], cantunwind=False)

    def _start_of(self, index: int) -> int:
        at = index * _ENTRY.size
        word: int = _WORD.unpack_from(self.buffer, self.start + at)[0]
        return prel31(word, self.address + at)


def table_instructions(buffer: Buffer, start: int, end: int) -> bytes:
    """The unwinding instructions of the .ARM.extab entry in `buffer[start:]`.

    The entry says who interprets it. 0, 1 and 2 are the routines of the ABI
    (__aeabi_unwind_cpp_pr0 and so on); of any other routine there is the address, and what
    follows it is the routine's own affair. All that GCC and Clang know of (C++'s, C's for
    cleanups, Rust's, Ada's) keep instructions there in the form of routine 1, without its
    first byte. Raises `FormatError`.
    """
    end = min(end, len(buffer))
    word = _word(buffer, start, end)
    if not word >> 31:
        return _counted(buffer, start + 4, end, _word(buffer, start + 4, end), 1)
    routine = word >> 24 & 0xF
    if word >> 28 != 0b1000 or routine > 2:
        raise FormatError(".ARM.extab entry", f"personality routine {routine} is none of the ABI's")
    if routine == 0:
        return word.to_bytes(4, "big")[1:]
    return _counted(buffer, start, end, word, 2)


def _counted(buffer: Buffer, start: int, end: int, word: int, skipped: int) -> bytes:
    """Instructions that begin in `word`, at `start`, after `skipped` bytes, the last of
    which says how many more words there are. The first instruction is in the highest byte.
    """
    first = word.to_bytes(4, "big")
    count = first[skipped - 1]
    parts = [first[skipped:]]
    for index in range(1, count + 1):
        parts.append(_word(buffer, start + 4 * index, end).to_bytes(4, "big"))
    return b"".join(parts)


def _word(buffer: Buffer, at: int, end: int) -> int:
    if at < 0 or at + 4 > end:
        raise FormatError(".ARM.extab entry", "reaches past the end of its segment")
    word: int = _WORD.unpack_from(buffer, at)[0]
    return word


def prel31(word: int, place: int) -> int:
    """The address that a word at the address `place` means: 31 bits, signed, relative to it."""
    distance = (word & 0x7FFFFFFF) - ((word & 0x40000000) << 1)
    return place + distance & _ADDRESSES
