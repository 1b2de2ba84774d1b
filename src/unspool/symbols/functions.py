"""All functions of one file with their ranges: the other direction of a look-up.

Who asks whether an address is in a function needs the function's name and range first. They are
those of the symbol tables; a PE file has no sizes in its own, so that unwind data and the next
name bound a function there.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.formats.elf import ET_REL, SHT_NOBITS
from unspool.record import Record
from unspool.symbols.elf.table import STT_GNU_IFUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unspool.formats.elf import Elf
    from unspool.formats.pe import Pe
    from unspool.pe_image import PeImage
    from unspool.symbols.elf.symbols import ElfSymbols

_EXECUTABLE = 4  # SHF_EXECINSTR
# GCC's names for parts and copies of a function (ipa-split, ipa-cp, ipa-sra, hot/cold
# splitting, -flto), LLVM's for those that it splits and merges.
_PARTS = ("cold", "part", "isra", "constprop", "lto_priv", "localalias", "llvm", "__uniq", "warm")


class Function(Record):
    """A function's code `[start, end)`: file addresses of ELF, RVAs of PE.

    In a relocatable object they count from its section, whose index is `section`. `sized` says
    that the end is known and not only where the next one starts; `ifunc` that the code only
    chooses the function that programs get by this name.
    """

    __slots__ = ("end", "ifunc", "name", "section", "sized", "start")

    def __init__(
        self,
        name: str,
        start: int,
        end: int,
        *,
        section: int = 0,
        sized: bool = True,
        ifunc: bool = False,
    ) -> None:
        self.name = name
        self.start = start
        self.end = end
        self.section = section
        self.sized = sized
        self.ifunc = ifunc


def is_part_of(name: str, function: str) -> bool:
    """Whether a symbol is the function, or a part or copy that a compiler made of it.

    `work.cold`, `work.part.0`, `work.isra.0.cold` are of `work`; `work.2` is a static function
    of another scope.
    """
    name = name.partition("@")[0]
    if not name.startswith(function):
        return False
    rest = name[len(function) :]
    return not rest or (rest[0] == "." and rest[1:].partition(".")[0] in _PARTS)


def base_of(name: str) -> str:
    """The function that a symbol is, or is a part or copy of: `work` of `work.part.0`."""
    base = name.partition(".")[0]
    return base if base and is_part_of(name, base) else name


def elf_functions(elf: Elf, symbols: ElfSymbols) -> list[Function]:
    """Every function of the symbol tables, in the order of their addresses.

    Of one name and range there is one. Labels that lie inside of a function with a size are none.
    """
    found: dict[tuple[str, int, int], Function] = {}
    for table in symbols.tables():
        for name, start, size, section, kind in table.functions():
            key = (name.partition("@")[0], start, section if elf.type == ET_REL else 0)
            if not key[0] or (key in found and (found[key].sized or not size)):
                continue
            found[key] = Function(
                key[0], start, start + size,
                section=section, sized=size > 0, ifunc=kind == STT_GNU_IFUNC,
            )  # fmt: skip
    ordered = sorted(found.values(), key=_place)
    return list(_bounded(ordered, elf))


def _bounded(functions: list[Function], elf: Elf) -> Iterator[Function]:
    """The same with ends: one without a size reaches to the next one or its section's end."""
    sections = elf.sections()
    relocatable = elf.type == ET_REL
    ends = {
        (index if relocatable else 0, each.address + each.size)
        for index, each in enumerate(sections)
        if each.flags & _EXECUTABLE
    }
    borders = sorted(ends)
    places = [_place(each) for each in functions] if relocatable else [
        (0, each.start) for each in functions
    ]  # fmt: skip
    covered = (-1, 0)
    for each in functions:
        section = each.section if relocatable else 0
        if each.sized:
            covered = max(covered, (section, each.end))
        elif (section, each.start) < covered:
            continue
        else:
            following = (section, each.start)
            at = bisect_right(places, following)
            border = bisect_right(borders, following)
            bounds = [
                place[1]
                for place in (*places[at : at + 1], *borders[border : border + 1])
                if place[0] == section
            ]
            each.end = min(bounds, default=each.start + 1)
        yield each


def _place(function: Function) -> tuple[int, int]:
    return function.section, function.start


def section_code(elf: Elf, index: int) -> tuple[int, bytes] | None:
    """The address and the bytes of an executable section that is in the file."""
    section = elf.sections()[index]
    if not section.flags & _EXECUTABLE or section.type == SHT_NOBITS or not section.size:
        return None
    buffer, start, end = elf.section_data(section)
    return section.address, bytes(buffer[start:end])


def pe_functions(
    image: PeImage, files: Iterable[Pe] = (), more: Iterable[tuple[int, str]] = ()
) -> list[Function]:
    """Functions of a PE module by COFF symbols and exports, in RVAs, in order.

    `more` are others, as (RVA, name).
    """
    from unspool.formats.pe_symbols import FunctionSymbols
    from unspool.symbols.pe.symbols import FunctionRanges

    names: dict[int, set[str]] = {}
    for pe in files:
        symbols = FunctionSymbols(pe)
        for start in symbols.starts:
            names.setdefault(start, set()).add(symbols.name(start))
    for export in image.exports():
        if export.name:
            names.setdefault(export.rva, set()).add(export.name)
    for start, name in more:
        names.setdefault(start, set()).add(name)
    ranges = FunctionRanges(image)
    starts = sorted(names)
    found = []
    for index, start in enumerate(starts):
        section = image.headers.section_at(start)
        if section is None or not section.executable:
            continue
        around = ranges.around(start)
        sized = around is not None and around[0] == start
        following = starts[index + 1] if index + 1 < len(starts) else 1 << 32
        last = section.rva + (section.virtual_size or section.raw_size)
        end = around[1] if around is not None and sized else min(following, last)
        found += [
            Function(name, start, end, sized=sized) for name in sorted(names[start]) if name
        ]
    return found
