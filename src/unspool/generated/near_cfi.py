"""Unwind tables near code that belongs to no module: `.eh_frame` that a compiler put beside it.

Who wants exceptions through code that it makes registers tables with the C++ runtime
(`__register_frame` of libgcc and libunwind), and need not tell a debugger: LLVM's JITLink does so.
libgcc's list is asked first. It is not always to be had (a program's own copy, libunwind, memory
that a dump does not hold), so tables are also looked for in the mappings around the code, by their
form. Wherever they are from, they are believed where all of this holds:

- a CIE of the usual form, and FDEs that lead back to it
- an FDE's range lies in one mapping of code that is no module's, and no other FDE has it
- the row at a function's start is that of a function that was just called
- the code's first instructions move the stack pointer as the table says

The last two are looked at when a frame is in that function. Code that was freed, and its place
used again, is not told apart by the others.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError
from unspool.formats import cfi_row
from unspool.formats.cfi import CfiSection
from unspool.formats.cfi_index import index_of
from unspool.generated.code import GENERATED_KINDS, GeneratedModule
from unspool.generated.first_instructions import disagreement
from unspool.generated.registered_frames import registered_tables
from unspool.image import Image
from unspool.memory import Fault
from unspool.model import Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.formats.cfi import Fde
    from unspool.generated.code import Process
    from unspool.memory import Region

NAME = "[jit]"

# The id of a CIE, its version, and "z", with which every augmentation begins that says how an
# FDE's addresses are encoded. Four bytes before is its length.
_MARK = b"\0\0\0\0\x01z"
_LENGTH = 4
# How far from code tables are looked for, in each direction, and how much is read in all.
_REACH = 16 << 20
_MAX_READ = 64 << 20
# A hundred thousand functions take a second.
_MAX_FUNCTIONS = 250_000
_MAX_TABLE = 16 << 20
# Functions of one table that lie this close are one module.
_CLOSE = 4096
_PIECE = 64 << 10


def find(process: Process) -> list[GeneratedModule]:
    """A module for each range of code that tables near it describe.

    Modules of code whose names alone are known, of a perf map for example, get unwind data.
    """
    space = process.space
    code = [each for each in space.memory.regions if _lacks_tables(process, each.start)]
    if not code:
        return []
    tables = NearTables(process)
    room = _MAX_READ
    for address in registered_tables(process, tables.read):
        data = _first_table(process, address)
        _add_table(process, data, address, tables)
        room -= len(data)
        if room < 0 or not tables.room():
            break
    for address, data in _around(process, code):
        _read_tables(process, address, data, tables)
    found: list[GeneratedModule] = []
    for low, high in tables.ranges():
        known = space.module_at(low)
        if known is not None:
            space.complete(known, tables)
            continue
        module = Module(0, NAME, low, high, kind="jit", bias=0, code_base=low, code_end=high)
        used = None if found else tables.used
        found.append(GeneratedModule(module, image=tables, tables=used))
    return found


def _read_tables(process: Process, address: int, data: bytes, tables: NearTables) -> None:
    at = data.find(_MARK)
    while at >= 0 and tables.room():
        start = at - _LENGTH
        end, count = _table_end(data, start) if start >= 0 else (0, 0)
        if count:
            _add_table(process, data[start:end], address + start, tables)
        after = max(end, at + 1)
        at = data.find(_MARK, after)


def _first_table(process: Process, address: int) -> bytes:
    """The bytes of the table at an address, none if there is none."""
    size = _PIECE
    while size <= _MAX_TABLE:
        data = b"".join(data for _, data in _pieces(process, address, address + size))
        end, count = _table_end(data, 0)
        if end + _PIECE < size or len(data) < size:
            return data[:end] if count else b""
        size *= 4
    return b""


def _add_table(process: Process, data: bytes, address: int, tables: NearTables) -> None:
    section = _section(process, data, address)
    for low, offset in zip(*index_of(section), strict=True):
        if not tables.room():
            return
        tables.looked_at += 1
        try:
            fde = section.fde_at(offset)
        except FormatError:
            continue
        # Of copies of a table, and of tables for other code, no FDE leads here.
        if fde is not None and _is_whole(process, low, fde.end):
            tables.add(low, fde.end, address, len(data))


class NearTables(Image):
    """All tables that were found, each read when it is first asked for."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.now, 0)
        self._process = process
        # Functions by where they start: their ends and their tables, as (address, size).
        self._ends: dict[int, int] = {}
        self._tables: dict[int, tuple[int, int]] = {}
        self._starts: list[int] = []
        self._sections: dict[int, CfiSection | None] = {}
        self.looked_at = 0
        # What led to tables, as (start, end).
        self.read: list[tuple[int, int]] = []

    def room(self) -> bool:
        """Whether more functions may be looked at."""
        return self.looked_at < _MAX_FUNCTIONS

    def add(self, low: int, high: int, table: int, size: int) -> None:
        """A function at `[low, high)`. Who comes first is believed, until it is looked at."""
        if low not in self._ends:
            self._ends[low] = high
            self._tables[low] = table, size

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Code of functions that lie close, in one module or none. No function is added later."""
        self._starts = sorted(self._ends)
        module_at = self._process.space.module_at
        low = high = 0
        for start in self._starts:
            if high and (start > high + _CLOSE or module_at(start) is not module_at(low)):
                yield low, high
                high = 0
            low, high = (low if high else start), max(high, self._ends[start])
        if high:
            yield low, high

    def eh_frame_at(self, address: int) -> tuple[None, CfiSection | None]:
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self._ends[self._starts[at]]:
            return None, None
        table, size = self._tables[self._starts[at]]
        if table not in self._sections:
            self._sections[table] = self._read(table, size)
        return None, self._sections[table]

    def _read(self, table: int, size: int) -> CfiSection | None:
        try:
            # In pieces, since a minidump keeps no large reads.
            data = b"".join(
                self.memory.read(at, min(_PIECE, table + size - at))
                for at in range(table, table + size, _PIECE)
            )
        except Fault as fault:
            self.problems.append(f"memory at {fault} cannot be read")
            return None
        return CheckedSection(self._process, data, table)

    def used(self) -> list[tuple[int, int]]:
        """Where the tables are that were asked for, and what led to them."""
        used = [
            (section.address, section.address + section.end)
            for section in self._sections.values()
            if section is not None
        ]
        return used + self.read

    def eh_frame(self) -> tuple[None, CfiSection | None]:
        return None, None

    def exidx(self) -> None:
        return None


class CheckedSection(CfiSection):
    """A table whose FDEs are held against the code that they are for."""

    __slots__ = ("_checked", "_process")

    def __init__(self, process: Process, data: bytes, address: int) -> None:
        word = process.space.arch.pointer_size
        super().__init__(data, 0, len(data), address, is_eh=True, address_size=word)
        self._process = process
        self._checked: dict[int, str | None] = {}

    def find(self, address: int) -> Fde | None:
        """As of any section. Raises `FormatError` for an FDE that does not fit its function."""
        fde = super().find(address)
        if fde is None:
            return None
        if fde.start not in self._checked:
            self._checked[fde.start] = self._objection(fde)
        objection = self._checked[fde.start]
        if objection is not None:
            raise FormatError(f"FDE of 0x{fde.start:x}", objection)
        return fde

    def _objection(self, fde: Fde) -> str | None:
        arch = self._process.space.arch
        row = cfi_row.row_at(self, fde, fde.start)
        pushed = arch.pointer_size if arch.link is None else 0
        where = row.rules.get(arch.ra_column, (cfi_row.SAME_VALUE, 0))
        saved = (cfi_row.OFFSET, -pushed) if pushed else (cfi_row.SAME_VALUE, 0)
        if row.cfa_expression is not None or (row.cfa_register, row.cfa_offset) != (
            arch.sp,
            pushed,
        ):
            return "its stack pointer is not that of a function that was just called"
        if where != saved or fde.cie.signal_frame:
            return "its return address is not where a call leaves it"
        return disagreement(arch, self._process.now, self, fde)


# --- where to look -----------------------------------------------------------------------


def _lacks_tables(process: Process, address: int) -> bool:
    """Whether this is code that nobody has unwind data for."""
    space = process.space
    if not space.is_code(address):
        return False
    module = space.module_at(address)
    return module is None or (module.kind in GENERATED_KINDS and space.image(module) is None)


def _is_whole(process: Process, low: int, high: int) -> bool:
    """Whether a function lies in one mapping of such code, as a whole."""
    space = process.space
    region = space.memory.region(low)
    return (
        low < high
        and region is not None
        and high <= max(region.end, region.mapping[1])
        and _lacks_tables(process, low)
        and space.module_at(high - 1) is space.module_at(low)
    )


def _section(process: Process, data: bytes, address: int) -> CfiSection:
    word = process.space.arch.pointer_size
    return CfiSection(data, 0, len(data), address, is_eh=True, address_size=word)


def _table_end(data: bytes, start: int) -> tuple[int, int]:
    """Where the records end that make a chain from `start`, and how many FDEs are among them."""
    at, count = start, 0
    while at + 8 <= len(data) and at - start <= _MAX_TABLE:
        length = int.from_bytes(data[at : at + 4], "little")
        if not 8 <= length < 1 << 20 or length % 4 or at + 4 + length > len(data):
            break
        id_ = int.from_bytes(data[at + 4 : at + 8], "little")
        # A CIE, or an FDE of a CIE in this table.
        if (id_ == 0 and data[at + 8 : at + 10] != b"\x01z") or id_ > at + 4 - start:
            break
        count += id_ != 0
        at += 4 + length
    return at, count


def _around(process: Process, code: Sequence[Region]) -> Iterator[tuple[int, bytes]]:
    """What is mapped around such code, without a gap between: (address, bytes)."""
    room = _MAX_READ
    reached = 0
    runs = list(_runs(process))
    lows = [low for low, _ in runs]
    for region in code:
        at = bisect_right(lows, region.start) - 1
        if at < 0 or region.start >= runs[at][1]:
            continue
        low = max(runs[at][0], region.start - _REACH, reached)
        reached = max(min(runs[at][1], region.end + _REACH), reached)
        for address, data in _pieces(process, low, reached):
            room -= len(data)
            if room < 0:
                return
            yield address, data


def _runs(process: Process) -> Iterator[tuple[int, int]]:
    """Ranges of mappings of no file, without gaps between them."""
    low = high = 0
    for region in process.space.memory.regions:
        module = process.space.module_at(region.start)
        if module is not None and module.kind not in GENERATED_KINDS:
            continue
        if region.start != high:
            if low < high:
                yield low, high
            low = region.start
        high = region.end
    if low < high:
        yield low, high


def _pieces(process: Process, low: int, high: int) -> Iterator[tuple[int, bytes]]:
    """What there is of a range without gaps; not through reads that a minidump would keep."""
    at = low
    parts: list[bytes] = []
    for start, data in _held(process, low, high):
        if parts and start != at:
            yield at - sum(len(part) for part in parts), b"".join(parts)
            parts = []
        parts.append(data)
        at = start + len(data)
    if parts:
        yield at - sum(len(part) for part in parts), b"".join(parts)


def _held(process: Process, low: int, high: int) -> Iterator[tuple[int, bytes]]:
    now, memory = process.now, process.space.memory
    if now.regions:
        for start, _, data in now.pieces(low, high):
            yield start, bytes(data)
        return
    while low < high:
        region = memory.region(low)
        if region is None:
            return
        end = min(region.end, high)
        data = now.peek(low, end - low)
        if data:
            yield low, data
        low = end
