"""perf's jitdump: what a runtime writes of the code that it makes, record by record.

The format is that of linux/tools/perf/Documentation/jitdump-specification.txt, in the byte order
of who wrote it: a header, then records of code that was loaded or moved, of source lines and of
unwind data. The last record may be cut: the process may still be writing, or have died.
"""

from __future__ import annotations

from struct import Struct, error

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.cursor import Buffer

MAGIC = 0x4A695444
CODE_LOAD, CODE_MOVE, CODE_DEBUG_INFO, CODE_CLOSE, CODE_UNWINDING_INFO = range(5)

HEADER_SIZE = 40
_VERSION = 1
_RECORD_SIZE = 16
# A runtime that has run for days has made some 100,000 functions.
MAX_RECORDS = 4_000_000
_MAX_LINES = 1_000_000
_MAX_NAME = 1 << 14
_MASK = (1 << 64) - 1

# V8 writes this where the header has a field for later use.
_V8_PAD = 0xDEADBEEF
_V8_SHIFT = 0x40
_SAME_FILE = b"\xff"


class JitCode:
    """A function: its code at `[start, end)` of the process, `code` its offset in the file.

    `name` is the offset of its name. `unwinding` are offset and size of the .eh_frame that was
    written for it, and of the .eh_frame_hdr behind that; `lines` the offset of its line records
    and their number. `origin` is the address that these were written for: code that was moved
    has another one.
    """

    __slots__ = ("code", "end", "index", "lines", "name", "origin", "start", "unwinding")

    def __init__(self, start: int, size: int, index: int, name: int, code: int) -> None:
        self.start = self.origin = start
        self.end = start + size
        self.index = index
        self.name = name
        self.code = code
        self.unwinding: tuple[int, int, int] | None = None
        self.lines: tuple[int, int, int] | None = None

    def moved(self, start: int) -> JitCode:
        """The same function at another address."""
        other = JitCode(start, self.end - self.start, self.index, self.name, self.code)
        other.origin = self.origin
        other.unwinding, other.lines = self.unwinding, self.lines
        return other


class Jitdump:
    """A jitdump file. Raises `FormatError` if its header is none.

    `problem` says, once `functions` was called, why records are missing, if any are. `cut`: it is
    only that the last one is not whole, as in most files that are still being written.
    """

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.problem: str | None = None
        self.cut = False
        if len(buffer) < HEADER_SIZE:
            raise FormatError("jitdump", "shorter than its header")
        self.order = "<" if int.from_bytes(bytes(buffer[:4]), "little") == MAGIC else ">"
        header = Struct(f"{self.order}6IQQ").unpack_from(buffer, 0)
        magic, version, self._first, self.machine, pad, self.pid, _, _ = header
        if magic != MAGIC:
            raise FormatError("jitdump", "not its magic number")
        if version != _VERSION:
            raise FormatError("jitdump", f"version {version}")
        if self._first < HEADER_SIZE:
            raise FormatError("jitdump", f"a header of {self._first} bytes")
        self._is_v8 = pad == _V8_PAD
        self._tables: dict[int, list[tuple[int, str, int]]] = {}

    def records(self) -> Iterator[tuple[int, int, int]]:
        """(kind, offset of the body, end) of each whole record."""
        unpack = Struct(f"{self.order}II").unpack_from
        buffer, at, size = self.buffer, self._first, len(self.buffer)
        for _ in range(MAX_RECORDS):
            if at + _RECORD_SIZE > size:
                self._note_cut(at < size)
                return
            kind, length = unpack(buffer, at)
            if length < _RECORD_SIZE:
                self.problem = f"the record at 0x{at:x} claims {length} bytes"
                return
            if at + length > size:
                self._note_cut(True)
                return
            yield kind, at + _RECORD_SIZE, at + length
            if kind == CODE_CLOSE:
                return
            at += length
        self.problem = f"more than {MAX_RECORDS:,} records"

    def _note_cut(self, cut: bool) -> None:
        self.cut = cut
        self.problem = "its last record is cut" if cut else None

    def functions(self) -> list[JitCode]:
        """All code that was loaded or moved, the latest last. A broken record costs itself."""
        found: list[JitCode] = []
        by_index: dict[int, JitCode] = {}
        unwinding: tuple[int, int, int] | None = None
        lines: dict[int, tuple[int, int, int]] = {}
        broken = 0
        for kind, at, end in self.records():
            try:
                if kind == CODE_LOAD:
                    code = self._load(at, end)
                    # What is written of a function before its code is for that function.
                    code.unwinding, unwinding = unwinding, None
                    code.lines = lines.pop(code.start, None)
                    lines.clear()
                elif kind == CODE_MOVE:
                    code = self._move(at, end, by_index)
                elif kind == CODE_UNWINDING_INFO:
                    unwinding = self._unwinding(at, end)
                    continue
                elif kind == CODE_DEBUG_INFO:
                    address, count = self._unpack("QQ", at, end)
                    lines[address] = (at + 16, end, count)
                    continue
                else:
                    continue
            except FormatError:
                broken += 1
                continue
            found.append(code)
            by_index[code.index] = code
        if broken:
            self.problem, self.cut = f"{broken} of its records are broken", False
        return found

    def name(self, code: JitCode) -> str:
        """A function's name as the runtime wrote it."""
        return self._text(code.name, code.code).decode("utf-8", "replace")

    def line(self, code: JitCode, address: int) -> tuple[str, int] | None:
        """File and line of an address in a function, if its lines were written."""
        if code.lines is None:
            return None
        if code.lines[0] not in self._tables:
            self._tables[code.lines[0]] = self._table(code)
        # An address of code that was moved, as it was when the lines were written.
        address += code.origin - code.start
        before = [each for each in self._tables[code.lines[0]] if each[0] <= address]
        return before[-1][1:] if before else None

    def _table(self, code: JitCode) -> list[tuple[int, str, int]]:
        """(address, file, line) by address. Empty if it does not belong to this function.

        V8 writes some names of files from memory that it has freed (version 11.3, for scripts
        whose name is no plain string): then the records are as long as they should be, and hold
        anything, zeros included.
        """
        low, high = code.origin, code.origin + code.end - code.start
        try:
            table = sorted(self._lines(code), key=_address)
        except FormatError:
            return []
        if all(low <= at <= high and file.isprintable() for at, file, _ in table):
            return table
        return []

    def unwind_data(self, code: JitCode) -> bytes | None:
        """A function's .eh_frame, for code at its first address; None if it has none."""
        if code.unwinding is None:
            return None
        at, size, header = code.unwinding
        data = bytes(self.buffer[at : at + size - header])
        return data or None

    def code_bytes(self, code: JitCode) -> bytes:
        """A function's code as it was made."""
        return bytes(self.buffer[code.code : code.code + code.end - code.start])

    def _load(self, at: int, end: int) -> JitCode:
        _, _, _, start, size, index = self._unpack("IIQQQQ", at, end)
        name = at + 40
        code = end - size
        # Some writers pad records: the code follows the name.
        text = self._text(name, end)
        after = name + len(text) + 1
        if not after <= code or not size or start + size > _MASK:
            raise FormatError(f"jitdump at 0x{at:x}", "code that is not in its record")
        return JitCode(start, size, index, name, after)

    def _move(self, at: int, end: int, known: dict[int, JitCode]) -> JitCode:
        _, _, _, old, new, size, index = self._unpack("IIQQQQQ", at, end)
        code = known.get(index)
        if code is None or code.start != old or code.end - old != size or new + size > _MASK:
            raise FormatError(f"jitdump at 0x{at:x}", "moves code that was not loaded")
        return code.moved(new)

    def _unwinding(self, at: int, end: int) -> tuple[int, int, int]:
        size, header, _ = self._unpack("QQQ", at, end)
        if header > size or at + 24 + size > end:
            raise FormatError(f"jitdump at 0x{at:x}", "unwind data that is not in its record")
        return at + 24, size, header

    def _lines(self, code: JitCode) -> Iterator[tuple[int, str, int]]:
        """(address, file, line) of each line record."""
        assert code.lines is not None
        at, end, count = code.lines
        # V8 and LLVM write addresses past the ELF header that old versions of perf forgot to
        # count in when they made a file of each function (linux commit 7d7e503cac31, 2020).
        shift = _V8_SHIFT if self._is_v8 else 0
        file = "?"
        for _ in range(min(count, _MAX_LINES)):
            address, line, _ = self._unpack("QII", at, end)
            text = self._text(at + 16, end)
            if text != _SAME_FILE:
                file = text.decode("utf-8", "surrogateescape")
            yield address - shift, file, line
            at += 16 + len(text) + 1

    def _text(self, at: int, end: int) -> bytes:
        raw = bytes(self.buffer[at : min(end, at + _MAX_NAME)])
        length = raw.find(b"\0")
        if length < 0:
            raise FormatError(f"jitdump at 0x{at:x}", "a name without end")
        return raw[:length]

    def _unpack(self, fields: str, at: int, end: int) -> tuple[int, ...]:
        layout = Struct(self.order + fields)
        if at + layout.size > end:
            raise FormatError(f"jitdump at 0x{at:x}", "a record that is too short")
        try:
            return layout.unpack_from(self.buffer, at)
        except error as problem:
            raise FormatError(f"jitdump at 0x{at:x}", str(problem)) from None


def _address(line: tuple[int, str, int]) -> int:
    return line[0]
