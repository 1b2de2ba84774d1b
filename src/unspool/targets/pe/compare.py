"""Whether a PE file is the one that a process has mapped.

A header in memory identifies its file: link time, checksum, sizes, entry point and section
table. Where the dump lacks it (a kernel's core, of files that are mapped as they are), what
the loader noted is compared, where the sections are mapped from, and the code that the dump
does hold, but for what the loader has relocated in it.
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError
from unspool.symbols.pe.files import holds_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.formats.pe import Pe, Section
    from unspool.memory import Memory
    from unspool.targets.pe.files import WantedPe

_PAGE, _SECTOR = 0x1000, 0x200
_CLR, _RELOCATIONS = 14, 5
# Code compared in each module, in pages spread over it.
_MOST_PAGES = 16
# Overlays and debuggers hook functions by a jump at their start: a few bytes here and there.
_HOOKED = 1 / 8

_BLOCK, _ENTRY = Struct("<II"), Struct("<H")
# Blocks have a page each, and an entry for each of its bytes at most.
_MAX_BLOCKS = 1 << 16
_MAX_BLOCK = 8 + 2 * _PAGE
# Bytes that a base relocation changes, by its type (PE Format, "Base Relocation Types").
_RELOCATED = {1: 2, 2: 2, 3: 4, 10: 8}


def objection(wanted: WantedPe, pe: Pe, held: Memory) -> str | None:
    """Why `pe` cannot be the module's file, in words; None if nothing speaks against it."""
    if pe.is_wine_placeholder:
        return "it is a placeholder for a part of Wine and has no code"
    if any(section.executable for section in pe.sections) and not holds_code(pe):
        return "it has debug information alone"
    headers = wanted.headers
    if headers is not None:
        why = _objection_by_headers(headers, pe)
        if why is not None or headers.checksum or headers.timestamp:
            return why
    else:
        why = _objection_by_loader(wanted, pe) or _objection_by_mappings(wanted, pe)
    return why or _objection_by_code(wanted, pe, held)


def _objection_by_headers(headers: Pe, pe: Pe) -> str | None:
    # The loader makes a 64-bit header of a 32-bit one whose code is .NET's, and has no use
    # for its entry point.
    if pe.directory(_CLR) is None:
        if pe.machine != headers.machine:
            return "it is for another CPU"
        if pe.entry != headers.entry:
            return "its entry point is another"
    for name, stated, expected in (
        ("link time", pe.timestamp, headers.timestamp),
        ("size in memory", pe.size_of_image, headers.size_of_image),
        ("checksum", pe.checksum, headers.checksum),
    ):
        if stated != expected:
            return f"its {name} is 0x{stated:x}, the mapped one's 0x{expected:x}"
    mine, theirs = ([_place(section) for section in each.sections] for each in (pe, headers))
    # Of a cut header less of the section table may be held.
    if mine[: len(theirs)] != theirs:
        return "its sections are others"
    return None


def _place(section: Section) -> tuple[int, int, int, int]:
    return section.rva, section.virtual_size, section.raw_offset, section.raw_size


def _objection_by_loader(wanted: WantedPe, pe: Pe) -> str | None:
    if wanted.timestamp and pe.timestamp != wanted.timestamp:
        return f"its link time is 0x{pe.timestamp:x}, the mapped one's 0x{wanted.timestamp:x}"
    if wanted.size is not None and _pages(pe.size_of_image) != _pages(wanted.size):
        return f"its size in memory is 0x{pe.size_of_image:x}, the mapped one's 0x{wanted.size:x}"
    entry = wanted.entry
    # .NET's programs enter at a function of the runtime.
    if entry and 0 < entry < pe.size_of_image and entry != pe.entry:
        return "its entry point is another"
    return None


def _objection_by_mappings(wanted: WantedPe, pe: Pe) -> str | None:
    for mapping in wanted.mappings:
        rva = mapping.start - wanted.base
        if mapping.offset != file_offset(pe, rva):
            return f"its bytes of RVA 0x{rva:x} are not at offset 0x{mapping.offset:x}"
    return None


def file_offset(pe: Pe, rva: int) -> int:
    """Where in its file a loader takes the byte at `rva` from."""
    section = pe.section_at(rva)
    if section is None or pe.section_alignment < _PAGE:
        return rva
    return (section.raw_offset & -_SECTOR) + rva - section.rva


def _objection_by_code(wanted: WantedPe, pe: Pe, held: Memory) -> str | None:
    """Compares code that the dump holds, which hardly anybody writes to."""
    compared = 0
    differing: list[tuple[int, bytes, bytes]] = []
    for rva, size in _pages_of_code(pe):
        there = held.read_available(wanted.base + rva, size)
        try:
            here = pe.read(rva, len(there)) if there else b""
        except FormatError:
            return f"it ends before RVA 0x{rva:x}"
        compared += len(there)
        if here != there:
            differing.append((rva, here, there))
    if not differing:
        return None
    relocated: set[int] = set()
    if wanted.base != pe.image_base:
        relocated = relocated_bytes(pe, {rva & -_PAGE for rva, _, _ in differing})
    count = sum(
        mine != theirs and at not in relocated
        for rva, here, there in differing
        for at, (mine, theirs) in enumerate(zip(here, there, strict=True), rva)
    )
    return "its code differs from that in memory" if count > compared * _HOOKED else None


def _pages_of_code(pe: Pe) -> Iterator[tuple[int, int]]:
    """(RVA, size) of some pages of the file's code."""
    room = _MOST_PAGES
    for section in pe.sections:
        if not section.executable or section.writable or room <= 0:
            continue
        end = section.rva + min(section.raw_size, section.virtual_size or section.raw_size)
        step = max((end - section.rva) // room & -_PAGE, _PAGE)
        for rva in range(section.rva, end, step):
            if room <= 0:
                break
            room -= 1
            yield rva, min(_PAGE, end - rva)


def relocated_bytes(pe: Pe, pages: set[int]) -> set[int]:
    """RVAs of bytes in these pages that change when the image is not at its preferred base."""
    found: set[int] = set()
    # What lies at a page's end reaches into the next one.
    for rva, kind in relocations(pe, lambda page: page in pages or page + _PAGE in pages):
        found.update(range(rva, rva + _RELOCATED.get(kind, 0)))
    return found


def relocations(pe: Pe, wanted: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """(RVA, type) of base relocations in the pages whose RVAs are wanted."""
    directory = pe.directory(_RELOCATIONS)
    located = pe.located(directory[0]) if directory else None
    if directory is None or located is None:
        return
    buffer, at, end = located
    end = min(end, at + directory[1])
    for _ in range(_MAX_BLOCKS):
        if at + _BLOCK.size > end:
            break
        page, size = _BLOCK.unpack_from(buffer, at)
        if size < _BLOCK.size:
            break
        if wanted(page):
            stop = min(at + size, at + _MAX_BLOCK, end)
            entries = bytes(buffer[at + _BLOCK.size : stop - (stop - at) % 2])
            for (entry,) in _ENTRY.iter_unpack(entries):
                yield page + (entry & 0xFFF), entry >> 12
        at += size


def _pages(size: int) -> int:
    return (size + _PAGE - 1) & -_PAGE
