"""Builds little-endian ELF files, honest ones and lying ones.

    image = Elf(64, machine=EM_X86_64)
    text = image.section(".text", data=code, address=0x1000, flags="ax")
    image.load([text], flags="rx")
    image.symbols([Symbol("main", 0x1000, 16, section=text)])
    data = image.build()

Every header field can be overridden by its name in the specification: `Elf(e_phnum=9)`,
`section(..., sh_size=1 << 60)`, `segment(..., p_filesz=...)`. An override changes only
the header; the file is laid out as if it were honest.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Sequence

from tests.build.notes import note

EM_386, EM_ARM, EM_X86_64, EM_AARCH64 = 3, 40, 62, 183
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR, PT_TLS = 1, 2, 3, 4, 6, 7
PT_GNU_EH_FRAME = 0x6474E550
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_DYNAMIC, SHT_NOTE, SHT_NOBITS = 1, 2, 3, 6, 7, 8
SHT_DYNSYM = 11
SHF_COMPRESSED = 0x800
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE, STT_GNU_IFUNC = 0, 1, 2, 3, 4, 10
SHN_ABS = 0xFFF1
PN_XNUM, SHN_LORESERVE, SHN_XINDEX = 0xFFFF, 0xFF00, 0xFFFF
PAGE = 0x1000

_SECTION_FLAGS = {"w": 1, "a": 2, "x": 4}
_SEGMENT_FLAGS = {"x": 1, "w": 2, "r": 4}
_HEADER_FIELDS = (
    "e_type", "e_machine", "e_version", "e_entry", "e_phoff", "e_shoff", "e_flags", "e_ehsize",
    "e_phentsize", "e_phnum", "e_shentsize", "e_shnum", "e_shstrndx",
)  # fmt: skip
_PHDR64 = ("p_type", "p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align")
_PHDR32 = ("p_type", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_flags", "p_align")
_SHDR = (
    "sh_name", "sh_type", "sh_flags", "sh_addr", "sh_offset", "sh_size", "sh_link", "sh_info",
    "sh_addralign", "sh_entsize",
)  # fmt: skip


class Symbol:
    """One entry of a symbol table; `section` is a Section, or a raw index such as SHN_ABS."""

    def __init__(
        self,
        name: str | bytes,
        value: int,
        size: int = 0,
        *,
        section: Section | int = 0,
        bind: int = STB_GLOBAL,
        kind: int = STT_FUNC,
        other: int = 0,
        name_offset: int | None = None,
    ) -> None:
        self.name = name.encode() if isinstance(name, str) else name
        self.value = value
        self.size = size
        self.section = section
        self.bind = bind
        self.kind = kind
        self.other = other
        self.name_offset = name_offset


class Section:
    """A section to be laid out; `offset` is known after `build`."""

    def __init__(
        self, name: str, kind: int, data: bytes, address: int, align: int, lies: dict[str, int]
    ) -> None:
        self.name = name
        self.kind = kind
        self.data = data
        self.address = address
        self.align = align
        self.fields: dict[str, int] = {}
        self.lies = lies
        self.offset = 0
        self.index = 0
        self.link: Section | None = None
        self.nobits_size: int | None = None

    @property
    def size(self) -> int:
        return len(self.data) if self.nobits_size is None else self.nobits_size


class Segment:
    """A program header; its bytes are its own `data` or those of consecutive sections."""

    def __init__(self, kind: int, flags: int, lies: dict[str, int]) -> None:
        self.kind = kind
        self.flags = flags
        self.lies = lies
        self.data = b""
        self.sections: list[Section] = []
        self.address = 0
        self.filesz: int | None = None
        self.memsz: int | None = None
        self.align = PAGE
        self.offset: int | None = None
        self.placed = 0


class Elf:
    """An ELF file in the making. `lies` overrides fields of the file header."""

    def __init__(
        self, bits: int = 64, machine: int = EM_X86_64, kind: int = ET_DYN, **lies: int
    ) -> None:
        self.bits = bits
        self.machine = machine
        self.kind = kind
        self.lies = lies
        self.ident = bytes([0x7F, 0x45, 0x4C, 0x46, 1 if bits == 32 else 2, 1, 1, 0]) + bytes(8)
        self._sections: list[Section] = []
        self._segments: list[Segment] = []
        self.segments_first = True  # data of segments before that of sections

    # --- sections ---------------------------------------------------------------------

    def section(
        self,
        name: str,
        kind: int = SHT_PROGBITS,
        data: bytes = b"",
        *,
        address: int = 0,
        flags: str = "",
        align: int = 1,
        entry_size: int = 0,
        link: Section | None = None,
        info: int = 0,
        compress: str = "",
        **lies: int,
    ) -> Section:
        """Adds a section. `flags` of "awx"; `compress` is "zlib", "zstd" or "gnu" (.zdebug)."""
        bits = sum(_SECTION_FLAGS[letter] for letter in flags)
        if compress == "gnu":
            name = name.replace(".debug", ".zdebug")
            data = b"ZLIB" + len(data).to_bytes(8, "big") + zlib.compress(data)
        elif compress:
            data = self._chdr(compress, len(data), align) + _compress(compress, data)
            bits |= SHF_COMPRESSED
        made = Section(name, kind, data, address, align, lies)
        made.fields = {"sh_flags": bits, "sh_info": info, "sh_entsize": entry_size}
        made.link = link
        self._sections.append(made)
        made.index = len(self._sections)
        return made

    def nobits(self, name: str, size: int, address: int, flags: str = "aw") -> Section:
        made = self.section(name, SHT_NOBITS, address=address, flags=flags)
        made.nobits_size = size
        return made

    def _chdr(self, method: str, size: int, align: int) -> bytes:
        kind = {"zlib": 1, "zstd": 2}[method]
        if self.bits == 64:
            return struct.pack("<IIQQ", kind, 0, size, align)
        return struct.pack("<III", kind, size, align)

    def symbols(self, symbols: Sequence[Symbol], dynamic: bool = False, **lies: int) -> Section:
        """A .symtab with .strtab, or a .dynsym with .dynstr. Local symbols sort first."""
        symbols = sorted(symbols, key=lambda symbol: symbol.bind != STB_LOCAL)
        names, strings = {b"": 0}, bytearray(b"\0")
        for symbol in symbols:
            if symbol.name not in names:
                names[symbol.name] = len(strings)
                strings += symbol.name + b"\0"
        allocated = "a" if dynamic else ""
        table = self.section(
            ".dynstr" if dynamic else ".strtab", SHT_STRTAB, bytes(strings), flags=allocated
        )
        packed = bytearray(24 if self.bits == 64 else 16)
        for symbol in symbols:
            offset = names[symbol.name] if symbol.name_offset is None else symbol.name_offset
            where = symbol.section
            index = where.index if isinstance(where, Section) else where
            info = symbol.bind << 4 | symbol.kind
            if self.bits == 64:
                packed += struct.pack(
                    "<IBBHQQ", offset, info, symbol.other, index, symbol.value, symbol.size
                )
            else:
                packed += struct.pack(
                    "<IIIBBH", offset, symbol.value, symbol.size, info, symbol.other, index
                )
        return self.section(
            ".dynsym" if dynamic else ".symtab",
            SHT_DYNSYM if dynamic else SHT_SYMTAB,
            bytes(packed),
            align=8,
            flags=allocated,
            entry_size=24 if self.bits == 64 else 16,
            link=table,
            info=1 + sum(symbol.bind == STB_LOCAL for symbol in symbols),
            compress="",
            **lies,
        )

    def build_id(self, identity: bytes, address: int = 0, segment: bool = True) -> Section:
        """A .note.gnu.build-id section and, if wanted, its PT_NOTE."""
        made = self.section(
            ".note.gnu.build-id", SHT_NOTE, note("GNU", 3, identity),
            address=address, flags="a", align=4,
        )  # fmt: skip
        if segment:
            self.segment(PT_NOTE, [made], flags="r", align=4)
        return made

    def debug_link(self, name: str, debug_file: bytes) -> Section:
        """A .gnu_debuglink: the name, padding to four, and the CRC-32 of the debug file."""
        raw = name.encode() + b"\0"
        raw += bytes(-len(raw) % 4) + struct.pack("<I", zlib.crc32(debug_file))
        return self.section(".gnu_debuglink", data=raw, align=4)

    def mini_debug_info(self, inner: bytes) -> Section:
        """A .gnu_debugdata: an xz-compressed ELF file that holds a symbol table."""
        return self.section(".gnu_debugdata", data=lzma.compress(inner))

    def dynamic(self, entries: Sequence[tuple[int, int]], address: int) -> Section:
        """A .dynamic section (DT_NULL is added) and its PT_DYNAMIC."""
        code = "<QQ" if self.bits == 64 else "<II"
        raw = b"".join(struct.pack(code, *entry) for entry in [*entries, (0, 0)])
        made = self.section(
            ".dynamic", SHT_DYNAMIC, raw, address=address, flags="aw", align=8,
            entry_size=self.bits // 4,
        )  # fmt: skip
        self.segment(PT_DYNAMIC, [made], flags="rw", align=8)
        return made

    # --- segments ---------------------------------------------------------------------

    def segment(
        self,
        kind: int,
        content: bytes | Sequence[Section] = b"",
        *,
        address: int | None = None,
        flags: str = "r",
        offset: int | None = None,
        filesz: int | None = None,
        memsz: int | None = None,
        align: int = PAGE,
        **lies: int,
    ) -> Segment:
        """Adds a program header over its own bytes or over sections that lie in a row.

        With `offset` the bytes are not placed: the header points at what is there already.
        """
        made = Segment(kind, sum(_SEGMENT_FLAGS[letter] for letter in flags), lies)
        if isinstance(content, bytes | bytearray):
            made.data = bytes(content)
        else:
            made.sections = list(content)
            made.address = content[0].address if content else 0
        if address is not None:
            made.address = address
        made.offset, made.filesz, made.memsz, made.align = offset, filesz, memsz, align
        self._segments.append(made)
        return made

    def load(self, content: bytes | Sequence[Section], **keywords: object) -> Segment:
        return self.segment(PT_LOAD, content, **keywords)  # type: ignore[arg-type]

    # --- layout -----------------------------------------------------------------------

    def build(self) -> bytes:
        """The file. May be called once."""
        if self._sections or len(self._segments) >= PN_XNUM:
            self._add_section_names()
        header_size = 64 if self.bits == 64 else 52
        phdr_size = 56 if self.bits == 64 else 32
        out = bytearray(header_size + phdr_size * len(self._segments))
        placers = [self._place_segments, self._place_sections]
        for place in placers if self.segments_first else reversed(placers):
            place(out)
        shoff = 0
        if self._sections:
            _align(out, 8)
            shoff = len(out)
            out += self._section_headers()
        phdrs = b"".join(self._phdr(segment) for segment in self._segments)
        out[header_size : header_size + len(phdrs)] = phdrs
        out[:header_size] = self._header(header_size, phdr_size, shoff)
        return bytes(out)

    def _place_segments(self, out: bytearray) -> None:
        for segment in self._segments:
            if segment.offset is not None or segment.sections or not segment.data:
                continue
            if segment.kind == PT_LOAD:
                _congruent(out, segment.address)
            else:
                _align(out, max(segment.align, 1))
            segment.placed = len(out)
            out += segment.data

    def _place_sections(self, out: bytearray) -> None:
        for section in self._sections:
            if section.address:
                _congruent(out, section.address)
            else:
                _align(out, max(section.align, 1))
            section.offset = len(out)
            out += section.data

    def _phdr(self, segment: Segment) -> bytes:
        first = segment.sections[0] if segment.sections else None
        offset, size, memory = segment.placed, len(segment.data), len(segment.data)
        if first:
            offset = first.offset
            held = [part for part in segment.sections if part.kind != SHT_NOBITS] or [first]
            size = held[-1].offset + len(held[-1].data) - offset
            last = segment.sections[-1]
            memory = last.address + last.size - first.address
            for part in held:
                if part.offset - offset != part.address - first.address:
                    raise ValueError(f"{part.name} cannot share a segment with {first.name}")
        if segment.offset is not None:
            offset = segment.offset
        filesz = size if segment.filesz is None else segment.filesz
        memsz = max(memory, filesz) if segment.memsz is None else segment.memsz
        values = {
            "p_type": segment.kind, "p_flags": segment.flags, "p_offset": offset,
            "p_vaddr": segment.address, "p_paddr": 0, "p_filesz": filesz, "p_memsz": memsz,
            "p_align": segment.align,
        } | segment.lies  # fmt: skip
        if self.bits == 64:
            return struct.pack("<II6Q", *(values[name] for name in _PHDR64))
        return struct.pack("<8I", *(values[name] for name in _PHDR32))

    def _add_section_names(self) -> None:
        names = [section.name for section in self._sections] + [".shstrtab"]
        raw = bytearray(b"\0")
        self._name_offsets = {"": 0}
        for name in names:
            self._name_offsets.setdefault(name, len(raw))
            raw += name.encode() + b"\0"
        self.section(".shstrtab", SHT_STRTAB, bytes(raw))

    def _section_headers(self) -> bytes:
        count, segments, names = len(self._sections) + 1, len(self._segments), len(self._sections)
        null = dict.fromkeys(_SHDR, 0)
        # ELF's escape for counts that do not fit: the first section header holds them.
        null["sh_size"] = count if count >= SHN_LORESERVE else 0
        null["sh_link"] = names if names >= SHN_LORESERVE else 0
        null["sh_info"] = segments if segments >= PN_XNUM else 0
        null |= {name: self.lies[name] for name in _SHDR if name in self.lies}
        return self._shdr(null) + b"".join(map(self._section_header, self._sections))

    def _section_header(self, section: Section) -> bytes:
        values = {
            "sh_name": self._name_offsets[section.name], "sh_type": section.kind,
            "sh_addr": section.address, "sh_offset": section.offset, "sh_size": section.size,
            "sh_link": section.link.index if section.link else 0, "sh_addralign": section.align,
        }  # fmt: skip
        return self._shdr(values | section.fields | section.lies)

    def _shdr(self, values: dict[str, int]) -> bytes:
        code = "<IIQQQQIIQQ" if self.bits == 64 else "<10I"
        return struct.pack(code, *(values[name] for name in _SHDR))

    def _header(self, header_size: int, phdr_size: int, shoff: int) -> bytes:
        count, segments = len(self._sections) + 1 if shoff else 0, len(self._segments)
        values = {
            "e_type": self.kind, "e_machine": self.machine, "e_version": 1, "e_entry": 0,
            "e_phoff": header_size if segments else 0, "e_shoff": shoff, "e_flags": 0,
            "e_ehsize": header_size, "e_phentsize": phdr_size, "e_phnum": min(segments, PN_XNUM),
            "e_shentsize": 64 if self.bits == 64 else 40,
            "e_shnum": 0 if count >= SHN_LORESERVE else count,
            "e_shstrndx": SHN_XINDEX if count > SHN_LORESERVE else max(count - 1, 0),
        } | {name: value for name, value in self.lies.items() if name.startswith("e_")}  # fmt: skip
        code = "<HHIQQQIHHHHHH" if self.bits == 64 else "<HHIIIIIHHHHHH"
        return self.ident + struct.pack(code, *(values[name] for name in _HEADER_FIELDS))


def _compress(method: str, data: bytes) -> bytes:
    if method == "zlib":
        return zlib.compress(data)
    import zstandard

    return zstandard.ZstdCompressor().compress(data)


def _align(out: bytearray, alignment: int) -> None:
    out += bytes(-len(out) % alignment)


def _congruent(out: bytearray, address: int) -> None:
    """Pads so that the next byte's offset equals `address` modulo the page size."""
    out += bytes((address - len(out)) % PAGE)
