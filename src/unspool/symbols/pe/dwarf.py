"""The DWARF of a PE file as an ELF file, for the sake of names.

`symbolic` reads PE files with DWARF as well, and takes one leading underscore from all names
in them, as if each was a C function that MSVC compiled for i386: `_ZN4shop5orderEv` becomes
`ZN4shop5orderEv`, and `__tmainCRTStartup` loses one of two. In an ELF file names are what
they are. DWARF is the same in both; only its sections are put into another frame.
"""

from __future__ import annotations

from struct import Struct

from unspool.formats.pe import MACHINE_AMD64, MACHINE_ARM64, MACHINE_I386

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer
    from unspool.formats.pe import Pe

_MACHINES = {MACHINE_I386: 3, MACHINE_AMD64: 62, MACHINE_ARM64: 183}
_EHDR = {False: Struct("<16sHHIIIIIHHHHHH"), True: Struct("<16sHHIQQQIHHHHHH")}
_SHDR = {False: Struct("<IIIIIIIIII"), True: Struct("<IIQQQQIIQQ")}
_PHDR32, _PHDR64 = Struct("<IIIIIIII"), Struct("<IIQQQQQQ")
_MAX_SECTIONS = 64


def as_elf(pe: Pe) -> bytes:
    """An ELF file with the DWARF sections of a PE file, loaded at its preferred base."""
    wide = pe.is_64
    ehdr, shdr, phdr = _EHDR[wide], _SHDR[wide], _PHDR64 if wide else _PHDR32
    names = b"\0.shstrtab\0"
    parts: list[Buffer] = []
    table = [bytes(shdr.size)]
    end = ehdr.size + phdr.size
    for name, start, size in _dwarf(pe):
        table.append(shdr.pack(len(names), 1, 0, 0, end, size, 0, 0, 1, 0))
        names += name.encode("latin-1") + b"\0"
        parts.append(memoryview(pe.buffer)[start : start + size])
        end += size
    table.append(shdr.pack(1, 3, 0, 0, end, len(names), 0, 0, 1, 0))
    end += len(names)
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    header = ehdr.pack(
        ident, 3, _MACHINES.get(pe.machine, 0), 1, 0, ehdr.size, end, 0,
        ehdr.size, phdr.size, 1, shdr.size, len(table), len(table) - 1,
    )  # fmt: skip
    base, size = pe.image_base, pe.size_of_image
    if wide:
        segment = phdr.pack(1, 5, 0, base, base, size, size, 0x1000)
    else:
        segment = phdr.pack(1, 0, base, base, size, size, 5, 0x1000)
    return b"".join((header, segment, *parts, names, *table))


def _dwarf(pe: Pe) -> list[tuple[str, int, int]]:
    """(name, offset in the buffer, size) of each DWARF section, those with bytes in the file."""
    found = []
    for section in pe.sections:
        if section.name.startswith(".debug_") and section.raw_size and section.raw_offset:
            start = pe.base_offset + section.raw_offset
            size = min(section.virtual_size or section.raw_size, section.raw_size)
            size = min(size, max(len(pe.buffer) - start, 0))
            found.append((section.name, start, size))
    return found[:_MAX_SECTIONS]
