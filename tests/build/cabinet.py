"""Builds Microsoft cabinets with one file: MSZIP, and LZX in blocks that are not compressed.

[MS-CAB] and the LZX format of the cabinet SDK. Independent of what reads them.
"""

from __future__ import annotations

import zlib
from struct import pack

_BLOCK = 1 << 15
MSZIP, LZX = 1, 3
_WINDOW = 15  # LZX: 32 KiB


def cabinet(name: str, data: bytes, method: int = MSZIP) -> bytes:
    """A cabinet that holds `data` as the file `name`."""
    blocks = [data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)]
    packed = _mszip(blocks) if method == MSZIP else _lzx(blocks)
    compression = MSZIP if method == MSZIP else LZX | _WINDOW << 8
    file = pack("<IIHHHH", len(data), 0, 0, 0x5A21, 0x6000, 0x20) + name.encode() + b"\0"
    files_at = 36 + 8
    data_at = files_at + len(file)
    folder = pack("<IHH", data_at, len(blocks), compression)
    body = b"".join(
        pack("<IHH", 0, len(each), len(block)) + each
        for each, block in zip(packed, blocks, strict=True)
    )
    size = data_at + len(body)
    header = pack("<4sIIIIIBBHHHHH", b"MSCF", 0, size, 0, files_at, 0, 3, 1, 1, 1, 0, 0x1234, 0)
    return header + folder + file + body


def _mszip(blocks: list[bytes]) -> list[bytes]:
    """Each block is "CK" and deflate, with the block before as its dictionary."""
    packed = []
    before = b""
    for block in blocks:
        more = {"zdict": before} if before else {}
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, **more)  # type: ignore[arg-type]
        packed.append(b"CK" + packer.compress(block) + packer.flush())
        before = block
    return packed


def _lzx(blocks: list[bytes]) -> list[bytes]:
    """One LZX block of type 3 (not compressed) for each of the cabinet's.

    Bits come from 16-bit little-endian words, the highest first: a bit that there is no
    translation of x86 calls (in the first block alone), three bits of type, 24 of size; then
    the three offsets that matches would repeat, and the bytes.
    """
    packed = []
    for index, block in enumerate(blocks):
        bits = f"{3:03b}{len(block):024b}"
        if not index:
            bits = "0" + bits
        bits += "0" * (-len(bits) % 16 or 16)
        words = [int(bits[at : at + 16], 2) for at in range(0, len(bits), 16)]
        padding = b"\0" if len(block) % 2 else b""
        packed.append(
            b"".join(pack("<H", word) for word in words) + pack("<III", 1, 1, 1) + block + padding
        )
    return packed
