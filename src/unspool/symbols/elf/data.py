"""Which variable is at an address, by an ELF file's symbol tables.

The tables of functions leave variables out: no walk needs them. Here is what names a lock.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct

from unspool.errors import FormatError
from unspool.formats.elf import SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.elf import Elf, Section

_STT_OBJECT = 1
_MOST, _LONGEST = 2_000_000, 400
# st_name, st_info, st_other, st_shndx, st_value, st_size; in 32-bit files in another order.
_ENTRIES = {2: (Struct("<IBxHQQ"), (0, 1, 3, 4)), 1: (Struct("<IIIBxH"), (0, 3, 1, 2))}


class DataSymbols:
    """The variables of one file, read when somebody first asks."""

    def __init__(self, elf: Elf) -> None:
        self._elf = elf
        self._found: list[tuple[int, int, int, tuple[int, int]]] | None = None

    def lookup(self, address: int) -> tuple[str, int] | None:
        """The name of the variable that covers a file address, and the offset in it."""
        if self._found is None:
            self._found = sorted(self._read())
        at = bisect_right(self._found, (address, 1 << 64, 0, (0, 0))) - 1
        if at < 0:
            return None
        start, size, name, (low, high) = self._found[at]
        if address >= start + size:
            return None
        raw = bytes(self._elf.buffer[low + name : min(high, low + name + _LONGEST)])
        text = raw.partition(b"\0")[0].decode("utf-8", "replace")
        return (text, address - start) if text else None

    def _read(self) -> list[tuple[int, int, int, tuple[int, int]]]:
        for kind in (SHT_SYMTAB, SHT_DYNSYM):
            for section in self._elf.sections():
                if section.type == kind:
                    try:
                        return self._table(section)
                    except FormatError:
                        continue
        return []

    def _table(self, section: Section) -> list[tuple[int, int, int, tuple[int, int]]]:
        sections = self._elf.sections()
        if section.link >= len(sections) or sections[section.link].type == SHT_NOBITS:
            return []
        buffer, start, end = self._elf.section_data(section)
        _, low, high = self._elf.section_data(sections[section.link])
        entry, (name, info, value, size) = _ENTRIES[self._elf.elf_class]
        count = min((end - start) // entry.size, _MOST)
        raw = memoryview(buffer)[start : start + count * entry.size]
        return [
            (each[value], each[size], each[name], (low, high))
            for each in entry.iter_unpack(raw)
            if each[info] & 15 == _STT_OBJECT and each[size]
        ]
