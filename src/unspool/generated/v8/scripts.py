"""Scripts of V8: their names, and which line and column a position is."""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.generated.v8.heap import is_small
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.v8.heap import Heap

_WORD = 8
_MOST_NAME = 4096
_MOST_LINES = 1 << 26
_MOST_SOURCE = 16 << 20  # characters of one script
_ALL_SOURCES = 64 << 20  # bytes
_LEAST = 1 << 12
_BEHIND_NAME = 8  # where in the file a script begins, in lines; in columns behind that
_BLANK = b"\xed\xac\xef\x0d" * 2  # as `write.sanitize` and Breakpad blank words


class Script:
    """A script. What of it cannot be read is not known, and costs the rest nothing."""

    def __init__(self, heap: Heap, address: int, sources: Sources) -> None:
        self.heap = heap
        self.address = address
        self.sources = sources
        self.name = self._name()
        self._places: dict[int, tuple[int, int] | None] = {}

    def place(self, position: int) -> tuple[int, int] | None:
        """Line and column of a position, from 1 on; None if that cannot be known."""
        if position not in self._places:
            try:
                self._places[position] = self._find(position)
            except (Fault, FormatError):
                self._places[position] = None
        return self._places[position]

    def _name(self) -> str | None:
        heap, known = self.heap, self.heap.known
        try:
            name = heap.word(self.address, known.script_name)
            return heap.string(name, _MOST_NAME) if heap.is_string(name) else None
        except (Fault, FormatError):
            return None

    def _find(self, position: int) -> tuple[int, int] | None:
        heap, known = self.heap, self.heap.known
        ends = heap.word(self.address, known.script_line_ends)
        if heap.type(ends) == known.type_numbers:
            found = self._by_line_ends(ends, position)
        else:
            found = self.sources.place(heap, heap.word(self.address, known.script_source), position)
        if found is None:
            return None
        # A script may be a part of a file (`lineOffset` of Node's vm, HTML).
        lines, columns = (
            heap.word(self.address, known.script_name + _BEHIND_NAME + n * _WORD) for n in (0, 1)
        )
        if not is_small(lines) or not is_small(columns):
            return None
        line, column = found
        column += heap.small(columns) if line == 1 else 0
        return line + heap.small(lines), column

    def _by_line_ends(self, ends: int, position: int) -> tuple[int, int] | None:
        heap = self.heap
        count = heap.small(heap.word(ends, heap.known.length))
        if not 0 < count <= _MOST_LINES:
            return None

        def end(index: int) -> int:
            return heap.small(heap.word(ends, heap.known.elements + index * _WORD))

        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if end(middle) < position:
                low = middle + 1
            else:
                high = middle
        if low == count:
            return None
        return low + 1, position - (end(low - 1) + 1 if low else 0) + 1


class Sources:
    """Counts lines where V8 has not: in the text itself, of which as much is read as is needed."""

    def __init__(self) -> None:
        self.room = _ALL_SOURCES
        self._texts: dict[int, str] = {}

    def place(self, heap: Heap, source: int, position: int) -> tuple[int, int] | None:
        text = self._texts.get(source, "")
        if len(text) <= position:
            text = self._texts[source] = self._read(heap, source, position)
        return _count(text, position) if position <= len(text) else None

    def _read(self, heap: Heap, source: int, position: int) -> str:
        """The text up to a position and beyond, one character for each UTF-16 unit."""
        source = heap.flat(source)
        # By powers of two, so that little is read twice, and of a dump no more than it holds.
        length = min(heap.string_length(source), max(1 << position.bit_length(), _LEAST))
        self.room -= 2 * length
        if length > _MOST_SOURCE or self.room < 0:
            return ""
        data, width = heap.characters(source, 0, length, whole=True)
        if _BLANK in data or (width == 1 and 0 in data):
            return ""  # a sanitized minidump's
        if width == 1:
            return data.decode("latin-1")
        # Positions count units: of a pair each is one.
        return data.decode("utf-16-le", "surrogatepass") if _no_pairs(data) else _units(data)


def _no_pairs(data: bytes) -> bool:
    return not any(high in range(0xD8, 0xE0) for high in data[1::2])


def _units(data: bytes) -> str:
    return "".join(map(chr, memoryview(data).cast("H")))


def _count(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    line = 1 + before.count("\n") + before.count("\r") - before.count("\r\n")
    if before.endswith("\r") and text[position : position + 1] == "\n":
        line, before = line - 1, before[:-1]  # in the middle of an end
    line += before.count("\u2028") + before.count("\u2029")
    last = max(before.rfind(end) for end in "\n\r\u2028\u2029")
    return line, position - last
