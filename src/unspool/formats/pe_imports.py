"""What a loader writes into a PE image: imported functions' addresses, and moved pointers.

Microsoft's "PE Format", .idata and .reloc. Of a file: in memory both are done.
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.pe import Pe

IMPORT, RELOCATION = 1, 5
_DESCRIPTOR = Struct("<IIIII")  # lookup table, time stamp, forwarder chain, name, address table
_BLOCK = Struct("<II")
_POINTERS = (3, 10)  # IMAGE_REL_BASED_HIGHLOW, IMAGE_REL_BASED_DIR64
_MAX_RELOCATIONS, _MAX_BLOCK = 4_000_000, 1 << 16
_MAX_DLLS, _MAX_SLOTS, _MAX_NAME = 4096, 200_000, 512


def imports(pe: Pe) -> Iterator[tuple[int, str]]:
    """(RVA of a slot, "dll!function" or "dll!#ordinal"). What is broken ends it."""
    directory = pe.directory(IMPORT)
    if directory is None:
        return
    left = _MAX_SLOTS
    try:
        for number in range(_MAX_DLLS):
            row = pe.read(directory[0] + number * _DESCRIPTOR.size, _DESCRIPTOR.size)
            lookup, _, _, name, slots = _DESCRIPTOR.unpack(row)
            if not name or not slots:
                return
            dll = _text(pe, name).lower()
            for slot, function in _functions(pe, lookup or slots, slots):
                left -= 1
                if left < 0:
                    return
                yield slot, f"{dll}!{function}"
    except FormatError:
        return


def relocations(pe: Pe) -> set[int]:
    """The RVAs of all pointers to the image itself. What is broken ends it."""
    found: set[int] = set()
    directory = pe.directory(RELOCATION)
    if directory is None:
        return found
    at, end = directory[0], directory[0] + directory[1]
    try:
        while at + 8 <= end and len(found) < _MAX_RELOCATIONS:
            page, size = _BLOCK.unpack(pe.read(at, 8))
            if not 8 <= size <= _MAX_BLOCK:
                break
            for (entry,) in Struct("<H").iter_unpack(pe.read(at + 8, (size - 8) & ~1)):
                if entry >> 12 in _POINTERS:
                    found.add(page + (entry & 0xFFF))
            at += size
    except FormatError:
        return found
    return found


def _functions(pe: Pe, lookup: int, slots: int) -> Iterator[tuple[int, str]]:
    size = 8 if pe.is_64 else 4
    by_ordinal = 1 << (8 * size - 1)
    for number in range(_MAX_SLOTS):
        entry = int.from_bytes(pe.read(lookup + number * size, size), "little")
        if not entry:
            return
        if entry & by_ordinal:
            yield slots + number * size, f"#{entry & 0xFFFF}"
        else:
            # Two bytes before the name are a hint.
            yield slots + number * size, _text(pe, (entry & 0x7FFFFFFF) + 2)


def _text(pe: Pe, rva: int) -> str:
    """A name up to its zero byte."""
    located = pe.located(rva)
    if located is None:
        raise FormatError("import", f"no name at 0x{rva:x}")
    buffer, start, end = located
    raw = bytes(buffer[start : min(end, start + _MAX_NAME)])
    return raw.partition(b"\0")[0].decode("latin-1")
