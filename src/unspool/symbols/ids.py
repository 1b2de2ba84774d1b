"""Identifiers of files: debug ids made of build ids, checksums of debug links."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

_CHUNK = 1 << 20


def debug_id(build_id: str) -> str:
    """A build id (hex) as Breakpad and symbol servers write it: a GUID and an age of 0.

    The build id's first 16 bytes, filled up with zeros, are taken for a GUID as Windows
    stores it: a 32-bit and two 16-bit little-endian numbers, then eight bytes. The rest of
    the build id is dropped. Raises `ValueError` if it is no hex string.
    """
    raw = bytes.fromhex(build_id)[:16].ljust(16, b"\0")
    guid = raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]
    return guid.hex().upper() + "0"


def link_checksum(buffer: Buffer) -> int:
    """The CRC-32 of a whole file, as .gnu_debuglink holds it of the debug file."""
    from zlib import crc32

    result = 0
    for start in range(0, len(buffer), _CHUNK):
        result = crc32(buffer[start : start + _CHUNK], result)
    return result
