"""Compressed data: by the libraries, and by hand where no library would write such a thing.

`zstd_frame` follows RFC 8878 and needs no library, so that a frame can say anything.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from collections.abc import Iterable

import pytest

from tests.build.core import Core

KINDS = ("zstd", "lz4", "xz", "gzip")
ZSTD_MAGIC = 0xFD2FB528


def compress(kind: str, data: bytes) -> bytes:
    """One member with a checksum of its content. Skips the test if the library is missing."""
    if kind == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if kind == "xz":
        return lzma.compress(data, preset=1)
    if kind == "lz4":
        frame = pytest.importorskip("lz4.frame")
        packed: bytes = frame.compress(data, content_checksum=True)
        return packed
    return _zstd(data)


def _zstd(data: bytes) -> bytes:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        zstandard = pytest.importorskip("zstandard")
        packed: bytes = zstandard.ZstdCompressor(write_checksum=True).compress(data)
        return packed
    options = {zstd.CompressionParameter.checksum_flag: 1}
    result: bytes = zstd.compress(data, options=options)
    return result


def skippable(content: bytes, index: int = 0) -> bytes:
    """A frame without content of its own, as zstd and lz4 have it (RFC 8878, 3.1.2)."""
    return struct.pack("<II", 0x184D2A50 + index, len(content)) + content


def zstd_frame(blocks: Iterable[bytes], *, window: int = 17 << 3, last: bool = True) -> bytes:
    """A frame without content size and checksum. `window` is the descriptor's byte:
    exponent - 10 in its upper five bits; 17 << 3 says 128 MiB."""
    packed = list(blocks)
    if last and packed:
        packed[-1] = bytes([packed[-1][0] | 1]) + packed[-1][1:]
    return struct.pack("<IBB", ZSTD_MAGIC, 0, window) + b"".join(packed)


def zstd_raw(content: bytes) -> bytes:
    """A block that holds its content as it is; at most 128 KiB."""
    return (len(content) << 3).to_bytes(3, "little") + content


def zstd_repeat(byte: int, count: int) -> bytes:
    """A block of `count` times the same byte; at most 128 KiB in four bytes."""
    return (count << 3 | 1 << 1).to_bytes(3, "little") + bytes([byte])


def xz_dictionary(data: bytes, size_code: int) -> bytes:
    """`data` as xz, its header telling another dictionary size (38 is 2 GiB, 40 is 4 GiB - 1).

    The .xz file format, 5.3.1: LZMA2's only property byte, here the first filter's.
    """
    packed = bytearray(lzma.compress(data, preset=1))
    start = 12  # the stream header
    length = (packed[start] + 1) * 4
    assert packed[start + 2 : start + 4] == b"\x21\x01", "LZMA2 is the first filter"
    packed[start + 4] = size_code
    checked = packed[start : start + length - 4]
    packed[start + length - 4 : start + length] = zlib.crc32(checked).to_bytes(4, "little")
    return bytes(packed)


def mixed(size: int) -> bytes:
    """Bytes with long runs of zeros, text and noise, the same every time."""
    noise = bytes(index * index * 31 >> 7 & 0xFF for index in range(9001))
    unit = noise + bytes(40_000) + b"stack of a thread " * 300 + bytes(3)
    return (unit * (size // len(unit) + 1))[:size]


def core_of(size: int) -> bytes:
    """An ELF header and one program header that tells of `size` bytes in the file."""
    core = Core("x86_64")
    core.load(0x10000, bytes(16), flags="rw")
    head = core.build()
    image = bytearray(head[:4096])
    entry = 64 + (image[56] - 1) * 56  # the last program header
    offset = int.from_bytes(image[entry + 8 : entry + 16], "little")
    image[entry + 32 : entry + 40] = (size - offset).to_bytes(8, "little")
    return bytes(image)
