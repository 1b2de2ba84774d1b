"""PE files and images: headers, sections, data directories, debug id, COFF symbol table's place.

Works on one buffer: a file's bytes, or an image as it lies in memory, of which the header
page may be all that there is. Only the fixed headers are parsed at once. Microsoft's "PE
Format"; where that and loaders differ, as loaders do it, for these images did run.
"""

from __future__ import annotations

from bisect import bisect_right
from struct import Struct

from unspool.errors import FormatError
from unspool.formats.codeview import CodeView, parse_codeview

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

MACHINE_I386, MACHINE_AMD64, MACHINE_ARM64 = 0x14C, 0x8664, 0xAA64
EXPORT, RESOURCE, EXCEPTION, DEBUG = 0, 2, 3, 6
LOAD_CONFIG, COM_DESCRIPTOR = 10, 14
DLLCHARACTERISTICS_NO_SEH = 0x400
SUBSYSTEM_NATIVE = 1
SCN_EXECUTE, SCN_WRITE = 0x20000000, 0x80000000
SYMBOL_SIZE = 18

_FILE_DLL = 0x2000
_DEBUG_CODEVIEW = 2
_PAGE, _SECTOR = 0x1000, 0x200
_MAX_DIRECTORIES = 16
_MAX_DEBUG_ENTRIES = 64
_MAX_DEBUG_DATA = 4096
_MAX_SECTION_NAME = 256
# A string table begins with its size.
_STRINGS_START = 4
# Sections of an image that a loader accepts do not overlap at all.
_MAX_OVERLAPS = 16

_U16, _U32, _U32_PAIR = Struct("<H"), Struct("<I"), Struct("<II")
# IMAGE_NT_HEADERS up to the data directories, by the optional header's magic.
_HEADERS = {
    0x10B: Struct("<4xHHIIIHH16xI8xIII16xIIIHH20xI"),
    0x20B: Struct("<4xHHIIIHH16xI4xQII16xIIIHH36xI"),
}
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_SECTION = Struct("<8sIIII12xI")
_DEBUG_ENTRY = Struct("<12xIIII")

# What Wine's build tool writes over the DOS program, at this offset (tools/winebuild).
_WINE_SIGNATURE = 0x40
_WINE_BUILTIN, _WINE_PLACEHOLDER = b"Wine builtin DLL\0", b"Wine placeholder DLL\0"


class Section:
    """A section header: `virtual_size` bytes at `rva` in memory, `raw_size` in the file.

    Fields are as the header has them: a `virtual_size` of 0 means `raw_size`, and
    uninitialised data has a `raw_offset` of 0.
    """

    __slots__ = (
        "characteristics", "name", "raw_offset", "raw_size", "rva", "virtual_size",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        rva: int,
        virtual_size: int,
        raw_offset: int,
        raw_size: int,
        characteristics: int,
    ) -> None:
        self.name = name
        self.rva = rva
        self.virtual_size = virtual_size
        self.raw_offset = raw_offset
        self.raw_size = raw_size
        self.characteristics = characteristics

    @property
    def executable(self) -> bool:
        return self.characteristics & SCN_EXECUTE != 0

    @property
    def writable(self) -> bool:
        return self.characteristics & SCN_WRITE != 0


def is_pe(buffer: Buffer) -> bool:
    """Whether a PE file or image starts here: a DOS header that leads to a PE signature."""
    if bytes(buffer[:2]) != b"MZ" or len(buffer) < 64:
        return False
    start = _U32.unpack_from(buffer, 60)[0]
    return bytes(buffer[start : start + 4]) == b"PE\0\0"


class Pe:
    """A PE file over `buffer[base_offset:]`, or the image in memory if `mapped`.

    RVAs are relative to the image's base. `image_base` is the one that the headers prefer.
    Raises `FormatError` if the headers before the data directories are not there whole.
    """

    __slots__ = (
        "_by_rva", "_directories", "_directory_count", "_section_count", "_section_table",
        "_sections", "_starts", "_symbol_count", "_symbol_table", "base_offset", "buffer",
        "characteristics", "checksum", "dll_characteristics", "entry", "file_alignment",
        "image_base", "is_64", "machine", "mapped", "section_alignment", "size_of_headers",
        "size_of_image", "subsystem", "timestamp",
    )  # fmt: skip

    machine: int
    timestamp: int
    characteristics: int
    entry: int
    image_base: int
    section_alignment: int
    file_alignment: int
    size_of_image: int
    size_of_headers: int
    checksum: int
    subsystem: int
    dll_characteristics: int

    def __init__(self, buffer: Buffer, *, mapped: bool = False, base_offset: int = 0) -> None:
        self.buffer = buffer
        self.mapped = mapped
        self.base_offset = base_offset
        size = len(buffer)
        if base_offset < 0 or bytes(buffer[base_offset : base_offset + 2]) != b"MZ":
            raise FormatError("DOS header", "no MZ magic")
        if base_offset + 64 > size:
            raise FormatError("DOS header", "cut short")
        start = base_offset + _U32.unpack_from(buffer, base_offset + 60)[0]
        if bytes(buffer[start : start + 4]) != b"PE\0\0":
            raise FormatError("PE header", "no PE signature")
        magic = _U16.unpack_from(buffer, start + 24)[0] if start + 26 <= size else 0
        header = _HEADERS.get(magic)
        if header is None:
            raise FormatError("PE header", f"magic 0x{magic:x} is neither PE32 nor PE32+")
        if start + header.size > size:
            raise FormatError("PE header", "cut short")
        self.is_64 = magic == 0x20B
        (
            self.machine, self._section_count, self.timestamp, self._symbol_table,
            self._symbol_count, optional_size, self.characteristics, self.entry, self.image_base,
            self.section_alignment, self.file_alignment, self.size_of_image, self.size_of_headers,
            self.checksum, self.subsystem, self.dll_characteristics, self._directory_count,
        ) = header.unpack_from(buffer, start)  # fmt: skip
        self._directories = start + header.size
        # The loader's rule: sections begin where the optional header says that it ends, even
        # where that is inside of it (hand-made small files), and fields are read regardless.
        self._section_table = start + 24 + optional_size
        self._sections: list[Section] | None = None
        self._by_rva: list[Section] = []
        self._starts: list[int] = []

    @property
    def is_dll(self) -> bool:
        return self.characteristics & _FILE_DLL != 0

    @property
    def code_id(self) -> str:
        """The folder of the image in a symbol store: link time and size of the image."""
        return f"{self.timestamp:08X}{self.size_of_image:x}"

    @property
    def is_wine_builtin(self) -> bool:
        """Whether this is a part of Wine, by the signature in place of its DOS program."""
        return self._has_wine_signature(_WINE_BUILTIN)

    @property
    def is_wine_placeholder(self) -> bool:
        """Whether this only stands for a part of Wine: it is in the prefix and has no code."""
        return self._has_wine_signature(_WINE_PLACEHOLDER)

    def _has_wine_signature(self, signature: bytes) -> bool:
        start = self.base_offset + _WINE_SIGNATURE
        return bytes(self.buffer[start : start + len(signature)]) == signature

    # --- sections ---------------------------------------------------------------------

    @property
    def sections(self) -> list[Section]:
        """The sections in the table's order, as far as the table lies in the buffer."""
        if self._sections is None:
            self._sections = self._read_sections()
        return self._sections

    def _read_sections(self) -> list[Section]:
        buffer, at = self.buffer, self._section_table
        fits = max(len(buffer) - at, 0) // 40
        result = []
        for offset in range(at, at + 40 * min(self._section_count, fits), 40):
            raw_name, virtual_size, rva, raw_size, raw_offset, flags = _SECTION.unpack_from(
                buffer, offset
            )
            name = self._section_name(raw_name)
            result.append(Section(name, rva, virtual_size, raw_offset, raw_size, flags))
        self._by_rva = sorted(result, key=_rva)
        self._starts = [section.rva for section in self._by_rva]
        return result

    def _section_name(self, raw: bytes) -> str:
        """The name, from the string table if it is an offset into that.

        Names of more than eight bytes are written as "/4" (decimal) and, by LLVM, "//AAAAEA"
        (base 64) where seven digits do not suffice. The string table is in the file alone:
        in memory .eh_frame is called "/4".
        """
        name = raw.partition(b"\0")[0]
        if name[:1] == b"/" and not self.mapped:
            offset = _base64(name[2:]) if name[1:2] == b"/" else _decimal(name[1:])
            strings = self._strings_offset()
            if strings is not None and offset >= _STRINGS_START:
                start = strings + offset
                long = bytes(self.buffer[start : start + _MAX_SECTION_NAME]).partition(b"\0")[0]
                name = long or name
        return name.decode("latin-1")

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        for section in self.sections:
            if section.name == name:
                return section
        return None

    def section_at(self, rva: int) -> Section | None:
        """The section whose pages hold `rva`."""
        if self._sections is None:
            self._sections = self._read_sections()
        last = bisect_right(self._starts, rva) - 1
        for index in range(last, max(last - _MAX_OVERLAPS, -1), -1):
            section = self._by_rva[index]
            size = section.virtual_size or section.raw_size
            if rva - section.rva < self._whole_pages(size):
                return section
        return None

    def _whole_pages(self, size: int) -> int:
        """A section's size as a loader maps it.

        With an alignment of less than a page (drivers) the file is mapped in one piece.
        """
        return size if self.section_alignment < _PAGE else (size + _PAGE - 1) & -_PAGE

    # --- bytes ------------------------------------------------------------------------

    def located(self, rva: int) -> tuple[Buffer, int, int] | None:
        """The bytes from `rva` to the end of its section as (buffer, start, end).

        Those of a file are its raw data: there are none for uninitialised data. None if
        the buffer does not hold the byte at `rva`.
        """
        section = self.section_at(rva)
        if section is not None:
            start, end = self._place(section, rva - section.rva)
        elif 0 <= rva < self.size_of_headers:
            start, end = rva, self.size_of_headers
        else:
            return None
        start += self.base_offset
        end = min(end + self.base_offset, len(self.buffer))
        return (self.buffer, start, end) if start < end else None

    def _place(self, section: Section, offset: int) -> tuple[int, int]:
        """Where the bytes of a section from `offset` on begin and end; empty if it has none.

        As Wine's loader does it (`map_image_into_view`), compared byte by byte.
        """
        size = section.virtual_size or section.raw_size
        if offset >= size:
            # What a file has behind the section's end comes into memory with its last page.
            size = self._whole_pages(size)
        start = section.rva
        end = start + size
        if not self.mapped:
            if not section.raw_offset:
                return 0, 0
            # Whole sectors are mapped, wherever in one the header says that data begin or end.
            sector = _SECTOR if self.section_alignment >= _PAGE else 1
            start = section.raw_offset & -sector
            raw_end = section.raw_offset + section.raw_size
            end = min(start + size, (raw_end + sector - 1) & -sector)
        return start + offset, end

    def read(self, rva: int, size: int) -> bytes:
        """`size` bytes at `rva`, all in one section. Raises `FormatError` if they are not held."""
        found = self.located(rva)
        if found is None or size < 0 or found[2] - found[1] < size:
            raise FormatError(f"RVA 0x{rva:x}", f"{size} bytes are not in the image")
        buffer, start, _ = found
        return bytes(buffer[start : start + size])

    # --- data directories -------------------------------------------------------------

    def directory(self, index: int) -> tuple[int, int] | None:
        """(RVA, size) of a data directory; None if it is absent or empty."""
        at = self._directories + 8 * index
        if not 0 <= index < min(self._directory_count, _MAX_DIRECTORIES):
            return None
        if at + 8 > len(self.buffer):
            return None
        rva, size = _U32_PAIR.unpack_from(self.buffer, at)
        return (rva, size) if rva and size else None

    def codeview(self) -> CodeView | None:
        """The first CodeView record of the form RSDS that the debug directory leads to."""
        directory = self.directory(DEBUG)
        found = self.located(directory[0]) if directory else None
        if directory is None or found is None:
            return None
        buffer, start, end = found
        count = min(directory[1], end - start) // 28
        for offset in range(start, start + 28 * min(count, _MAX_DEBUG_ENTRIES), 28):
            kind, size, rva, raw_offset = _DEBUG_ENTRY.unpack_from(buffer, offset)
            if kind == _DEBUG_CODEVIEW:
                record = parse_codeview(self._debug_data(rva, raw_offset, size))
                if record is not None:
                    return record
        return None

    def _debug_data(self, rva: int, raw_offset: int, size: int) -> bytes:
        """What a debug entry points to. An RVA of 0 means that it is in the file alone."""
        size = min(size, _MAX_DEBUG_DATA)
        if rva:
            found = self.located(rva)
            if found is None:
                return b""
            buffer, start, end = found
            return bytes(buffer[start : min(start + size, end)])
        if self.mapped or not raw_offset:
            return b""
        start = self.base_offset + raw_offset
        return bytes(self.buffer[start : start + size])

    # --- COFF symbols -----------------------------------------------------------------

    def coff_symbols(self) -> tuple[int, int, int] | None:
        """The file's COFF symbol table: (offset in the buffer, entries, string table's offset).

        None in memory, where it is not, and if there is none or not all of it is held.
        """
        strings = self._strings_offset()
        if strings is None or not self._symbol_count:
            return None
        return self.base_offset + self._symbol_table, self._symbol_count, strings

    def _strings_offset(self) -> int | None:
        if self.mapped or not self._symbol_table:
            return None
        offset = self.base_offset + self._symbol_table + SYMBOL_SIZE * self._symbol_count
        return offset if offset <= len(self.buffer) else None


def _rva(section: Section) -> int:
    return section.rva


def _decimal(digits: bytes) -> int:
    return int(digits) if digits.isdigit() else 0


def _base64(digits: bytes) -> int:
    value = 0
    for digit in digits:
        place = _BASE64.find(digit)
        if place < 0:
            return 0
        value = value << 6 | place
    return value
