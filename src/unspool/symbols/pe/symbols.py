"""Function names of a PE module without debug information: COFF symbols, exports.

Neither says where a function ends, and exports leave out most functions, so the nearest name
before an address may be another function's. A wrong name is worse than none; the rule is:

- Unwind data know where the function at the address begins (.pdata; on i386 .eh_frame): it is
  named by a symbol at its begin, else by the nearest one inside of it before the address.
- They are silent about the address: the nearest name before it counts, if it is in the same
  section, at most 4 KiB away, and no function with unwind data lies between the two. Such
  functions are leaves, thunks and assembly language, all of them small.
- There are no unwind data: the same, but for a symbol table, which leaves out nothing.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError
from unspool.formats.pe import MACHINE_I386
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from unspool.formats.cfi import CfiSection
    from unspool.formats.pe import Pe
    from unspool.formats.pe_exports import Export
    from unspool.formats.pe_unwind import FunctionTable, RuntimeFunction
    from unspool.pe_image import PeImage

    Range = tuple[int, int]
    # A name and the RVA where what it names begins.
    Named = tuple[str, int]

# How far behind its begin a name reaches in code that no unwind data cover.
REACH = 4096
# A chain of parts of one function; compilers make two or three.
_MAX_CHAIN = 32
_UNUSED = 1 << 32


class PeSymbols:
    """Names functions by RVA. `files` are those that may have a COFF symbol table."""

    def __init__(self, image: PeImage, files: Sequence[Pe] = ()) -> None:
        self._image = image
        self._ranges = FunctionRanges(image)
        self._files = files
        self._symbols: _Names | None = None
        self._exports: _Names | None = None

    def lookup(self, rva: int, label: Named | None = None) -> Named | None:
        """The function's name (mangled, if its language does that) and RVA, or None.

        `label` is the nearest name that a PDB file has, of which no more is known than of an
        export.
        """
        section = self._image.headers.section_at(rva)
        if section is None or not section.executable:
            return None
        around = self._ranges.around(rva)
        if around is not None:
            # A symbol table takes longer to read: not for a name that we have.
            found = self._exported().nearest(around[0], around[0])
            if found is not None:
                return found
        labels = _Names([label[1]], lambda _: label[0]) if label else _Names([], str)
        tables = (self._coff(), self._exported(), labels)
        if around is not None:
            named = [found for names in tables if (found := names.inside(around, rva))]
            named = [found for found in named if found[1] == around[0]] or named
        else:
            near = max(section.rva, rva - REACH + 1)
            lows = (near if self._ranges.known else section.rva, near, near)
            named = [
                found
                for names, low in zip(tables, lows, strict=True)
                if (found := names.nearest(low, rva)) and self._ranges.none_between(found[1], rva)
            ]
        return max(named, key=_start, default=None)  # of equals the first

    def symbol_at(self, rva: int) -> str | None:
        """The COFF symbol of a function that begins there."""
        found = self._coff().nearest(rva, rva)
        return found[0] if found else None

    def _coff(self) -> _Names:
        if self._symbols is None:
            from unspool.formats.pe_symbols import FunctionSymbols

            self._symbols = _Names([], str)
            for pe in self._files:
                found = FunctionSymbols(pe)
                if found.starts:
                    self._symbols = _Names(found.starts, found.name)
                    break
        return self._symbols

    def _exported(self) -> _Names:
        if self._exports is None:
            best = _Best(self._image.exports(), self._image.headers.machine)
            self._exports = _Names(sorted(best.exports), best.name)
        return self._exports


class FunctionRanges:
    """Where functions begin and end, as an image's unwind data know it; in RVAs."""

    def __init__(self, image: PeImage) -> None:
        self._image = image
        self._table: FunctionTable | None = image.function_table()
        self._sections: list[CfiSection] = []
        if image.headers.machine == MACHINE_I386:
            found = [image.eh_frame()[1], *image.debug_frames()]
            self._sections = [section for section in found if section is not None]
        self._starts: list[int] | None = None
        self.known = bool(self._table or self._sections)

    def around(self, rva: int) -> Range | None:
        """The function that `rva` is a part of; if the part lies apart, that does not hold it."""
        entry = self._table.find(rva) if self._table else None
        if entry is not None:
            whole = self._whole(entry)
            return whole.begin, whole.end
        base = self._image.headers.image_base
        for section in self._sections:
            try:
                fde = section.find(rva + base)
            except FormatError:
                continue
            if fde is not None:
                return fde.start - base, fde.end - base
        return None

    def none_between(self, low: int, high: int) -> bool:
        """Whether no function is known that lies in `[low, high]` or reaches into it."""
        if self.around(low) is not None:
            return False
        starts = self._all_starts()
        if starts is not None:
            index = bisect_right(starts, high)
            return index == 0 or starts[index - 1] < low
        table = self._table
        if table is None:
            return True
        index = bisect_right(range(len(table)), high, key=lambda at: table[at].begin or _UNUSED)
        return index == 0 or table[index - 1].begin < low

    def _all_starts(self) -> list[int] | None:
        """The begins of what DWARF covers, or None if there is no DWARF."""
        if self._starts is None and self._sections:
            from unspool.formats.cfi_index import index_of

            base = self._image.headers.image_base
            starts = [at - base for section in self._sections for at in index_of(section)[0]]
            self._starts = sorted(starts)
        return self._starts

    def _whole(self, entry: RuntimeFunction) -> RuntimeFunction:
        """The function that a part belongs to: the root of the chain of its unwind data."""
        from unspool.formats.pe_unwind import INDIRECT, RuntimeFunction, parse_unwind_info

        read = self._image.read
        try:
            for _ in range(_MAX_CHAIN):
                parent: RuntimeFunction | None
                if entry.unwind & INDIRECT:
                    raw = read(entry.unwind - INDIRECT, 12)
                    fields = (int.from_bytes(raw[at : at + 4], "little") for at in (0, 4, 8))
                    parent = RuntimeFunction(*fields)
                else:
                    parent = parse_unwind_info(read, entry.unwind).parent
                if parent is None:
                    break
                entry = parent
        except (FormatError, Fault):
            pass
        return entry


class _Names:
    """Names by where they begin: `starts`, in order, and what gives the name at one of them."""

    def __init__(self, starts: Sequence[int], name: Callable[[int], str]) -> None:
        self._starts = starts
        self._name = name

    def nearest(self, low: int, rva: int) -> Named | None:
        """The last name that begins in `[low, rva]`."""
        index = bisect_right(self._starts, rva) - 1
        if index < 0 or self._starts[index] < low:
            return None
        name = self._name(self._starts[index])
        return (name, self._starts[index]) if name else None

    def inside(self, function: Range, rva: int) -> Named | None:
        """The name of a function that begins at the range's first address, or is inside of it."""
        begin, end = function
        return self.nearest(begin, begin) or (
            self.nearest(begin, rva) if begin <= rva < end else None
        )


class _Best:
    """One name for each exported address.

    `NtClose` and `ZwClose` are one function, and so are `_exit` and `exit` somewhere: the
    name with fewer leading underscores is taken, then the first by the alphabet. One that is
    exported by number alone is called as debuggers on Windows do.
    """

    def __init__(self, exports: Iterable[Export], machine: int) -> None:
        self.exports: dict[int, list[Export]] = {}
        for export in exports:
            self.exports.setdefault(export.rva, []).append(export)
        self._machine = machine
        self._names: dict[int, str] = {}

    def name(self, rva: int) -> str:
        if rva not in self._names:
            self._names[rva] = min(map(self._ranked, self.exports[rva]))[-1]
        return self._names[rva]

    def _ranked(self, export: Export) -> tuple[bool, int, str]:
        from unspool.formats.pe_symbols import undecorated

        name = export.name or f"Ordinal{export.ordinal}"
        if export.name and self._machine == MACHINE_I386:
            name = undecorated(name, exported=True)
        return export.name is None, len(name) - len(name.lstrip("_")), name


def _start(found: Named) -> int:
    return found[1]
