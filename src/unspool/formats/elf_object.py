"""Relocatable ELF objects (.o, .ko) as a linker would place them, to read what they say of code.

In an object every section begins at 0, and what .debug_info and .eh_frame say of addresses is
left to relocations. `linked` gives sections addresses of their own, one behind the other, and
relocates the rest (`elf_placed`). Code and data stay as they are.
"""

from __future__ import annotations

from struct import Struct, error

from unspool.errors import FormatError
from unspool.formats.elf import ET_REL, SHF_ALLOC, SHF_COMPRESSED, SHT_NOBITS, Elf
from unspool.formats.elf_placed import placed

_SHDR = {1: Struct("<IIIIIIIIII"), 2: Struct("<IIQQQQIIQQ")}
# Debug data give the address 0 to code that was left out (DWARF 5, "tombstones").
BASE = 0x10000
_MOST_ALIGNMENT = 1 << 20
# A symcache counts in 32 bits. No object is as large.
_TOP = 1 << 31
# Of all sections that are decompressed together; each alone is bounded as in `elf`.
_MOST_UNPACKED = 1 << 30


def linked(elf: Elf) -> tuple[Elf, list[int]]:
    """The object with addresses, and those of its sections (0: it has none in memory).

    Raises `FormatError` if it is none, or if it is broken.
    """
    if elf.type != ET_REL:
        raise FormatError("ELF object", f"of type {elf.type}, which is not relocatable")
    data = bytearray(elf.buffer)
    layout = _SHDR[elf.elf_class]
    addresses = []
    at, room = BASE, _MOST_UNPACKED
    try:
        for index, section in enumerate(elf.sections()):
            row = elf.shoff + index * elf.shentsize
            fields = list(layout.unpack_from(data, row))
            address = 0
            if section.flags & SHF_ALLOC:
                step = min(max(fields[8], 1), _MOST_ALIGNMENT)
                address = -(-at // step) * step
                at = address + section.size
                if at > _TOP:
                    raise FormatError("ELF object", "its sections are larger than 2 GiB")
            elif section.flags & SHF_COMPRESSED and section.type != SHT_NOBITS:
                room = _unpack(elf, index, fields, data, room)
            fields[3] = address
            layout.pack_into(data, row, *fields)
            addresses.append(address)
    except error as problem:
        raise FormatError("ELF object", str(problem)) from None
    return Elf(placed(bytes(data), BASE)), addresses


def _unpack(elf: Elf, index: int, fields: list[int], data: bytearray, room: int) -> int:
    """Puts a compressed section's bytes at the end, where relocations can be applied to them.

    What cannot be decompressed stays as it is, and is left out as not relocated.
    """
    try:
        buffer, start, end = elf.section_data(elf.sections()[index])
    except FormatError:
        return room
    if end - start > room:
        return room
    data += bytes(-len(data) % 8)
    fields[2] &= ~SHF_COMPRESSED
    fields[4], fields[5] = len(data), end - start
    data += buffer[start:end]
    return room - (end - start)
