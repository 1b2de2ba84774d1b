"""Identifiers of files: debug ids made of build ids, checksums of debug links."""

from __future__ import annotations

from unspool.formats.codeview import CodeView
from unspool.formats.elf import SHT_NOBITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer
    from unspool.formats.elf import Elf

_CHUNK = 1 << 20
_HASHED, _HASH = 4096, 16


def debug_id(build_id: str) -> str:
    """A build id (hex) as a debug id: a GUID, `3249d99d-0c40-4931-8610-f4e4fb0b6936`.

    The build id's first 16 bytes, filled up with zeros, are taken for a GUID as Windows
    stores it: a 32-bit and two 16-bit little-endian numbers, then eight bytes. The rest of
    the build id is dropped, and there is no age. Raises `ValueError` if it is no hex string.
    """
    return CodeView("", bytes.fromhex(build_id)[:16].ljust(16, b"\0"), 0).debug_id


def store_id(debug_id: str) -> str:
    """A debug id as Breakpad and symbol stores write it: `3249D99D0C4049318610F4E4FB0B69361`.

    An age of 0, which debug ids leave out, is written. "" of what is empty.
    """
    digits = debug_id.replace("-", "")
    return digits[:32].upper() + (digits[32:].lower() or "0") if digits else ""


def code_hash(elf: Elf) -> bytes:
    """What Breakpad takes for the id of a file without a build id: its first page of .text, 16
    bytes at a time combined by exclusive or; empty if there is none.

    It also takes what follows .text up to a multiple of 16 bytes (common/linux/file_id.cc), and
    so does LLDB to compare.
    """
    section = elf.section(".text")
    if section is None or section.type == SHT_NOBITS:
        return b""
    size = -(-min(section.size, _HASHED) // _HASH) * _HASH
    code = bytes(elf.buffer[section.offset : section.offset + size]).ljust(size, b"\0")
    value = 0
    for at in range(0, size, _HASH):
        value ^= int.from_bytes(code[at : at + _HASH], "little")
    return value.to_bytes(_HASH, "little")


def link_checksum(buffer: Buffer) -> int:
    """The CRC-32 of a whole file, as .gnu_debuglink holds it of the debug file."""
    from zlib import crc32

    result = 0
    for start in range(0, len(buffer), _CHUNK):
        result = crc32(buffer[start : start + _CHUNK], result)
    return result
