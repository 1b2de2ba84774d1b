"""What Wasmtime's runtime keeps of a module beside its code: .wasmtime.engine and .wasmtime.info.

serde has written them, by `bincode` up to version 20 and by `postcard` since: structures without
names or numbers of fields, which every version changes. So nothing is decoded as a whole. Lists
of names and of DWARF sections are looked for, and known by their contents: ranges that follow
each other without a gap and fill a section to its last byte. What modules are called is read by
`wasmtime_modules`.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice

from unspool.cursor import Cursor
from unspool.errors import FormatError
from unspool.formats.wasm import uleb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Number = Callable[[Cursor], int]
    Ranges = dict[str, tuple[int, int]]
    DwarfList = tuple[int, Ranges]
    Names = dict[int, tuple[int, int]]

# Beyond that a list is not looked for.
_MAX_INFO = 8 << 20
_MAX_LISTS = 1000
# Places where a list of DWARF sections may begin. Data that are not made for it have few.
_MAX_PLACES = 1 << 18
# Places where a list of names may begin, and bytes that are looked through for them: a second.
_MAX_TRIES, _MAX_SCANNED = 1 << 18, 1 << 26
_NUMBER = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
# Sections of DWARF as gimli's `SectionId` numbers them, of which Wasmtime keeps some. Before
# gimli 0.33, which Wasmtime 42 took, there was no .debug_names among them.
DWARF_SECTIONS = (
    ".debug_abbrev", ".debug_addr", ".debug_aranges", ".debug_cu_index", ".debug_frame",
    ".eh_frame", ".eh_frame_hdr", ".debug_info", ".debug_line", ".debug_line_str", ".debug_loc",
    ".debug_loclists", ".debug_macinfo", ".debug_macro", ".debug_names", ".debug_pubnames",
    ".debug_pubtypes", ".debug_ranges", ".debug_rnglists", ".debug_str", ".debug_str_offsets",
    ".debug_tu_index", ".debug_types",
)  # fmt: skip


def version(engine: bytes) -> tuple[int, ...] | None:
    """The runtime's version out of .wasmtime.engine: (50,), or (24, 0, 1) in older ones.

    The section is a zero, a length and the version's text (crates/wasmtime/src/engine/
    serialization.rs); None if it is something else, since programs may replace it.
    """
    if len(engine) < 3 or engine[0] != 0 or not 0 < engine[1] < 24:
        return None
    text = engine[2 : 2 + engine[1]].decode("ascii", "replace")
    parts = text.split(".")
    if not all(part.isdecimal() and part.isascii() and len(part) < 6 for part in parts):
        return None
    return tuple(int(part) for part in parts)


def function_names(info: bytes, size: int, most: int = 1) -> list[dict[int, tuple[int, int]]]:
    """Where each function's name is in .name.wasm, which has `size` bytes.

    For each of the image's modules that has names, `most` of them, a dictionary from the
    function's number to (offset, size); empty if the lists were not found. Those of short names
    may be something else by chance: what symbols say of them is to be held against them.
    """
    for read in (Cursor.uleb, _u32):
        search = _NameLists(info, size, read, most)
        if search.find():
            return search.found
    return []


class _NameLists:
    """Looks for lists of names that together fill the section, each from where the one before
    ends.

    A few bytes can be a list by chance: long ones are tried first, and where nothing follows one
    the search goes on with the next.
    """

    def __init__(self, info: bytes, size: int, read: Number, most: int) -> None:
        self.info = info[:_MAX_INFO]
        self.size = size
        self.read = read
        self.most = min(most, _MAX_LISTS)
        self.found: list[Names] = []
        self.room = _MAX_TRIES
        self.scans = _MAX_SCANNED

    def find(self) -> bool:
        """Whether there are such lists."""
        levels = [self._lists_from(0, 0)] if self.size else []
        while levels:
            if not levels[-1]:
                levels.pop()
                del self.found[-1:]
                continue
            table, end, done = levels[-1].pop()
            self.found.append(table)
            if done == self.size:
                return True
            levels.append(self._lists_from(end, done) if len(levels) < self.most else [])
        return False

    def _lists_from(self, at: int, start: int) -> list[tuple[Names, int, int]]:
        """Lists behind a place of which the names begin at `start`, the longest last."""
        import re

        self.scans -= len(self.info) - at
        if self.scans < 0:
            return []
        if self.read is _u32:
            form = rb".{12}" + re.escape(start.to_bytes(4, "little"))
        else:
            form = rb"(?!\x00)" + _NUMBER + _NUMBER + re.escape(uleb(start))
        found = []
        for each in re.compile(rb"(?=" + form + rb")", re.DOTALL).finditer(self.info, at):
            self.room -= 1
            if self.room < 0:
                break
            entry = self._list_at(each.start(), start)
            # The last module's names are all that remain.
            if entry is not None and (self.most > 1 or entry[2] == self.size):
                found.append(entry)
        found.sort(key=_length)
        return found

    def _list_at(self, at: int, start: int) -> tuple[Names, int, int] | None:
        """A list of (function, offset, size) whose names begin at `start`, and both ends."""
        info, read = self.info, self.read
        try:
            cursor = Cursor(info, at)
            count = cursor.u64() if read is _u32 else read(cursor)
            # A name takes three bytes of the list at least.
            if not 0 < count <= (len(info) - at) // 3:
                return None
            table, last, done = {}, -1, start
            for _ in range(count):
                index, offset, length = read(cursor), read(cursor), read(cursor)
                if index <= last or offset != done or done + length > self.size:
                    return None
                table[index] = (offset, length)
                last, done = index, done + length
        except FormatError:
            return None
        return (table, cursor.offset, done) if done > start else None


def _length(entry: tuple[Names, int, int]) -> int:
    return len(entry[0])


def _u32(cursor: Cursor) -> int:
    return cursor.u32()


def dwarf_sections(info: bytes, size: int, version: tuple[int, ...]) -> list[DwarfList]:
    """What is where in .wasmtime.dwarf, which has `size` bytes, for each module that has DWARF.

    The position of its code section in the Wasm binary, and for each DWARF section its (start,
    end), in the order of the modules, of which a component has several. `Metadata` of
    crates/environ/src/module_artifacts.rs has two flags around the position, then the list,
    ordered by the sections' numbers: the ranges of all lists together are the whole section.
    """
    names = [name for name in DWARF_SECTIONS if version >= (42,) or name != ".debug_names"]
    for read in (Cursor.uleb, Cursor.u64):
        search = _DwarfLists(info, size, read, names)
        if size and search.find():
            return search.found
    return []


class _DwarfLists:
    """Looks for lists that together fill the section, each from where the one before ends.

    A few bytes can be a list by chance: where nothing follows it the search goes on behind it.
    """

    def __init__(self, info: bytes, size: int, read: Number, names: Sequence[str]) -> None:
        self.info = info[:_MAX_INFO]
        self.size = size
        self.read = read
        self.names = names
        self.found: list[DwarfList] = []

    def find(self) -> bool:
        """Whether there are such lists."""
        places = self._places()
        room, index, done = 2 * _MAX_PLACES, 0, 0
        # Which places the lists are at, and where the ranges of each begin.
        tried: list[tuple[int, int]] = []
        while room > 0:
            room -= 1
            entry = self._list_at(places[index], done) if index < len(places) else None
            if entry is not None and len(tried) < _MAX_LISTS:
                tried.append((index, done))
                self.found.append(entry[:2])
                index, done = bisect_left(places, entry[2]), entry[3]
                if done == self.size:
                    return True
            elif index < len(places):
                index += 1
            elif tried:
                index, done = tried.pop()
                self.found.pop()
                index += 1
            else:
                break
        self.found = []
        return False

    def _places(self) -> list[int]:
        """Where a list may begin: a flag, the position, a flag that is 1, and a small count."""
        import re

        number = rb"[\x80-\xff]{0,9}[\x00-\x7f]" if self.read is Cursor.uleb else rb".{8}"
        most = re.escape(bytes([len(self.names)]))
        form = rb"(?=[\x00\x01]" + number + rb"\x01[\x03-" + most + rb"])"
        found = re.finditer(form, self.info, re.DOTALL)
        return [each.start() for each in islice(found, _MAX_PLACES)]

    def _list_at(self, at: int, start: int) -> tuple[int, Ranges, int, int] | None:
        """A position and a list whose ranges begin at `start`, and both ends."""
        try:
            cursor, read = Cursor(self.info, at + 1), self.read
            position = read(cursor)
            cursor.u8()  # has_wasm_debuginfo
            count = read(cursor)
            if count > len(self.names):
                return None
            found: Ranges = {}
            for _ in range(count):
                number, low, high = cursor.u8(), read(cursor), read(cursor)
                if number >= len(self.names) or not start <= low <= high <= self.size:
                    return None
                found[self.names[number]] = (low, high)
        except FormatError:
            return None
        ranges = sorted(each for each in found.values() if each[0] < each[1])
        ends = [start, *(high for _, high in ranges)]
        if len(found) != count or not ranges or [low for low, _ in ranges] != ends[:-1]:
            return None
        return position, found, cursor.offset, ends[-1]
