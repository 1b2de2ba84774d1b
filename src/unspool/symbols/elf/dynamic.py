"""The dynamic symbol table of an image without section headers, found as ld.so finds it.

Section headers are not loaded: an image that is read out of memory (a deleted executable)
has its program headers alone. DT_SYMTAB tells where the table is but not how long: the
hash tables do (gABI, chapter 5; DT_GNU_HASH has no specification but its readers).
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError
from unspool.formats.elf import PT_LOAD, Elf, ProgramHeader
from unspool.symbols.elf.table import SymbolTable

PT_DYNAMIC = 2
DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SONAME = 0, 4, 5, 6, 10, 14
DT_GNU_HASH = 0x6FFFFEF5

_MAX_ENTRIES = 4096
_MAX_NAME = 4096
_MAX_SYMBOLS = 10_000_000
_U32 = Struct("<I")


def dynamic_table(elf: Elf, bias: int = 0) -> SymbolTable | None:
    """The image's dynamic symbols, or None if it has none that lie in its bytes.

    `elf` is over a file's bytes or over memory from the image's first page on: what we want
    lies in the first segment, where both look the same. `bias` is the distance at which it
    was loaded, 0 for a file: ld.so adds it to the addresses in the dynamic section. Raises
    `FormatError` if the tables contradict themselves.
    """
    image = _Image(elf, bias)
    entries = image.dynamic_entries()
    if DT_SYMTAB not in entries or DT_STRTAB not in entries:
        return None
    table, names = image.offset(entries[DT_SYMTAB]), image.offset(entries[DT_STRTAB])
    if table is None or names is None:
        return None
    entry = 24 if elf.elf_class == 2 else 16
    count = image.symbol_count(entries)
    if count is None:
        # Linkers place the names right after the symbols.
        count = max(names - table, 0) // entry
    names_end = min(names + entries.get(DT_STRSZ, elf.size), elf.size)
    end = min(table + count * entry, elf.size)
    place = elf.buffer, names, names_end
    return SymbolTable(elf.buffer, table, end, place, elf.elf_class, machine=elf.machine)


def soname(elf: Elf) -> str | None:
    """The name that a library's linker gave it; None if it has none, or it is not in a file."""
    image = _Image(elf, 0)
    entries = image.dynamic_entries()
    names = image.offset(entries.get(DT_STRTAB, -1))
    if names is None or DT_SONAME not in entries:
        return None
    start = names + entries[DT_SONAME]
    raw = bytes(elf.buffer[start : start + _MAX_NAME]).partition(b"\0")[0]
    return raw.decode("utf-8", "surrogateescape") or None


class _Image:
    """Reads an image's bytes by the addresses in its dynamic section."""

    def __init__(self, elf: Elf, bias: int) -> None:
        self.elf = elf
        self.bias = bias
        self.headers = elf.program_headers()
        self.loads = [header for header in self.headers if header.type == PT_LOAD]

    def dynamic_entries(self) -> dict[int, int]:
        """The dynamic section's first value of each tag."""
        for header in self.headers:
            if header.type == PT_DYNAMIC:
                for offset in (header.offset, self._memory_offset(header)):
                    entries = self._entries_at(offset, header.filesz)
                    if DT_SYMTAB in entries:
                        return entries
        return {}

    def _memory_offset(self, header: ProgramHeader) -> int:
        """Where the segment lies if the bytes are memory and no file."""
        return header.vaddr - min((load.vaddr & -4096 for load in self.loads), default=0)

    def _entries_at(self, offset: int, size: int) -> dict[int, int]:
        entry = Struct("<QQ" if self.elf.elf_class == 2 else "<II")
        end = min(offset + min(size, _MAX_ENTRIES * entry.size), self.elf.size)
        entries: dict[int, int] = {}
        while 0 <= offset <= end - entry.size:
            tag, value = entry.unpack_from(self.elf.buffer, offset)
            if tag == DT_NULL:
                break
            entries.setdefault(tag, value)
            offset += entry.size
        return entries

    def offset(self, address: int) -> int | None:
        """The offset of an address in our bytes, be it relocated or not."""
        for candidate in (address, address - self.bias):
            for load in self.loads:
                delta = candidate - load.vaddr
                if 0 <= delta < load.filesz and load.offset + delta < self.elf.size:
                    return load.offset + delta
        return None

    def symbol_count(self, entries: dict[int, int]) -> int | None:
        if DT_HASH in entries:
            start = self.offset(entries[DT_HASH])
            if start is not None:
                # nbucket, nchain: there are as many chain entries as symbols.
                return min(self._u32(start + 4), _MAX_SYMBOLS)
        if DT_GNU_HASH in entries:
            start = self.offset(entries[DT_GNU_HASH])
            if start is not None:
                return self._gnu_hash_count(start)
        return None

    def _gnu_hash_count(self, start: int) -> int:
        """The last symbol of the last chain ends the table.

        Header: buckets, first hashed symbol, words in the filter, its shift. Then the filter
        (in machine words), a bucket each with its chain's first symbol, and a chain entry a
        hashed symbol, with bit 0 set in the last of a chain.
        """
        buckets, first, words = (self._u32(start + 4 * index) for index in range(3))
        if buckets > _MAX_SYMBOLS or words > _MAX_SYMBOLS:
            raise FormatError("DT_GNU_HASH", f"claims {buckets} buckets, {words} filter words")
        bucket_at = start + 16 + words * self.elf.address_size
        chains = bucket_at + 4 * buckets
        if chains > self.elf.size:
            raise FormatError("DT_GNU_HASH", "not inside the image")
        last = max(memoryview(bytes(self.elf.buffer[bucket_at:chains])).cast("I"), default=0)
        if last < first:
            return first  # no symbol is hashed: all are undefined
        while last < _MAX_SYMBOLS and not self._u32(chains + 4 * (last - first)) & 1:
            last += 1
        return last + 1

    def _u32(self, offset: int) -> int:
        if offset < 0 or offset + 4 > self.elf.size:
            raise FormatError("dynamic symbols", f"offset 0x{offset:x} is outside of the image")
        value: int = _U32.unpack_from(self.elf.buffer, offset)[0]
        return value
