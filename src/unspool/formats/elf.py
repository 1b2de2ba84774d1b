"""ELF files and images: headers, program headers, sections, build id, debug link.

Works on one buffer, either a file's bytes or an image as it lies in memory. Nothing is
parsed before it is asked for. System V ABI, chapters 4 and 5; elf.h for numbers.
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.cursor import Buffer

ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR = 1, 2, 3, 4, 6
PT_GNU_EH_FRAME, PT_ARM_EXIDX = 0x6474E550, 0x70000001
PF_X, PF_W, PF_R = 1, 2, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_NOBITS, SHT_DYNSYM = 1, 2, 3, 7, 8, 11
SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 2, 4, 0x800
NT_GNU_BUILD_ID = 3
PN_XNUM = 0xFFFF

_MAX_SECTIONS = 100_000
_MAX_SEGMENTS = 1_000_000
_MAX_NOTE = 64 << 20
# A section of a debug file may be gigabytes; one that we decompress may not.
_MAX_DECOMPRESSED = 1 << 30

_EHDR = {1: Struct("<HHIIIIIHHHHHH"), 2: Struct("<HHIQQQIHHHHHH")}
_PHDR = {1: Struct("<IIIIIIII"), 2: Struct("<IIQQQQQQ")}
_SHDR = {1: Struct("<IIIIIIIIII"), 2: Struct("<IIQQQQIIQQ")}
_NHDR = Struct("<III")


class ProgramHeader:
    """A segment: `offset`/`filesz` in the file, `vaddr`/`memsz` in memory."""

    __slots__ = ("align", "filesz", "flags", "memsz", "offset", "type", "vaddr")

    def __init__(
        self, type: int, flags: int, offset: int, vaddr: int, filesz: int, memsz: int, align: int
    ) -> None:
        self.type = type
        self.flags = flags
        self.offset = offset
        self.vaddr = vaddr
        self.filesz = filesz
        self.memsz = memsz
        self.align = align


class Section:
    """A section header; `data(elf)` of the file gives its bytes."""

    __slots__ = ("address", "entry_size", "flags", "link", "name", "offset", "size", "type")

    def __init__(
        self,
        name: str,
        type: int,
        flags: int,
        address: int,
        offset: int,
        size: int,
        link: int,
        entry_size: int,
    ) -> None:
        self.name = name
        self.type = type
        self.flags = flags
        self.address = address
        self.offset = offset
        self.size = size
        self.link = link
        self.entry_size = entry_size


class Note:
    """One note: owner name, type, and where its descriptor lies in the buffer."""

    __slots__ = ("name", "offset", "size", "type")

    def __init__(self, name: bytes, type: int, offset: int, size: int) -> None:
        self.name = name
        self.type = type
        self.offset = offset
        self.size = size


def is_elf(buffer: Buffer) -> bool:
    return bytes(buffer[:4]) == b"\x7fELF"


class Elf:
    """An ELF file or image over `buffer`, which starts with its header.

    Raises `FormatError` if the header is not one of a little-endian ELF.
    """

    __slots__ = (
        "_headers", "_sections", "buffer", "elf_class", "entry", "flags", "machine", "phentsize",
        "phnum", "phoff", "shentsize", "shnum", "shoff", "shstrndx", "size", "type",
    )  # fmt: skip

    type: int
    machine: int
    entry: int
    phoff: int
    phnum: int

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.size = len(buffer)
        ident = bytes(buffer[:16])
        if ident[:4] != b"\x7fELF":
            raise FormatError("ELF header", "no ELF magic")
        self.elf_class = ident[4] if len(ident) == 16 else 0
        if self.elf_class not in (1, 2):
            raise FormatError("ELF header", f"class {self.elf_class} is neither 32- nor 64-bit")
        if ident[5] != 1:
            raise FormatError("ELF header", "big-endian, which no supported CPU is")
        header = _EHDR[self.elf_class]
        if self.size < 16 + header.size:
            raise FormatError("ELF header", "cut short")
        (
            self.type, self.machine, _version, self.entry, self.phoff, self.shoff, self.flags,
            _ehsize, self.phentsize, self.phnum, self.shentsize, self.shnum, self.shstrndx,
        ) = header.unpack_from(buffer, 16)  # fmt: skip
        self._headers: list[ProgramHeader] | None = None
        self._sections: list[Section] | None = None

    @property
    def address_size(self) -> int:
        return 8 if self.elf_class == 2 else 4

    def segment_count(self) -> int:
        """The number of program headers, also where it does not fit into the header.

        With 65,535 or more, `e_phnum` is PN_XNUM and section header 0's `sh_info` holds it
        (a core of a process with that many mappings; elf(5)).
        """
        if self.phnum != PN_XNUM:
            return self.phnum
        shdr = _SHDR[self.elf_class]
        if not 0 < self.shoff <= self.size - shdr.size:
            return PN_XNUM
        return min(int(shdr.unpack_from(self.buffer, self.shoff)[7]), _MAX_SEGMENTS)

    def program_headers(self) -> list[ProgramHeader]:
        """All program headers that lie inside the buffer; a cut table gives those before."""
        if self._headers is None:
            self._headers = self._read_program_headers()
        return self._headers

    def _read_program_headers(self) -> list[ProgramHeader]:
        header = _PHDR[self.elf_class]
        if self.phentsize < header.size or not 0 < self.phoff < self.size:
            return []
        fits = (self.size - self.phoff - header.size) // self.phentsize + 1
        count = min(self.segment_count(), max(fits, 0))
        unpack, buffer = header.unpack_from, self.buffer
        result = []
        for index in range(count):
            fields = unpack(buffer, self.phoff + index * self.phentsize)
            if self.elf_class == 2:
                type_, flags, offset, vaddr, _paddr, filesz, memsz, align = fields
            else:
                type_, offset, vaddr, _paddr, filesz, memsz, flags, align = fields
            result.append(ProgramHeader(type_, flags, offset, vaddr, filesz, memsz, align))
        return result

    def sections(self) -> list[Section]:
        """All sections with their names; empty if the table does not lie in the buffer."""
        if self._sections is None:
            self._sections = self._read_sections()
        return self._sections

    def _read_sections(self) -> list[Section]:
        header = _SHDR[self.elf_class]
        if self.shentsize < header.size or not 0 < self.shoff <= self.size - header.size:
            return []
        first = header.unpack_from(self.buffer, self.shoff)
        # As with segments, counts that do not fit are in section header 0 (gABI, chapter 4).
        count = min(self.shnum or first[5], _MAX_SECTIONS)
        names_index = first[6] if self.shstrndx == 0xFFFF else self.shstrndx
        fits = (self.size - self.shoff - header.size) // self.shentsize + 1
        rows = [
            header.unpack_from(self.buffer, self.shoff + index * self.shentsize)
            for index in range(min(count, fits))
        ]
        names = b""
        if names_index < len(rows):
            offset, size = rows[names_index][4:6]
            names = bytes(self.buffer[offset : offset + min(size, 1 << 24)])
        return [
            Section(_name_at(names, name), type_, flags, address, offset, size, link, entry_size)
            for name, type_, flags, address, offset, size, link, _info, _align, entry_size in rows
        ]

    def section(self, name: str) -> Section | None:
        """The first section of that name that has bytes in this file.

        A file of debug information keeps the other sections' headers without their bytes
        (`objcopy --only-keep-debug` turns .eh_frame to NOBITS).
        """
        for section in self.sections():
            if section.name == name and section.type != SHT_NOBITS and section.size:
                return section
        return None

    def may_name(self, name: str) -> bool:
        """Whether a symbol can have that name: whether a string table has it, or none is at hand.

        Where nothing has, no symbol table needs to be read.
        """
        wanted = b"\0" + name.encode() + b"\0"
        sections = self.sections()
        tables = [section for section in sections if section.type == SHT_STRTAB]
        if not tables or any(section.name == ".gnu_debugdata" for section in sections):
            return True
        buffer = self.buffer
        for table in tables:
            start = min(table.offset, self.size)
            end = min(table.offset + table.size, self.size)
            if isinstance(buffer, memoryview):
                found = wanted in bytes(buffer[start:end])
            else:
                found = buffer.find(wanted, start, end) >= 0
            if found:
                return True
        return False

    def section_data(self, section: Section) -> tuple[Buffer, int, int]:
        """A section's bytes as (buffer, start, end), decompressed if need be.

        Raises `FormatError` if they do not lie in the file or do not decompress.
        """
        start, end = section.offset, section.offset + section.size
        if section.type == SHT_NOBITS or end > self.size:
            raise FormatError(f"section {section.name}", "not inside the file")
        if not section.flags & SHF_COMPRESSED:
            return self.buffer, start, end
        data = _decompress_section(bytes(self.buffer[start:end]), self.elf_class, section.name)
        return data, 0, len(data)

    def notes(self) -> Iterator[Note]:
        """The notes of all PT_NOTE segments, or of note sections if there are no segments."""
        headers = self.program_headers()
        ranges = [(p.offset, p.filesz, p.align) for p in headers if p.type == PT_NOTE]
        if not ranges:
            ranges = [(s.offset, s.size, 4) for s in self.sections() if s.type == SHT_NOTE]
        # Honest notes do not overlap. Thousands of segments that all show the same ones
        # would make millions of threads out of a small file.
        room = self.size
        for offset, size, align in ranges:
            size = min(size, room)
            room -= size
            yield from iter_notes(self.buffer, offset, offset + size, align)

    def build_id(self) -> str | None:
        """The GNU build id in lower-case hex, or None."""
        for note in self.notes():
            if note.type == NT_GNU_BUILD_ID and note.name == b"GNU" and 0 < note.size <= 64:
                return bytes(self.buffer[note.offset : note.offset + note.size]).hex()
        return None

    def debug_link(self) -> tuple[str, int] | None:
        """(file name, CRC-32) of .gnu_debuglink, or None (gdb manual, Separate Debug Files)."""
        section = self.section(".gnu_debuglink")
        if section is None or section.size > 4096:
            return None
        try:
            buffer, start, end = self.section_data(section)
        except FormatError:
            return None
        return parse_debug_link(bytes(buffer[start:end]))

    def load_bias(self, base: int) -> int:
        """Distance of the image's addresses from the file's if its header is mapped at `base`.

        The header lies at file offset 0; the segment that maps it need not have vaddr 0
        (a non-PIE executable), nor be the first in the table.
        """
        loads = [p for p in self.program_headers() if p.type == PT_LOAD]
        for header in loads:
            if header.offset == 0:
                return base - header.vaddr
        if loads:
            # The page of the first segment: lld starts segments inside pages, at
            # vaddr & 0xfff == offset & 0xfff.
            first = min(loads, key=_vaddr)
            return base - (first.vaddr - first.offset % 4096)
        return base


def iter_notes(buffer: Buffer, start: int, end: int, align: int = 4) -> Iterator[Note]:
    """The notes in `buffer[start:end]`, as far as they are whole.

    Descriptors are padded to four bytes whatever the ABI's text says of 64-bit files;
    only segments with an alignment of 8 (.note.gnu.property) pad to eight.
    """
    end = min(end, len(buffer))
    pad = 7 if align == 8 else 3
    unpack = _NHDR.unpack_from
    while start >= 0 and start + 12 <= end:
        name_size, size, type_ = unpack(buffer, start)
        name_at = start + 12
        offset = (name_at + name_size + pad) & ~pad if pad == 7 else name_at + (name_size + 3 & ~3)
        if name_size > 4096 or size > _MAX_NOTE or offset + size > end:
            return
        yield Note(bytes(buffer[name_at : name_at + name_size]).rstrip(b"\0"), type_, offset, size)
        start = offset + (size + pad & ~pad)


def _vaddr(header: ProgramHeader) -> int:
    return header.vaddr


def _name_at(names: bytes, offset: int) -> str:
    end = names.find(b"\0", offset)
    return names[offset : end if end >= 0 else offset].decode("utf-8", "replace")


def _decompress_section(data: bytes, elf_class: int, name: str) -> bytes:
    """Bytes of a section with SHF_COMPRESSED (Elf32_Chdr, Elf64_Chdr; gABI, chapter 4)."""
    header = Struct("<IIQQ") if elf_class == 2 else Struct("<III")
    if len(data) < header.size:
        raise FormatError(f"section {name}", "compression header cut short")
    fields = header.unpack_from(data)
    kind, size = fields[0], fields[2] if elf_class == 2 else fields[1]
    if size > _MAX_DECOMPRESSED:
        raise FormatError(f"section {name}", f"claims to decompress to {size} bytes")
    if size == 0:
        return b""  # to zlib, a limit of 0 is no limit
    body = data[header.size :]
    if kind == 1:
        import zlib

        try:
            return zlib.decompressobj().decompress(body, size)
        except zlib.error as error:
            raise FormatError(f"section {name}", f"zlib: {error}") from None
    raise FormatError(f"section {name}", f"compression type {kind} is not supported")


def parse_debug_link(data: bytes) -> tuple[str, int] | None:
    """(file name, CRC-32) of the bytes of a .gnu_debuglink section, which PE files have too."""
    name, _, _ = data.partition(b"\0")
    if not name or len(data) < 8 or b"/" in name:
        return None
    crc_at = (len(name) + 4) & ~3
    return name.decode("utf-8", "replace"), int.from_bytes(data[crc_at : crc_at + 4], "little")
