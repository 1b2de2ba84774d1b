"""Reads the headers and notes of an ELF core, and writes a core with other memory."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

PT_LOAD, PT_NOTE = 1, 4
NT_FILE = 0x46494C45
# Registers, names, signal, auxiliary vector, files, i386's segments and what aarch64 masks of
# signed addresses; none of vector registers.
NOTES = {1, 3, 6, 0x53494749, NT_FILE, 0x200, 0x406}


@dataclass(frozen=True)
class Segment:
    """A PT_LOAD: where it lies in memory, and what of it the core holds."""

    address: int
    size: int
    flags: int
    offset: int
    held: int


@dataclass(frozen=True)
class Piece:
    """A segment to write. `data` are ranges of bytes by address; the bytes between are zero.

    The core will hold the segment from its start to the last of these bytes.
    """

    address: int
    size: int
    flags: int
    data: Sequence[tuple[int, bytes]] = ()

    @property
    def held(self) -> int:
        """How many bytes of the segment the core is to hold."""
        return max((at + len(data) for at, data in self.data), default=self.address) - self.address


class CoreFile:
    """A core as the kernel writes it."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.header = file.read(64)
            self.is_64 = self.header[4] == 2
            count = struct.unpack_from("<H", self.header, 56 if self.is_64 else 44)[0]
            phoff = struct.unpack_from("<Q" if self.is_64 else "<I", self.header, self._phoff)[0]
            file.seek(phoff)
            rows = [self._program_header(file.read(self._row.size)) for _ in range(count)]
            self.segments = [Segment(*row[1:]) for row in rows if row[0] == PT_LOAD]
            note = next(row for row in rows if row[0] == PT_NOTE)
            file.seek(note[4])
            self.notes = list(notes(file.read(note[5])))

    @property
    def _row(self) -> struct.Struct:
        return struct.Struct("<IIQQQQQQ" if self.is_64 else "<IIIIIIII")

    @property
    def _phoff(self) -> int:
        return 32 if self.is_64 else 28

    def _program_header(self, raw: bytes) -> tuple[int, int, int, int, int, int]:
        """Kind, address, size in memory, flags, offset, size in the file."""
        if self.is_64:
            kind, flags, offset, address, _, held, size, _ = self._row.unpack(raw)
        else:
            kind, offset, address, _, held, size, flags, _ = self._row.unpack(raw)
        return kind, address, size, flags, offset, held

    def write(self, path: Path, pieces: Sequence[Piece], below: str) -> None:
        """A core of the same process with this memory.

        `below` is put in front of the paths of its files: a directory that does not exist.
        """
        kept = [(n, kind, renamed(d, self.is_64, below) if kind == NT_FILE else d)
                for n, kind, d in self.notes if kind in NOTES]  # fmt: skip
        raw = b"".join(note(*each) for each in kept)
        header_size = 64 if self.is_64 else 52
        start = header_size + self._row.size * (len(pieces) + 1)
        rows = [self._written(PT_NOTE, 0, 0, 0, start, len(raw))]
        offset = start + len(raw)
        placed = []
        for piece in pieces:
            rows.append(
                self._written(PT_LOAD, piece.address, piece.size, piece.flags, offset, piece.held)
            )
            placed.append(offset)
            offset += piece.held
        header = bytearray(self.header[:header_size])
        struct.pack_into("<Q" if self.is_64 else "<I", header, self._phoff, header_size)
        struct.pack_into("<H", header, 56 if self.is_64 else 44, len(rows))
        with path.open("wb") as file:
            file.write(bytes(header) + b"".join(rows) + raw)
            for piece, at in zip(pieces, placed, strict=True):
                for address, data in piece.data:
                    file.seek(at + address - piece.address)
                    file.write(data)
            os.ftruncate(file.fileno(), offset)

    def _written(
        self, kind: int, address: int, size: int, flags: int, offset: int, held: int
    ) -> bytes:
        if self.is_64:
            return self._row.pack(kind, flags, offset, address, 0, held, size, 1)
        return self._row.pack(kind, offset, address, 0, held, size, flags, 1)


def notes(raw: bytes) -> Iterable[tuple[bytes, int, bytes]]:
    """Name, type and contents of each note."""
    at = 0
    while at + 12 <= len(raw):
        name_size, size, kind = struct.unpack_from("<III", raw, at)
        start = at + 12 + (name_size + 3 & -4)
        yield raw[at + 12 : at + 12 + name_size], kind, raw[start : start + size]
        at = start + (size + 3 & -4)


def note(name: bytes, kind: int, contents: bytes) -> bytes:
    padded = contents + bytes(-len(contents) % 4)
    return (
        struct.pack("<III", len(name), len(contents), kind) + name + bytes(-len(name) % 4) + padded
    )


def renamed(contents: bytes, is_64: bool, below: str) -> bytes:
    """NT_FILE with other paths: count, page size, three words for each file, the paths."""
    word = 8 if is_64 else 4
    count = int.from_bytes(contents[:word], "little")
    names = (2 + 3 * count) * word
    paths = contents[names:].split(b"\0")[:count]
    moved = [below.encode() + path if path[:1] == b"/" else path for path in paths]
    return contents[:names] + b"".join(path + b"\0" for path in moved)
