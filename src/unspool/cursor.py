"""A bounds-checked reader over bytes: integers of a byte order, LEB128, strings."""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

    Buffer = bytes | bytearray | memoryview | mmap

_U16 = Struct("<H").unpack_from
_U32 = Struct("<I").unpack_from
_U64 = Struct("<Q").unpack_from

# A 64-bit value takes ten LEB128 bytes. GNU as pads advance operands with 0x80 bytes,
# so a little more is legal; anything longer is an attack or garbage.
_MAX_LEB_BYTES = 16


class Cursor:
    """Reads little-endian values from `buffer[offset:end]`, moving `offset` forward.

    Every read past `end` raises `FormatError`; no read ever looks outside the window.
    """

    __slots__ = ("buffer", "end", "offset")

    def __init__(self, buffer: Buffer, offset: int = 0, end: int | None = None) -> None:
        size = len(buffer)
        self.buffer = buffer
        self.end = size if end is None else min(end, size)
        self.offset = offset
        if offset < 0 or offset > self.end:
            raise FormatError(f"offset 0x{offset:x}", "outside the data")

    def _advance(self, size: int) -> int:
        start = self.offset
        after = start + size
        if size < 0 or after > self.end:
            raise FormatError(f"offset 0x{start:x}", f"needs {size} bytes, data ends")
        self.offset = after
        return start

    def u8(self) -> int:
        start = self._advance(1)
        return self.buffer[start]

    def i8(self) -> int:
        value = self.u8()
        return value - 0x100 if value & 0x80 else value

    def u16(self) -> int:
        value: int = _U16(self.buffer, self._advance(2))[0]
        return value

    def i16(self) -> int:
        value = self.u16()
        return value - 0x10000 if value & 0x8000 else value

    def u32(self) -> int:
        value: int = _U32(self.buffer, self._advance(4))[0]
        return value

    def i32(self) -> int:
        value = self.u32()
        return value - 0x1_0000_0000 if value & 0x8000_0000 else value

    def u64(self) -> int:
        value: int = _U64(self.buffer, self._advance(8))[0]
        return value

    def i64(self) -> int:
        value = self.u64()
        return value - (1 << 64) if value >> 63 else value

    def unsigned(self, size: int) -> int:
        """An unsigned integer of 1, 2, 4 or 8 bytes."""
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        start = self._advance(size)
        return bytes(self.buffer[start : start + size])

    def skip(self, size: int) -> None:
        self._advance(size)

    def cstring(self, limit: int = 4096) -> bytes:
        """Bytes up to a NUL, which is consumed. Raises `FormatError` without one in `limit`."""
        start = self.offset
        stop = min(self.end, start + limit)
        raw = bytes(self.buffer[start:stop])
        length = raw.find(b"\0")
        if length < 0:
            raise FormatError(f"offset 0x{start:x}", "string without end")
        self.offset = start + length + 1
        return raw[:length]

    def uleb(self) -> int:
        """An unsigned LEB128 number (DWARF 5, 7.6)."""
        buffer, offset, end = self.buffer, self.offset, self.end
        limit = min(end, offset + _MAX_LEB_BYTES)
        result = shift = 0
        while offset < limit:
            byte = buffer[offset]
            offset += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                self.offset = offset
                return result
            shift += 7
        raise FormatError(f"offset 0x{self.offset:x}", "LEB128 number without end")

    def sleb(self) -> int:
        """A signed LEB128 number (DWARF 5, 7.6)."""
        start = self.offset
        value = self.uleb()
        bits = 7 * (self.offset - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value
