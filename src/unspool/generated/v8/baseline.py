"""Code that V8 makes of bytecode one by one (Sparkplug): which bytecode an address is of.

For each bytecode a table has the size of its code, and a number before the first that is the
prologue's. How long the bytecodes are is in a table of V8 itself (`Bytecodes::kBytecodeSizes`),
whose rows are for operands of one, two and four bytes: a prefix tells which.
"""

from __future__ import annotations

from bisect import bisect_left

from unspool.errors import FormatError
from unspool.generated.v8.positions import packed_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.generated.v8.heap import Heap

_WHO = "V8's baseline code"
BYTECODE_SIZES = "_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizesE"
# The rows begin with four prefixes and five bytecodes for debuggers, of no to four operands.
_BEGINS = [bytes([1] * 5 + [1 + count * width for count in range(1, 5)]) for width in (1, 2, 4)]
_MOST_BYTECODES = 256
_PREFIXES = 4
_WORD = 8
_START, _SIZE = 40, 56  # of a Code, in V8 11.3, which does not say
_MOST_CODE = 1 << 28
_MOST_TABLE = 1 << 20
_MOST_BYTES = 5  # of a number
_ALL_TABLES = 1 << 22  # bytes of all tables and bytecodes: what lies costs no more


class Baseline:
    """Reads the tables of one V8. `symbol` gives the address of a symbol of its module."""

    def __init__(self, heap: Heap, symbol: Callable[[str], int | None]) -> None:
        self.heap = heap
        self._symbol = symbol
        self.room = _ALL_TABLES
        self._sizes: list[bytes] | None = None
        self._known: dict[int, tuple[list[int], list[int]]] = {}
        known = heap.known
        self._inline = known.number("class_Code__instruction_start__uintptr_t", default=0)
        self._start = known.number("class_Code__instruction_start__Address", default=_START)
        self._size = known.number("class_Code__instruction_size__int", default=_SIZE)

    def offset(self, code: int, bytecodes: int, pc: int) -> int | None:
        """The offset of the bytecode that has called, by its return address; None if unknown.

        `code` must be made of `bytecodes`. Raises `FormatError` and `Fault`.
        """
        start, size = self._bounds(code)
        if not start < pc <= start + size:
            return None
        if code not in self._known:
            self._known[code] = self._read(code, bytecodes, size)
        ends, offsets = self._known[code]
        index = bisect_left(ends, pc - start)
        return offsets[index] if 0 < index < len(ends) else None

    def holds(self, code: int, pc: int) -> bool:
        """Whether a return address is in a piece of code. Raises `FormatError` and `Fault`."""
        start, size = self._bounds(code)
        return start < pc <= start + size

    def _bounds(self, code: int) -> tuple[int, int]:
        heap = self.heap
        start = code - 1 + self._inline if self._inline else heap.word(code, self._start)
        size = heap.reader.unsigned(code - 1 + self._size, 4)
        return start, size if size < _MOST_CODE else 0

    def _read(self, code: int, bytecodes: int, size: int) -> tuple[list[int], list[int]]:
        """Where the code of each bytecode ends, and the bytecodes' offsets; the prologue first."""
        heap, known = self.heap, self.heap.known
        table = self._table(code, bytecodes)
        length = heap.small(heap.word(table, known.length))
        count = heap.small(heap.word(bytecodes, known.length))
        if not (0 < length <= _MOST_TABLE and 0 < count <= _MOST_TABLE):
            raise FormatError(f"a table of {length} bytes", _WHO)
        self.room -= length + count
        if self.room < 0:
            raise FormatError("absurdly large tables", _WHO)
        sizes = packed_numbers(heap.reader.read(table - 1 + known.elements, length), _MOST_BYTES)
        offsets = self._offsets(heap.reader.read(bytecodes - 1 + known.header, count))
        ends, end = [], 0
        for step in sizes:
            end += step
            ends.append(end)
        if len(ends) != len(offsets) + 1 or end > size:
            raise FormatError(f"{len(ends)} places for {len(offsets)} bytecodes", _WHO)
        return ends, [0, *offsets]

    def _table(self, code: int, bytecodes: int) -> int:
        """The array behind the field that has the bytecode, by way of a trampoline or not."""
        heap, known = self.heap, self.heap.known
        for field in range(_WORD, 4 * _WORD, _WORD):
            word = heap.word(code, field)
            kind = heap.type(word)
            if word == bytecodes or kind == known.type_trampoline:
                table = heap.word(code, field + _WORD)
                if heap.type(table) in known.types_bytes:
                    return table
        raise FormatError("no table", _WHO)

    def _offsets(self, data: bytes) -> list[int]:
        sizes = self._read_sizes()
        found, at = [], 0
        while at < len(data):
            found.append(at)
            row = sizes[0]
            if data[at] < _PREFIXES:
                row = sizes[1 + data[at] % 2]
                at += 1
            if at >= len(data) or data[at] >= len(row):
                raise FormatError("no bytecode", _WHO)
            at += row[data[at]]
        return found

    def _read_sizes(self) -> list[bytes]:
        if self._sizes is None:
            self._sizes = []
            address = self._symbol(BYTECODE_SIZES)
            if address is not None:
                data = self.heap.reader.memory.read_available(address, 3 * _MOST_BYTECODES)
                count = data.find(_BEGINS[1])
                if data.startswith(_BEGINS[0]) and data.find(_BEGINS[2]) == 2 * count > 0:
                    self._sizes = [data[n * count : (n + 1) * count] for n in range(3)]
        if not self._sizes:
            raise FormatError("the sizes of bytecodes are not known", _WHO)
        return self._sizes
