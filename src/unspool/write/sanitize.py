"""Blanks what a dump should not tell: every word of data that is no pointer into code or stacks.

What remains is what a walk needs, return addresses and stack pointers, and no string, key or
number of the process. Breakpad calls the same `sanitize_stacks`.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct

from unspool.write.ranges import joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.write.ranges import Range

# As Breakpad writes it, so that people recognise it.
BLANK = 0x0DEFACED
_BLANK_64 = BLANK << 32 | BLANK
# 32-bit code of a WoW64 process has its stacks and structures here, in words of four bytes.
_LOW = 1 << 32


class Sanitizer:
    """Knows which words may stay: zero, and pointers into `ranges`.

    `word` is the size of a pointer in bytes. `facts` are ranges of memory whose words stay
    whatever they are: identifiers and offsets in structures of Wine.
    """

    def __init__(self, ranges: Iterable[Range], word: int, facts: Iterable[Range] = ()) -> None:
        known = joined(ranges, 0)
        self._lows = [low for low, _ in known]
        self._highs = [high for _, high in known]
        self.word = word
        self.facts = joined(facts, 0)

    def keeps(self, value: int) -> bool:
        """Whether a word may stay. The end of a range is a pointer into it as well."""
        if value == 0:
            return True
        at = bisect_right(self._lows, value) - 1
        return at >= 0 and value <= self._highs[at]

    def clean(self, address: int, data: bytes) -> bytes:
        """The bytes at an address with everything else blanked, of the same length.

        Words are aligned; the bytes before the first and behind the last become zero.
        """
        head = min(-address % self.word, len(data))
        count = (len(data) - head) // self.word
        form = Struct(f"<{count}{'Q' if self.word == 8 else 'I'}")
        words = form.unpack_from(data, head)
        low = self.word == 8 and address < _LOW
        blank = self._halves if low else self._blank
        clean = form.pack(*[each if self.keeps(each) else blank(each) for each in words])
        tail = len(data) - head - len(clean)
        return self._with_facts(address, data, bytearray(head) + clean + bytes(tail))

    def _blank(self, value: int) -> int:
        return _BLANK_64 if self.word == 8 else BLANK

    def _halves(self, value: int) -> int:
        low, high = value & 0xFFFFFFFF, value >> 32
        return (low if self.keeps(low) else BLANK) | (high if self.keeps(high) else BLANK) << 32

    def _with_facts(self, address: int, data: bytes, clean: bytearray) -> bytes:
        at = max(bisect_right(self.facts, (address, 1 << 64)) - 1, 0)
        for low, high in self.facts[at:]:
            if low >= address + len(data):
                break
            start, end = max(low, address) - address, min(high - address, len(data))
            if start < end:
                clean[start:end] = data[start:end]
        return bytes(clean)
