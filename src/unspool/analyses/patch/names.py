"""What an address in a linked file stands for, in words that do not depend on where it lies.

A variable has its name, an entry of the global offset table that of the symbol that the dynamic
linker puts there, a stub of the procedure linkage table that of its entry. What has no name, a
string or a constant, is known by what it says.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.cursor import Buffer
    from unspool.formats.elf import Elf, Section

_SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS, _SHT_REL, _SHT_DYNSYM = 2, 4, 8, 9, 11
_WRITE, _ALLOC = 1, 2
_OBJECTS = (1, 6)  # STT_OBJECT, STT_TLS
_SYMBOL, _RELA, _REL_32 = Struct("<IBBHQQ"), Struct("<QQq"), Struct("<II")
_SYMBOL_32 = Struct("<IIIBBH")
# What of a constant or a string is compared; nearly all are shorter.
_MOST_CONTENT = 256
_MAX_ENTRIES = 4_000_000


class Names:
    """The data of one ELF file by address."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        self.sections = sorted(
            (each for each in elf.sections() if each.flags & _ALLOC and each.address),
            key=_address,
        )
        self.lows = [each.address for each in self.sections]
        found = sorted(
            {(value, size, name) for name, value, size in _symbols(elf, _SHT_SYMTAB) if value}
        )
        self.objects = found
        self.starts = [each[0] for each in found]
        self.slots = dict(_slots(elf))
        tables = [each.address for each in self.sections if each.name in (".got.plt", ".got")]
        # What position-independent code of i386 has in ebx (psABI i386, "Global Offset Table").
        self.got = tables[-1] if tables else 0

    def at(self, address: int, used: int = 0) -> str:
        """The name, and how far behind its start the address is; "" outside of the file.

        `used` is how many bytes are read or written there, if that is known.
        """
        if address in self.slots:
            return f"slot of {self.slots[address]}"
        at = bisect_right(self.starts, address) - 1
        if at >= 0:
            value, size, name = self.objects[at]
            if address < value + max(size, 1):
                return f"{name}+{address - value}"
        at = bisect_right(self.lows, address) - 1
        if at < 0 or address > self.lows[at] + self.sections[at].size:
            return ""
        section = self.sections[at]
        if section.name.startswith(".plt"):
            return self.stub(section, address)
        if section.flags & _WRITE or section.type == _SHT_NOBITS:
            # Nothing says which of them it is: a difference, to be on the safe side.
            return self.unknown(section, address)
        content = self.content(section, address, used or _MOST_CONTENT, whole=used > 0)
        return f"{section.name} {content!r}"

    def stub(self, section: Section, address: int) -> str:
        """A stub jumps through its entry: `jmp *x(%rip)`, maybe after `endbr64` or `bnd`."""
        code = self.content(section, address, 16, whole=True)
        for opcode, base in ((b"\xff\x25", address if self.elf.elf_class == 2 else 0),
                             (b"\xff\xa3", self.got)):  # fmt: skip
            at = code.find(opcode)
            if 0 <= at <= 8 and len(code) >= at + 6:
                distance = int.from_bytes(code[at + 2 : at + 6], "little", signed=True)
                slot = base + distance + (at + 6 if base == address else 0)
                if slot in self.slots:
                    return f"stub of {self.slots[slot]}"
        return self.unknown(section, address)

    def unknown(self, section: Section, address: int) -> str:
        """A word for what nothing is known of: it is never the same as in another file."""
        return f"{section.name} at 0x{address:x} of {id(self)}"

    def content(
        self, section: Section, address: int, most: int = _MOST_CONTENT, *, whole: bool = False
    ) -> bytes:
        """The bytes there up to a zero after the first eight, or so many."""
        try:
            buffer, start, end = self.elf.section_data(section)
        except FormatError:
            return b""
        at = start + address - section.address
        data = bytes(buffer[at : min(at + most, end)])
        zero = data.find(b"\0", 8)
        return data if whole or zero < 0 else data[:zero]


def _address(section: Section) -> int:
    return section.address


def _symbols(elf: Elf, kind: int) -> Iterator[tuple[str, int, int]]:
    """Variables of a symbol table as (name, address, size)."""
    for name, info, value, size in _entries(elf, kind):
        if info & 15 in _OBJECTS and name:
            yield name, value, size


def _entries(elf: Elf, kind: int) -> list[tuple[str, int, int, int]]:
    sections = elf.sections()
    for section in sections:
        if section.type != kind or section.link >= len(sections):
            continue
        try:
            buffer, start, end = elf.section_data(section)
            names = elf.section_data(sections[section.link])
        except FormatError:
            return []
        layout = _SYMBOL if elf.elf_class == 2 else _SYMBOL_32
        found = []
        last = min(end - layout.size, start + _MAX_ENTRIES * layout.size)
        for at in range(start, last + 1, layout.size):
            fields = layout.unpack_from(buffer, at)
            if elf.elf_class == 2:
                name, info, _, _, value, size = fields
            else:
                name, value, size, info, _, _ = fields
            found.append((_text(names, name), info, value, size))
        return found
    return []


def _text(names: tuple[Buffer, int, int], offset: int) -> str:
    buffer, start, end = names
    data = bytes(buffer[start + offset : min(start + offset + 512, end)])
    return data.partition(b"\0")[0].decode("utf-8", "replace").partition("@")[0]


def _slots(elf: Elf) -> Iterator[tuple[int, str]]:
    """Addresses that the dynamic linker fills in, and with what."""
    symbols = _entries(elf, _SHT_DYNSYM)
    wide = elf.elf_class == 2
    layout = _RELA if wide else _REL_32
    for section in elf.sections():
        if section.type != (_SHT_RELA if wide else _SHT_REL):
            continue
        try:
            buffer, start, end = elf.section_data(section)
        except FormatError:
            continue
        last = min(end - layout.size, start + _MAX_ENTRIES * layout.size)
        for at in range(start, last + 1, layout.size):
            offset, info, *addend = layout.unpack_from(buffer, at)
            index = info >> 32 if wide else info >> 8
            if 0 < index < len(symbols) and symbols[index][0]:
                more = f"+{addend[0]}" if addend and addend[0] else ""
                yield offset, f"{symbols[index][0]}{more}"
