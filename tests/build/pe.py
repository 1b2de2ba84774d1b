"""Builds PE32 and PE32+ files, honest ones and lying ones, and what they are in memory.

    text = Section(".text", code, "rx")
    made = image(AMD64, [text], exports=[("run", 0x1000)], codeview=CodeView("a.pdb"))
    data, memory = made.file(), made.memory()

Sections without an `rva` follow each other from 0x1000 on, and get it when `image` is called.
Every header field can be overridden by its name in the specification: `image(...,
NumberOfSections=9)`, `Section(..., SizeOfRawData=1 << 31)`. An override changes only the
header; the file is laid out as if it were honest. `.pdata` and `.xdata` are `unwind_info.py`'s.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.build.unwind_info import runtime_functions

I386, AMD64, ARM64 = 0x14C, 0x8664, 0xAA64
EXPORT, IMPORT, RESOURCE, EXCEPTION, SECURITY, BASERELOC, DEBUG = range(7)
FUNCTION = 0x20  # a symbol's type
EXTERNAL, STATIC, LABEL, FILE, WEAK_EXTERNAL = 2, 3, 6, 103, 105
WINE_BUILTIN, WINE_PLACEHOLDER = b"Wine builtin DLL\0", b"Wine placeholder DLL\0"

_FLAGS = {"r": 0x40000000, "w": 0x80000000, "x": 0x20000020, "b": 0x80, "-": 0x02000000}
_COFF_HEADER = (
    "Machine", "NumberOfSections", "TimeDateStamp", "PointerToSymbolTable", "NumberOfSymbols",
    "SizeOfOptionalHeader", "Characteristics",
)  # fmt: skip
_SECTION_HEADER = (
    "VirtualSize", "VirtualAddress", "SizeOfRawData", "PointerToRawData", "PointerToRelocations",
    "PointerToLinenumbers", "NumberOfRelocations", "NumberOfLinenumbers", "Characteristics",
)  # fmt: skip


class Section:
    """A section. `flags` of "rwx", "b" (uninitialised data), "-" (discardable).

    `virtual_size` is that of `data` if not given; a longer one has no bytes for its end, and
    0 leaves it out of the header alone. `rva` and `offset` (in the file) are known when
    `image` has been called.
    """

    def __init__(
        self,
        name: str,
        data: bytes = b"",
        flags: str = "r",
        *,
        rva: int = 0,
        virtual_size: int | None = None,
        **lies: int,
    ) -> None:
        self.name = name
        self.data = data
        self.characteristics = 0 if "x" in flags or "b" in flags else 0x40
        for flag in flags:
            self.characteristics |= _FLAGS[flag]
        self.rva = rva
        self.virtual_size = len(data) if virtual_size is None else virtual_size
        self.lies = lies
        self.offset = 0
        self.raw_size = 0

    @property
    def size(self) -> int:
        """The size in memory."""
        return self.virtual_size or len(self.data)


class Symbol:
    """A COFF symbol: `value` in `section`, which may be a raw number (0 undefined, -1 absolute).

    `auxiliary` are 18-byte records behind it.
    """

    def __init__(
        self,
        name: str,
        value: int = 0,
        section: Section | int = 0,
        *,
        kind: int = FUNCTION,
        storage: int = EXTERNAL,
        auxiliary: Sequence[bytes] = (),
        name_offset: int | None = None,
    ) -> None:
        self.name = name.encode()
        self.value = value
        self.section = section
        self.kind = kind
        self.storage = storage
        self.auxiliary = [record.ljust(18, b"\0") for record in auxiliary]
        self.name_offset = name_offset


class CodeView:
    """The debug directory's record of a PDB file."""

    def __init__(
        self,
        path: str,
        guid: bytes = bytes(range(16)),
        age: int = 1,
        *,
        signature: bytes = b"RSDS",
        in_file_only: bool = False,
    ) -> None:
        self.record = signature + guid + struct.pack("<I", age) + path.encode() + b"\0"
        self.in_file_only = in_file_only


class Export:
    """An export; `forward` ("OTHER.Name") instead of `rva` makes it a forwarder."""

    def __init__(
        self, name: str | None, rva: int = 0, *, ordinal: int | None = None, forward: str = ""
    ) -> None:
        self.name = name
        self.rva = rva
        self.ordinal = ordinal
        self.forward = forward


class Exports:
    """An export table. Exports without an ordinal get the next one; names sort if `ordered`.

    Two exports of one ordinal are two names of the first one's address. `lies` are fields of
    the header by name.
    """

    def __init__(
        self,
        dll: str,
        exports: Sequence[Export | tuple[str, int]],
        *,
        base: int = 1,
        ordered: bool = True,
        **lies: int,
    ) -> None:
        self.dll = dll
        self.exports = [e if isinstance(e, Export) else Export(*e) for e in exports]
        self.base = base
        self.ordered = ordered
        self.lies = lies

    def build(self, rva: int) -> bytes:
        """The table's bytes if they lie at `rva`."""
        slots: dict[int, Export] = {}
        named: list[tuple[bytes, int]] = []
        count = 0
        for export in self.exports:
            ordinal = self.base + count if export.ordinal is None else export.ordinal
            slots.setdefault(ordinal, export)
            count = max(count, ordinal - self.base + 1)
            if export.name is not None:
                named.append((export.name.encode("latin-1"), ordinal - self.base))
        if self.ordered:
            named.sort()
        functions = rva + 40
        names = functions + 4 * count
        ordinals = names + 4 * len(named)
        text = _Text(ordinals + 2 * len(named))
        dll = text.add(self.dll.encode())
        addresses = [0] * count
        for ordinal, export in slots.items():
            forward = export.forward and text.add(export.forward.encode())
            addresses[ordinal - self.base] = forward or export.rva
        name_rvas = [text.add(name) for name, _ in named]
        fields = {
            "Characteristics": 0, "TimeDateStamp": 0, "Version": 0, "Name": dll,
            "Base": self.base, "NumberOfFunctions": count, "NumberOfNames": len(named),
            "AddressOfFunctions": functions, "AddressOfNames": names,
            "AddressOfNameOrdinals": ordinals,
        } | self.lies  # fmt: skip
        return (
            struct.pack("<10I", *fields.values())
            + struct.pack(f"<{count}I", *addresses)
            + struct.pack(f"<{len(named)}I", *name_rvas)
            + struct.pack(f"<{len(named)}H", *(index for _, index in named))
            + bytes(text.data)
        )


class _Text:
    def __init__(self, start: int) -> None:
        self.start = start
        self.data = bytearray()

    def add(self, text: bytes) -> int:
        at = self.start + len(self.data)
        self.data += text + b"\0"
        return at


class Image:
    """What `image` made: `file()`, `memory()`, and the sections by name."""

    def __init__(self, sections: list[Section], headers: bytes, base_at: int) -> None:
        self.sections = sections
        self.headers = headers
        self.tail = b""  # the symbol table
        self.size_of_image = 0
        self.flat = False
        self.pointer_size = 8
        self._base_at = base_at

    def __getitem__(self, name: str) -> Section:
        return next(section for section in self.sections if section.name == name)

    def file(self) -> bytes:
        out = bytearray(self.headers)
        for section in self.sections:
            if section.data:
                out += bytes(max(section.offset - len(out), 0))
                out[section.offset :] = section.data.ljust(section.raw_size, b"\0")
        return bytes(out) + self.tail

    def memory(self, base: int | None = None, *, rebased: bool = False) -> bytes:
        """The image as a loader maps it. Nothing in it is relocated.

        `rebased` writes `base` into the header, as Windows and newer versions of Wine do;
        Wine 8 leaves the preferred address there.
        """
        out = bytearray(self.size_of_image)
        if self.flat:
            data = self.file()[: len(out)]
            out[: len(data)] = data
        out[: len(self.headers)] = self.headers
        for section in self.sections:
            data = section.data[: section.size if self.flat else _up(section.size, 0x1000)]
            out[section.rva : section.rva + len(data)] = data
        if rebased and base is not None:
            size = self.pointer_size
            out[self._base_at : self._base_at + size] = base.to_bytes(size, "little")
        return bytes(out)


def image(
    machine: int = AMD64,
    sections: Sequence[Section] = (),
    *,
    exports: Exports | Sequence[Export | tuple[str, int]] | None = None,
    codeview: CodeView | None = None,
    functions: Sequence[tuple[int, int, int]] | None = None,
    symbols: Sequence[Symbol] = (),
    directories: dict[int, tuple[int, int] | Section] | None = None,
    timestamp: int = 0x5F5E100F,
    image_base: int | None = None,
    dll: bool = True,
    entry: int = 0,
    checksum: int = 0,
    section_alignment: int = 0x1000,
    file_alignment: int = 0x200,
    stub: bytes = b"",
    **lies: int,
) -> Image:
    """A PE file. `functions` are RUNTIME_FUNCTIONs (begin, end, unwind info; all RVAs).

    Sections .edata, .buildid and .pdata are added for `exports`, `codeview` and `functions`.
    `stub` follows the DOS header at 0x40 (`WINE_BUILTIN`). `directories` sets data
    directories by index, to (RVA, size) or to a section's.
    """
    layout = _Layout(section_alignment, file_alignment, len(sections))
    placed = [layout.place(section) for section in sections]
    found: dict[int, tuple[int, int] | Section] = {}
    if functions is not None:
        made = Section(".pdata", runtime_functions(functions))
        placed.append(layout.place(made))
        found[EXCEPTION] = made
    if exports is not None:
        if not isinstance(exports, Exports):
            exports = Exports("image.dll", exports)
        made = Section(".edata", exports.build(layout.next_rva))
        placed.append(layout.place(made))
        found[EXPORT] = made
    if codeview is not None:
        made = layout.place(Section(".buildid", bytes(28) + codeview.record))
        made.data = _debug_entry(codeview, made) + codeview.record
        placed.append(made)
        found[DEBUG] = made.rva, 28
    found |= directories or {}
    is_64 = lies.get("Magic", 0x10B if machine == I386 else 0x20B) == 0x20B
    strings = _Text(4)
    table = b"".join(_symbol(symbol, placed, strings) for symbol in symbols)
    names = [_section_name(section.name, strings) for section in placed]
    end = max([s.offset + s.raw_size for s in placed], default=layout.headers)
    values: dict[str, int] = {
        "e_lfanew": 0x80, "Machine": machine, "NumberOfSections": len(placed),
        "TimeDateStamp": timestamp, "PointerToSymbolTable": end if strings.data or table else 0,
        "NumberOfSymbols": len(table) // 18, "SizeOfOptionalHeader": 240 if is_64 else 224,
        "Characteristics": (0x22 if is_64 else 0x102) | 0x2000 * dll,
        "Magic": 0x20B if is_64 else 0x10B,
        "AddressOfEntryPoint": entry, "SectionAlignment": section_alignment,
        "ImageBase": image_base or (0x180000000 if is_64 else 0x10000000),
        "FileAlignment": file_alignment, "SizeOfImage": layout.next_rva,
        "SizeOfHeaders": layout.headers, "CheckSum": checksum, "DllCharacteristics": 0,
        "NumberOfRvaAndSizes": 16,
    } | lies  # fmt: skip
    headers = _nt_headers(values, is_64, found) + b"".join(
        _section_header(section, name) for section, name in zip(placed, names, strict=True)
    )
    dos = struct.pack("<2s58xI", b"MZ", values["e_lfanew"]) + stub.ljust(0x40, b"\0")
    made_image = Image(placed, (dos + headers).ljust(layout.headers, b"\0"), 0x98 + 28 - 4 * is_64)
    if values["PointerToSymbolTable"]:
        made_image.tail = table + struct.pack("<I", 4 + len(strings.data)) + bytes(strings.data)
    made_image.size_of_image = layout.next_rva
    made_image.flat = section_alignment < 0x1000
    made_image.pointer_size = 8 if is_64 else 4
    return made_image


class _Layout:
    """Where sections go. With an alignment of less than a page, file offsets are RVAs."""

    def __init__(self, section_alignment: int, file_alignment: int, count: int) -> None:
        self.section_alignment = section_alignment
        self.file_alignment = file_alignment
        # Three more for those that `image` adds; the largest optional header.
        self.headers = _up(0x80 + 24 + 240 + 40 * (count + 3), file_alignment)
        self.next_rva = _up(self.headers, section_alignment)
        self.next_offset = self.headers

    def place(self, section: Section) -> Section:
        section.rva = section.rva or self.next_rva
        end = _up(section.rva + section.size, self.section_alignment)
        self.next_rva = max(self.next_rva, end)
        if section.data:
            flat = self.section_alignment < 0x1000
            section.offset = section.rva if flat else self.next_offset
            section.raw_size = _up(len(section.data), self.file_alignment)
            self.next_offset = section.offset + section.raw_size
        return section


def _nt_headers(
    values: dict[str, int], is_64: bool, directories: dict[int, tuple[int, int] | Section]
) -> bytes:
    word, padding = ("Q", "") if is_64 else ("I", "4x")
    raw = struct.pack("<4sHHIIIHH", b"PE", *(values[name] for name in _COFF_HEADER))
    raw += struct.pack(
        f"<H14xI4x{padding}{word}II16xIII2xH4{word}4xI",
        values["Magic"], values["AddressOfEntryPoint"], values["ImageBase"],
        values["SectionAlignment"], values["FileAlignment"], values["SizeOfImage"],
        values["SizeOfHeaders"], values["CheckSum"], values["DllCharacteristics"],
        1 << 20, 1 << 12, 1 << 20, 1 << 12, values["NumberOfRvaAndSizes"],
    )  # fmt: skip
    for index in range(16):
        where = directories.get(index, (0, 0))
        if isinstance(where, Section):
            where = where.rva, len(where.data)
        raw += struct.pack("<II", *where)
    return raw


def _section_header(section: Section, name: bytes) -> bytes:
    values = dict.fromkeys(_SECTION_HEADER, 0) | {
        "VirtualSize": section.virtual_size, "VirtualAddress": section.rva,
        "SizeOfRawData": section.raw_size, "PointerToRawData": section.offset,
        "Characteristics": section.characteristics,
    } | section.lies  # fmt: skip
    return struct.pack("<8s6IHHI", name, *(values[field] for field in _SECTION_HEADER))


def _section_name(name: str, strings: _Text) -> bytes:
    raw = name.encode()
    return raw if len(raw) <= 8 else b"/%d" % strings.add(raw)


def _symbol(symbol: Symbol, sections: Sequence[Section], strings: _Text) -> bytes:
    section = symbol.section
    number = sections.index(section) + 1 if isinstance(section, Section) else section
    name = symbol.name.ljust(8, b"\0")
    if len(symbol.name) > 8 or symbol.name_offset is not None:
        offset = strings.add(symbol.name) if symbol.name_offset is None else symbol.name_offset
        name = struct.pack("<II", 0, offset)
    rest = struct.pack(
        "<IhHBB", symbol.value, number, symbol.kind, symbol.storage, len(symbol.auxiliary)
    )
    return name + rest + b"".join(symbol.auxiliary)


def _debug_entry(codeview: CodeView, section: Section) -> bytes:
    rva = 0 if codeview.in_file_only else section.rva + 28
    return struct.pack("<12xIIII", 2, len(codeview.record), rva, section.offset + 28)


def _up(value: int, alignment: int) -> int:
    return value + -value % alignment
