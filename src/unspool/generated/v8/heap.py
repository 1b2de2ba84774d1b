"""Objects of V8's heap: small integers, pointers with a tag, maps, strings of all kinds.

A pointer to an object is one more than its address; a small integer (Smi) is in the upper half
of a word whose lower half is zero. The first word of an object points to its map, which has the
object's type. Raises `Fault` where memory cannot be read, and `FormatError` where it holds
something else.
"""

from __future__ import annotations

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.v8.metadata import Metadata

_TAG, _TAG_MASK = 1, 3
_ONE_BYTE, _REPRESENTATION = 8, 7
_SEQUENTIAL, _CONS, _EXTERNAL, _SLICED, _THIN = 0, 1, 2, 3, 5
_LENGTH, _BODY, _SECOND = 12, 16, 24
_MOST_PARTS = 256
_MOST_CHARACTERS = 1 << 29
_LOWEST = 1 << 12
_HIGHEST = 1 << 52


class Heap:
    """Reads objects by the constants of one V8."""

    def __init__(self, metadata: Metadata) -> None:
        self.known = metadata
        self.reader = metadata.reader
        self.strings_below = -metadata.number("IsNotStringMask")

    def word(self, tagged: int, offset: int) -> int:
        """A word of an object."""
        return self.reader.pointer(tagged - _TAG + offset)

    def small(self, word: int) -> int:
        """The value of a Smi."""
        if word & 0xFFFFFFFF:
            raise FormatError(f"0x{word:x} is no small integer", "V8's heap")
        value = word >> 32
        return value - (1 << 32) if value >> 31 else value

    def type(self, tagged: int) -> int:
        """An object's type; -1 if it is no pointer to one."""
        if not is_pointer(tagged):
            return -1
        chart = self.word(tagged, 0)
        if not is_pointer(chart):
            return -1
        return self.reader.unsigned(chart - _TAG + self.known.map_type, 2)

    def is_string(self, tagged: int) -> bool:
        return 0 <= self.type(tagged) < self.strings_below

    def string(self, tagged: int, limit: int = 512) -> str:
        """The first `limit` UTF-16 units of a string."""
        text = "".join(self._parts(tagged, limit))
        # Of a character beyond the first 65,536 half may be cut off, or stand for itself.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _parts(self, tagged: int, limit: int) -> list[str]:
        found: list[str] = []
        left = limit
        # What is still to come, the next one last, as (string, first character, characters).
        waiting = [(tagged, 0, limit)]
        for _ in range(_MOST_PARTS):
            if not waiting or left <= 0:
                return found
            string, first, count = waiting.pop()
            count = min(count, left)
            kind, length = self.type(string), self.string_length(string)
            count = min(count, length - first)
            if count <= 0:
                continue
            representation = kind & _REPRESENTATION
            if representation == _CONS:
                one, two = self.word(string, _BODY), self.word(string, _SECOND)
                split = self.string_length(one)
                if first + count > split:
                    waiting.append((two, max(first - split, 0), first + count - max(first, split)))
                if first < split:
                    waiting.append((one, first, min(count, split - first)))
            elif representation == _SLICED:
                start = self.small(self.word(string, _SECOND))
                waiting.append((self.word(string, _BODY), start + first, count))
            elif representation == _THIN:
                waiting.append((self.word(string, _BODY), first, count))
            else:
                data, width = self.characters(string, first, count)
                found.append(_decoded(data, width))
                left -= count
        raise FormatError(f"a string of more than {_MOST_PARTS} parts", "V8's heap")

    def string_length(self, tagged: int) -> int:
        if not self.is_string(tagged):
            raise FormatError(f"0x{tagged:x} is no string", "V8's heap")
        length = self.reader.unsigned(tagged - _TAG + _LENGTH, 4)
        if length > _MOST_CHARACTERS:
            raise FormatError(f"a string of {length} characters", "V8's heap")
        return length

    def characters(
        self, tagged: int, first: int, count: int, *, whole: bool = False
    ) -> tuple[bytes, int]:
        """The characters of a string that lies in one piece, and how many bytes each has.

        `whole`: they are much, and no name. Sanitized minidumps hold nothing of that.
        """
        kind = self.type(tagged)
        width = 1 if kind & _ONE_BYTE else 2
        at = tagged - _TAG + _BODY
        if kind & _REPRESENTATION == _EXTERNAL:
            at = self.word(tagged, _SECOND)
        elif kind & _REPRESENTATION != _SEQUENTIAL:
            raise FormatError("a string of an unknown kind", "V8's heap")
        if not _LOWEST <= at < _HIGHEST:
            raise FormatError(f"a string at 0x{at:x}", "V8's heap")
        memory = self.reader.memory if whole else self.reader
        return memory.read(at + first * width, count * width), width

    def flat(self, tagged: int) -> int:
        """The string in one piece that another one stands for, as a script's source is."""
        for _ in range(_MOST_PARTS):
            representation = self.type(tagged) & _REPRESENTATION
            is_flat_cons = representation == _CONS and not self.string_length(
                self.word(tagged, _SECOND)
            )
            if representation != _THIN and not is_flat_cons:
                return tagged
            tagged = self.word(tagged, _BODY)
        raise FormatError("strings that stand for each other", "V8's heap")


def is_pointer(word: int) -> bool:
    """Whether a word has the tag of a pointer that keeps its object alive."""
    return word & _TAG_MASK == _TAG and _LOWEST <= word < _HIGHEST


def is_small(word: int) -> bool:
    return word & 0xFFFFFFFF == 0


def _decoded(data: bytes, width: int) -> str:
    if width == 1:
        return data.decode("latin-1")
    return data.decode("utf-16-le", "surrogatepass")
