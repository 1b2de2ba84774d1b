"""Files that say nothing but the names of some functions: debug files of a few hundred bytes."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

from unspool.formats.pe import MACHINE_I386, Pe

FUNCTION, EXTERNAL = 0x20, 2
SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_NOBITS = 2, 3, 7, 8


def pe_debug_file(headers: Pe, raw: bytes, names: Mapping[int, str]) -> bytes:
    """A PE file with a COFF symbol table and nothing in its sections.

    `raw` are the module's headers; `names` are functions by RVA, as people read them.
    """
    (start,) = struct.unpack_from("<I", raw, 60)
    (optional,) = struct.unpack_from("<H", raw, start + 20)
    table = start + 24 + optional
    end = table + 40 * len(headers.sections)
    data = bytearray(raw[:end])
    for index, section in enumerate(headers.sections):
        at = table + 40 * index
        # A name behind a slash is in the string table of the file that it comes from.
        if section.name.startswith("/") or data[at : at + 1] == b"/":
            data[at : at + 8] = b".s%-6d" % index
        struct.pack_into("<II", data, at + 16, 0, 0)
    strings = bytearray(4)
    symbols = b""
    for rva, name in sorted(names.items()):
        section = headers.section_at(rva)
        assert section is not None, hex(rva)
        number = headers.sections.index(section) + 1
        written = f"_{name}" if headers.machine == MACHINE_I386 else name
        symbols += struct.pack(
            "<IIIhHBB", 0, len(strings), rva - section.rva, number, FUNCTION, EXTERNAL, 0
        )
        strings += written.encode() + b"\0"
    struct.pack_into("<I", strings, 0, len(strings))
    struct.pack_into("<II", data, start + 12, end, len(names))
    return bytes(data) + symbols + strings


def elf_debug_file(
    is_64: bool, machine: int, build_id: str, names: Mapping[int, tuple[str, int]]
) -> bytes:
    """An ELF file with a build id and a symbol table.

    `names` are functions and their sizes by file address.
    """
    identity = bytes.fromhex(build_id)
    note = struct.pack("<III", 4, len(identity), 3) + b"GNU\0" + identity
    strings = b"\0"
    symbols = bytes(24 if is_64 else 16)
    for address, (name, size) in sorted(names.items()):
        place = len(strings)
        strings += name.encode() + b"\0"
        kind = 0x12  # a global function
        if is_64:
            symbols += struct.pack("<IBBHQQ", place, kind, 0, 2, address, size)
        else:
            symbols += struct.pack("<IIIBBH", place, address, size, kind, 0, 2)
    low = min(names)
    high = max(address + size for address, (_, size) in names.items())
    sections = [
        (b"", 0, 0, 0, b"", 0, 0),
        (b".note.gnu.build-id", SHT_NOTE, 2, 0, note, 0, 0),
        (b".text", SHT_NOBITS, 6, low, high - low, 0, 0),
        (b".symtab", SHT_SYMTAB, 0, 0, symbols, 4, 24 if is_64 else 16),
        (b".strtab", SHT_STRTAB, 0, 0, strings, 0, 0),
    ]
    return elf_file(is_64, machine, sections)


def elf_file(
    is_64: bool, machine: int, sections: list[tuple[bytes, int, int, int, bytes | int, int, int]]
) -> bytes:
    """A file of (name, type, flags, address, contents or size, link, size of an entry)."""
    names = b"".join(each[0] + b"\0" for each in sections) + b".shstrtab\0"
    sections = [*sections, (b".shstrtab", SHT_STRTAB, 0, 0, names, 0, 0)]
    body = b""
    start = 64 if is_64 else 52
    rows = b""
    at = 0
    for name, kind, flags, address, contents, link, entry in sections:
        size = contents if isinstance(contents, int) else len(contents)
        fields = (
            at,
            kind,
            flags,
            address,
            start + len(body),
            size,
            link,
            3 * (kind == 2),
            1,
            entry,
        )
        rows += struct.pack("<IIQQQQIIQQ" if is_64 else "<10I", *fields)
        at += len(name) + 1
        if not isinstance(contents, int):
            body += contents + bytes(-len(contents) % 8)
    ident = b"\x7fELF" + bytes((2 if is_64 else 1, 1, 1)) + bytes(9)
    header = struct.pack(
        "<HHIQQQIHHHHHH" if is_64 else "<HHIIIIIHHHHHH",
        3, machine, 1, 0, 0, start + len(body), 0, start, 56 if is_64 else 32, 0,
        64 if is_64 else 40, len(sections), len(sections) - 1,
    )  # fmt: skip
    return ident + header + body + rows


def packed(files: Mapping[str, bytes]) -> bytes:
    """A .tar.xz of files, the same for the same files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return lzma.compress(archive.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = tar.extractfile(member)
            assert data is not None
            path.write_bytes(data.read())
