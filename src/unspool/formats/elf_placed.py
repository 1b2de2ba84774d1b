"""ELF objects that a JIT compiler has placed: their addresses are final, their contents maybe not.

LLVM shows a debugger the object as the compiler made it, an ET_REL file, with nothing changed but
the sections' addresses; V8 and LuaJIT make such files by hand. What has been relocated is the
code, not this copy of it. `placed` does to the copy what a linker would have done: symbols get
addresses, unwind and debug data are relocated, and the result can be read like any file.
(gABI, "Relocation"; the processor supplements for the types.)
"""

from __future__ import annotations

from struct import Struct, error

from unspool.errors import FormatError
from unspool.formats.elf import (
    ET_DYN,
    ET_REL,
    PF_R,
    PF_X,
    PT_LOAD,
    SHF_ALLOC,
    SHF_COMPRESSED,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_SYMTAB,
    Elf,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.elf import Section

SHF_EXECINSTR = 4
_SHT_RELA, _SHT_REL = 4, 9
_SHN_LORESERVE = 0xFF00

# (address of a place, size) of relocations by e_machine: kind, bytes. Others mean something that
# no unwind or debug data hold, but for offsets of thread-local variables, which nobody asks for.
_ABSOLUTE, _RELATIVE, _IGNORED = 0, 1, 2
_TYPES: dict[int, dict[int, tuple[int, int]]] = {
    62: {
        0: (_IGNORED, 0), 1: (_ABSOLUTE, 8), 2: (_RELATIVE, 4), 10: (_ABSOLUTE, 4),
        11: (_ABSOLUTE, 4), 24: (_RELATIVE, 8), 17: (_IGNORED, 8), 21: (_IGNORED, 4),
    },
    3: {0: (_IGNORED, 0), 1: (_ABSOLUTE, 4), 2: (_RELATIVE, 4), 32: (_IGNORED, 4)},
    183: {
        0: (_IGNORED, 0), 256: (_IGNORED, 0), 257: (_ABSOLUTE, 8), 258: (_ABSOLUTE, 4),
        260: (_RELATIVE, 8), 261: (_RELATIVE, 4), 1029: (_IGNORED, 8),
    },
    40: {0: (_IGNORED, 0), 2: (_ABSOLUTE, 4), 3: (_RELATIVE, 4), 17: (_IGNORED, 4)},
}  # fmt: skip

_EHDR = {1: Struct("<16xHHIIIIIHHHHHH"), 2: Struct("<16xHHIQQQIHHHHHH")}
_SHDR = {1: Struct("<IIIIIIIIII"), 2: Struct("<IIQQQQIIQQ")}
_PHDR = {1: Struct("<IIIIIIII"), 2: Struct("<IIQQQQQQ")}
_SYMBOL = {1: Struct("<IIIBBH"), 2: Struct("<IBBHQQ")}
_RELOCATION = {
    (1, _SHT_REL): Struct("<II"), (1, _SHT_RELA): Struct("<IIi"),
    (2, _SHT_REL): Struct("<QQ"), (2, _SHT_RELA): Struct("<QQq"),
}  # fmt: skip

# Of an object whose code is on some stack. 100,000 relocations take a tenth of a second.
_MAX_RELOCATIONS = 1_000_000
_MAX_SECTIONS = 4096


class Header:
    """What an object's first bytes say: its class and machine, and where its section table is."""

    __slots__ = ("count", "elf_class", "machine", "table", "table_size", "type")

    SIZE = 64

    def __init__(self, data: bytes) -> None:
        """Raises `FormatError` if `data` are not the beginning of an ELF object."""
        if len(data) < 52 or data[:4] != b"\x7fELF" or data[4] not in (1, 2) or data[5] != 1:
            raise FormatError("ELF object", "no ELF header")
        self.elf_class = data[4]
        layout = _EHDR[self.elf_class]
        if len(data) < layout.size:
            raise FormatError("ELF object", "cut short")
        self.type, self.machine, _, _, _, self.table, _, _, _, _, size, count, _ = (
            layout.unpack_from(data)
        )
        if size != _SHDR[self.elf_class].size or not 0 < count <= _MAX_SECTIONS:
            raise FormatError("ELF object", f"{count} section headers of {size} bytes")
        self.count = count
        self.table_size = size * count

    def code(self, table: bytes) -> list[tuple[int, int]]:
        """Where its code lies, as (low, high) of executable sections with an address."""
        found = []
        layout = _SHDR[self.elf_class]
        for row in layout.iter_unpack(table[: len(table) // layout.size * layout.size]):
            _, kind, flags, address, _, size = row[:6]
            wanted = SHF_ALLOC | SHF_EXECINSTR
            if flags & wanted == wanted and kind in (SHT_PROGBITS, SHT_NOBITS) and address and size:
                found.append((address, address + size))
        return found


def placed(data: bytes, base: int) -> bytes:
    """The object as a linker would have left it, with one segment that begins at `base`.

    Only where it is no linked file already. What cannot be relocated is left out: wrong lines
    are worse than none. Raises `FormatError`.
    """
    elf = Elf(data)
    if elf.type != ET_REL and any(header.type == PT_LOAD for header in elf.program_headers()):
        return data
    return _Placing(elf, base).run()


class _Placing:
    def __init__(self, elf: Elf, base: int) -> None:
        self.elf = elf
        self.base = base
        self.data = bytearray(elf.buffer)
        self.sections = elf.sections()
        self.room = _MAX_RELOCATIONS
        self.symbols: dict[int, list[int]] = {}

    def run(self) -> bytes:
        if not self.sections:
            raise FormatError("ELF object", "no sections")
        try:
            if self.elf.type == ET_REL:
                tables = {
                    index: section
                    for index, section in enumerate(self.sections)
                    if section.type == SHT_SYMTAB
                }
                for index, table in tables.items():
                    self.symbols[index] = self._place_symbols(table)
                for target, relocations in self._relocations():
                    self._relocate(target, relocations)
            self._add_segment()
        except (error, IndexError, OverflowError) as problem:
            raise FormatError("ELF object", str(problem)) from None
        return bytes(self.data)

    def _place_symbols(self, table: Section) -> list[int]:
        """Turns values in sections into addresses, in the copy; gives all of them."""
        layout = _SYMBOL[self.elf.elf_class]
        values = []
        end = min(table.offset + table.size, len(self.data))
        for at in range(table.offset, end - layout.size + 1, layout.size):
            fields = list(layout.unpack_from(self.data, at))
            value, section = (4, 3) if self.elf.elf_class == 2 else (1, 5)
            number = fields[section]
            if 0 < number < min(len(self.sections), _SHN_LORESERVE):
                fields[value] += self.sections[number].address
                fields[value] &= self._mask
                layout.pack_into(self.data, at, *fields)
            values.append(fields[value])
        return values

    @property
    def _mask(self) -> int:
        return (1 << 8 * self.elf.address_size) - 1

    def _relocations(self) -> Iterator[tuple[int, Section]]:
        """(index of a section of unwind or debug data, the section of its relocations)."""
        table = self.elf.shoff
        for index, section in enumerate(self.sections):
            if section.type not in (_SHT_REL, _SHT_RELA):
                continue
            row = _SHDR[self.elf.elf_class].unpack_from(
                self.data, table + index * self.elf.shentsize
            )
            if row[7] < len(self.sections):
                name = self.sections[row[7]].name
                if name == ".eh_frame" or name.startswith(".debug_"):
                    yield row[7], section

    def _relocate(self, index: int, relocations: Section) -> None:
        target = self.sections[index]
        symbols = self.symbols.get(relocations.link, [])
        layout = _RELOCATION[self.elf.elf_class, relocations.type]
        count = relocations.size // layout.size
        self.room -= count
        end = relocations.offset + count * layout.size
        whole = (
            self.room >= 0
            and end <= len(self.data)
            and target.offset + target.size <= len(self.data)
            and not target.flags & SHF_COMPRESSED
            and target.type != SHT_NOBITS
        )
        rows = layout.iter_unpack(bytes(self.data[relocations.offset : end])) if whole else ()
        if not (whole and all(self._apply(target, row, symbols) for row in rows)):
            self._leave_out(index)

    def _apply(self, target: Section, row: tuple[int, ...], symbols: list[int]) -> bool:
        offset, info = row[:2]
        is_64 = self.elf.elf_class == 2
        symbol, kind = (info >> 32, info & 0xFFFFFFFF) if is_64 else (info >> 8, info & 0xFF)
        what, size = _TYPES.get(self.elf.machine, {}).get(kind, (-1, 0))
        if what == _IGNORED:
            return True
        if what < 0 or symbol >= len(symbols) or offset + size > target.size:
            return False
        at = target.offset + offset
        addend = row[2] if len(row) > 2 else _signed(self.data[at : at + size])
        value = symbols[symbol] + addend - (target.address + offset if what == _RELATIVE else 0)
        self.data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        return True

    def _leave_out(self, index: int) -> None:
        """Makes a section one without bytes, in the copy."""
        at = self.elf.shoff + index * self.elf.shentsize + 4
        self.data[at : at + 4] = SHT_NOBITS.to_bytes(4, "little")

    def _add_segment(self) -> None:
        """A program header at the end: who reads lines counts from the first segment."""
        elf_class = self.elf.elf_class
        self.data += bytes(-len(self.data) % 8)
        at, base = len(self.data), self.base
        high = max(
            (s.address + s.size for s in self.sections if s.flags & SHF_EXECINSTR), default=0
        )
        size = max(high - base, 1) & 0xFFFFFFFF
        if elf_class == 2:
            self.data += _PHDR[2].pack(PT_LOAD, PF_R | PF_X, 0, base, base, 0, size, 1)
        else:
            self.data += _PHDR[1].pack(PT_LOAD, 0, base, base, 0, size, PF_R | PF_X, 1)
        fields = list(_EHDR[elf_class].unpack_from(self.data))
        fields[0], fields[4], fields[8], fields[9] = ET_DYN, at, _PHDR[elf_class].size, 1
        ident = self.data[:16]
        _EHDR[elf_class].pack_into(self.data, 0, *fields)
        self.data[:16] = ident


def _signed(data: bytearray) -> int:
    return int.from_bytes(data, "little", signed=True)
