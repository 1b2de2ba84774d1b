"""Java methods: their class, name, source file, and the line of each bytecode.

`Method`, `ConstMethod`, `ConstantPool`, `Klass` and `Symbol` of OpenJDK. The lines are behind the
bytecodes, in the ConstMethod.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.generated.hotspot.packed import Packed
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.generated.hotspot.tables import VmTables

    Lines = list[tuple[int, int]]

_WORD = 8
_MOST_CODE = 1 << 16
_MOST_CONST = 1 << 20  # bytecodes, line table and what else lies behind them
_MOST_LINES = 1 << 16
_ALL_LINES = 16 << 20  # bytes of line tables, for one process
_ALL_METHODS = 1 << 17
_HAS_LINES = 1  # of ConstMethod's flags, in all versions
_LINES_APART = 0xFF  # of the line table: numbers follow that do not fit into a byte
_HIDDEN = "+0x"  # of a hidden class' name, before the address that makes it unique


class Method:
    """A method; `code` is where its bytecodes are, `(start, end)`."""

    __slots__ = ("code", "file", "lines", "name")

    def __init__(
        self, name: str, file: str | None, code: tuple[int, int], lines: Callable[[], Lines]
    ) -> None:
        self.name = name
        self.file = file
        self.code = code
        self.lines: Callable[[], Lines] | Lines = lines

    def line(self, bci: int) -> int | None:
        """The source line of a bytecode, by its index."""
        if not isinstance(self.lines, list):
            self.lines = self.lines()
        # As HotSpot does it: the entry nearest before, and of several for one index the last.
        best, found = -1, None
        for start, line in self.lines:
            if best <= start <= bci:
                best, found = start, line
        return found


class Methods:
    """Reads methods, each once."""

    def __init__(self, tables: VmTables, excluded: int) -> None:
        self.tables = tables
        self.excluded = excluded
        self.room = _ALL_LINES
        self._methods: dict[int, Method | None] = {}
        offset = tables.offset
        self._const = offset("Method._constMethod")
        self._constants = offset("ConstMethod._constants")
        self._words = tables.field("ConstMethod._constMethod_size")
        self._flags = tables.field("ConstMethod._flags", "ConstMethod._flags._flags")
        self._code_size = tables.field("ConstMethod._code_size")
        self._name = tables.field("ConstMethod._name_index")
        self._header = tables.size("ConstMethod")
        self._holder = offset("ConstantPool._pool_holder")
        self._length = tables.field("ConstantPool._length")
        self._pool_header = tables.size("ConstantPool")
        self._class_name = offset("Klass._name")
        self._file = tables.maybe("ConstantPool._source_file_name_index")
        self._old_file = tables.maybe("InstanceKlass._source_file_name_index")
        self._symbol_length = tables.field("Symbol._length", "Symbol._length_and_refcount")
        self._symbol_body = offset("Symbol._body[0]", "Symbol._body")

    def at(self, address: int) -> Method | None:
        """The method at an address; None if there is none that makes sense."""
        if address not in self._methods and len(self._methods) < _ALL_METHODS:
            try:
                self._methods[address] = self._read(address)
            except (Fault, FormatError, UnicodeDecodeError):
                self._methods[address] = None
        return self._methods.get(address)

    def complete(self) -> None:
        """Reads all that there is of the methods that were asked for, their bytecodes too.

        Frames of the interpreter point at both: such a pointer means nothing where they are not.
        """
        reader = self.tables.reader
        for address, method in self._methods.items():
            if method is None:
                continue
            method.line(0)
            start, end = method.code
            try:
                reader.read(address, _WORD)
                reader.read(start, end - start)
            except Fault:
                continue

    def _read(self, address: int) -> Method:
        tables, reader = self.tables, self.tables.reader
        if address % _WORD:
            raise FormatError(f"0x{address:x} is not aligned", "a method")
        const = reader.pointer(address + self._const)
        pool = reader.pointer(const + self._constants)
        holder = reader.pointer(pool + self._holder)
        size = tables.get(const, self._words) * _WORD
        code_size = tables.get(const, self._code_size)
        if not self._header + code_size <= size <= _MOST_CONST:
            raise FormatError(f"a ConstMethod of {size:,} bytes", "a method")
        name = self.constant(pool, tables.get(const, self._name))
        owner = self.symbol(reader.pointer(holder + self._class_name))
        code = const + self._header
        has_lines = tables.get(const, self._flags) & _HAS_LINES
        end = const + size if has_lines else 0
        file, bytecodes = self._source(pool, holder), (code, code + code_size)
        return Method(
            f"{external(owner)}.{name}", file, bytecodes, lambda: self._lines(bytecodes[1], end)
        )

    def _lines(self, start: int, end: int) -> Lines:
        """The line table in a ConstMethod; empty if there is none that can be read."""
        self.room -= max(end - start, 0)
        if end <= start or self.room < 0:
            return []
        try:
            return _lines(Packed(self.tables.reader.read(start, end - start), self.excluded))
        except (Fault, FormatError):
            return []

    def _source(self, pool: int, holder: int) -> str | None:
        index = 0
        if self._file is not None:
            index = self.tables.get(pool, self._file)
        elif self._old_file is not None:
            index = self.tables.get(holder, self._old_file)
        return self.constant(pool, index) if index else None

    def constant(self, pool: int, index: int) -> str:
        """A constant that is a symbol."""
        if not 0 < index < self.tables.get(pool, self._length):
            raise FormatError(f"no constant {index}", "a method")
        reader = self.tables.reader
        return self.symbol(reader.pointer(pool + self._pool_header + _WORD * index))

    def symbol(self, address: int) -> str:
        """The text of a Symbol."""
        length = self.tables.get(address, self._symbol_length) & 0xFFFF
        data = self.tables.reader.read(address + self._symbol_body, length)
        # Java's own UTF-8: zero and letters beyond the BMP as two surrogates.
        text = data.decode("utf-8", "surrogatepass").replace("\xc0\x80", "\0")
        text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        if not text or not text.isprintable():
            raise FormatError(f"no name at 0x{address:x}", "a symbol")
        return text


def external(name: str) -> str:
    """A class' name as programs see it: `java.util.Map`, `Main$$Lambda/0x00007f0c01000a00`."""
    plain, plus, address = name.rpartition(_HIDDEN)
    if plus:
        return f"{plain.replace('/', '.')}/0x{address}"
    return name.replace("/", ".")


def _lines(packed: Packed) -> list[tuple[int, int]]:
    """(index of a bytecode, line) of a CompressedLineNumberReadStream."""
    lines = []
    bci = line = 0
    for _ in range(_MOST_LINES):
        byte = packed.byte()
        if byte == 0:
            break
        if byte == _LINES_APART:
            bci += packed.signed()
            line += packed.signed()
        else:
            bci += byte >> 3
            line += byte & 7
        if not (0 <= bci < _MOST_CODE and 0 <= line < _MOST_CODE):
            break
        lines.append((bci, line))
    return lines
