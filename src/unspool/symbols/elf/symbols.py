"""Function names from the symbol tables of one module.

Three kinds of table: .symtab (all functions; of the module itself or of its debug file),
.dynsym (exported ones, also in a stripped file), and the .symtab in .gnu_debugdata
("MiniDebugInfo": the functions that .dynsym lacks, compressed by xz).
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.elf import SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB, Elf
from unspool.symbols.elf.table import Symbol, SymbolTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# What Fedora ships is some 100 kB unpacked; of a huge program a few megabytes.
_MAX_MINI_DEBUG_INFO = 64 << 20
_LZMA_MEMORY = 256 << 20


class ElfSymbols:
    """Names the functions of a module; tables are read when an address needs them.

    `elf` is the module's own file or image, `debug` its separate debug file; one of the two
    can be missing. `bias` is that of `elf` if it lies in memory: its dynamic section was
    relocated there. What is broken is said in `problems`.
    """

    def __init__(self, elf: Elf | None, debug: Elf | None = None, *, bias: int = 0) -> None:
        self.problems: list[str] = []
        self._tables: list[SymbolTable] = []
        self._more = self._read_tables(elf, debug, bias)

    def lookup(self, address: int) -> Symbol | None:
        """The function that contains a file address, as well as the tables know.

        A symbol with a size that covers the address wins over one without a size, which
        is believed to reach to the next symbol, whichever table they are in.
        """
        label: Symbol | None = None
        for table in self._all_tables():
            symbol = table.lookup(address)
            if symbol is None:
                continue
            if symbol.size:
                return symbol
            if label is None or symbol.start > label.start:
                label = symbol
        return label

    def address_of(self, name: str) -> int | None:
        """The file address of the symbol of that name; the first table that has it decides."""
        for table in self._all_tables():
            address = table.address_of(name)
            if address is not None:
                return address
        return None

    def addresses_of(self, prefix: str, limit: int = 4096) -> dict[str, int]:
        """The file addresses of all symbols whose names begin so, of the first table with any."""
        for table in self._all_tables():
            found = table.addresses_of(prefix, limit)
            if found:
                return found
        return {}

    def tables(self) -> Iterator[SymbolTable]:
        """All tables there are, the fullest first; `lookup` reads them as it needs them."""
        return self._all_tables()

    def _all_tables(self) -> Iterator[SymbolTable]:
        yield from self._tables
        for table in self._more:
            self._tables.append(table)
            yield table

    def _read_tables(self, elf: Elf | None, debug: Elf | None, bias: int) -> Iterator[SymbolTable]:
        full = False
        for file in (debug, elf):
            if file is not None:
                table = self._section_table(file, SHT_SYMTAB)
                if table is not None:
                    full = True
                    yield table
        if elf is None:
            return
        table = self._section_table(elf, SHT_DYNSYM)
        if table is not None:
            yield table
        if not full:
            inner = mini_debug_info(elf, self.problems)
            table = self._section_table(inner, SHT_SYMTAB) if inner else None
            if table is not None:
                yield table
        if not elf.sections():
            from unspool.symbols.elf.dynamic import dynamic_table

            try:
                table = dynamic_table(elf, bias)
            except FormatError as error:
                self.problems.append(str(error))
                return
            if table is not None:
                yield table

    def _section_table(self, elf: Elf, kind: int) -> SymbolTable | None:
        sections = elf.sections()
        for section in sections:
            if section.type != kind or not section.size:
                continue
            if section.link >= len(sections) or sections[section.link].type == SHT_NOBITS:
                self.problems.append(f"section {section.name}: has no names")
                return None
            try:
                buffer, start, end = elf.section_data(section)
                names = elf.section_data(sections[section.link])
            except FormatError as error:
                self.problems.append(str(error))
                return None
            return SymbolTable(
                buffer, start, end, names, elf.elf_class, sections, machine=elf.machine
            )
        return None


def mini_debug_info(elf: Elf, problems: list[str]) -> Elf | None:
    """The ELF file inside of .gnu_debugdata, or None.

    It is cut off at 64 MiB; its own section table then lies past the end and names nothing.
    """
    section = elf.section(".gnu_debugdata")
    if section is None:
        return None
    try:
        from lzma import FORMAT_XZ, LZMADecompressor, LZMAError
    except ImportError:  # an interpreter that was built without liblzma
        problems.append("section .gnu_debugdata: this Python has no lzma module")
        return None
    try:
        buffer, start, end = elf.section_data(section)
        unpacker = LZMADecompressor(FORMAT_XZ, memlimit=_LZMA_MEMORY)
        data = unpacker.decompress(bytes(buffer[start:end]), _MAX_MINI_DEBUG_INFO)
        if not unpacker.eof:
            problems.append("section .gnu_debugdata: larger than 64 MiB, or cut short")
        return Elf(data)
    except (LZMAError, FormatError, EOFError) as error:
        problems.append(f"section .gnu_debugdata: {error}")
        return None
