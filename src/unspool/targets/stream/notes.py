"""The notes of a core as the kernel writes it down a pipe; nothing behind them is read.

fs/binfmt_elf.c writes, in this order: the ELF header, the program headers, that of the notes
first, then the notes, then all of the process's memory. What reads the notes alone and waits
with the rest leaves the kernel writing, and the process there to be looked at.
"""

from __future__ import annotations

import os
from struct import Struct, error

from unspool.errors import InputError
from unspool.formats.elf import PT_NOTE, is_elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

# The kernel itself limits a process to 65,530 mappings; sysctl vm.max_map_count raises that.
_MOST_BEFORE_NOTES = 128 << 20
_MOST_NOTES = 1 << 30
_MOST_KEPT = 256 << 20
_MOST_IN_ONE = 64 << 20
_CHUNK = 64 << 10

# e_phoff, e_shoff; e_phentsize, e_phnum, e_shentsize, e_shnum of each class, and a program
# header: where its fields p_offset and p_filesz are.
_OFFSETS = {1: (Struct("<II"), 28), 2: (Struct("<QQ"), 32)}
_COUNTS = {1: (Struct("<4H"), 42), 2: (Struct("<4H"), 54)}
_SEGMENT = {1: Struct("<I I8x I12x"), 2: Struct("<I4x Q16x Q16x")}
_HEADER_SIZE = {1: 52, 2: 64}
_NOTE = Struct("<III")


class NoteStream:
    """The wanted notes of a core, as the bytes `buffer` of a small core that has nothing else."""

    truncated = ""

    def __init__(self, descriptor: int, wanted: Container[int], name: str) -> None:
        """Raises `InputError` if there is no core as the kernel writes it."""
        self.name = name
        self._descriptor = descriptor
        self._pending, self._at = b"", 0
        header = self._take(_HEADER_SIZE[1])
        if not is_elf(header) or len(header) < _HEADER_SIZE[1] or header[4] not in _SEGMENT:
            raise InputError(f"{name}: no core comes there", "give it to the kernel's core_pattern")
        elf_class = header[4]
        size = _HEADER_SIZE[elf_class]
        header += self._take(size - len(header))
        if len(header) < size:
            raise InputError(f"{name}: no core comes there", "give it to the kernel's core_pattern")
        segment = _SEGMENT[elf_class]
        first = _OFFSETS[elf_class][0].unpack_from(header, _OFFSETS[elf_class][1])[0]
        self._skip(first - size)
        table = self._take(segment.size)
        try:
            kind, at, length = segment.unpack(table)
        except error:
            kind = at = length = 0
        before = at - first - segment.size
        if kind != PT_NOTE or not 0 <= before <= _MOST_BEFORE_NOTES:
            raise InputError(f"{name}: a core whose notes do not come first, as the kernel's do")
        self._skip(before)
        kept = self._notes(min(length, _MOST_NOTES), wanted)
        self.buffer = _small_core(header, elf_class, bytes(table), kept)

    def _notes(self, left: int, wanted: Container[int]) -> bytes:
        """The wanted notes of the next `left` bytes, one after the other."""
        kept = bytearray()
        while left >= _NOTE.size:
            header = self._take(_NOTE.size)
            if len(header) < _NOTE.size:
                self.truncated = "the core ends inside its notes: threads are missing"
                break
            name_size, size, kind = _NOTE.unpack(header)
            rest = (name_size + 3 & ~3) + (size + 3 & ~3)
            left -= _NOTE.size + rest
            if kind in wanted and rest <= min(_MOST_IN_ONE, _MOST_KEPT - len(kept)):
                data = self._take(rest)
                if len(data) == rest:
                    kept += header + data
            elif left < 0 or not self._skip(rest):
                self.truncated = "the core ends inside its notes: threads are missing"
                break
        return bytes(kept)

    def _take(self, size: int) -> bytes:
        """The next bytes; fewer if the stream ends."""
        parts, have = [], 0
        while have < size and self._fill():
            part = self._pending[self._at : self._at + size - have]
            self._at += len(part)
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    def _skip(self, size: int) -> bool:
        """Passes over bytes; False if the stream ends before."""
        while size > 0 and self._fill():
            part = min(size, len(self._pending) - self._at)
            self._at += part
            size -= part
        return size <= 0

    def _fill(self) -> bool:
        if self._at >= len(self._pending):
            self._pending, self._at = os.read(self._descriptor, _CHUNK), 0
        return bool(self._pending)


def _small_core(header: bytes, elf_class: int, table: bytes, notes: bytes) -> bytes:
    """An ELF core of one segment: the notes."""
    changed = bytearray(header)
    segment = bytearray(table)
    offsets, at = _OFFSETS[elf_class]
    offsets.pack_into(changed, at, len(header), 0)
    counts, at = _COUNTS[elf_class]
    counts.pack_into(changed, at, len(table), 1, 0, 0)
    place = 8 if elf_class == 2 else 4
    length = 32 if elf_class == 2 else 16
    word = Struct("<Q" if elf_class == 2 else "<I")
    word.pack_into(segment, place, len(header) + len(table))
    word.pack_into(segment, length, len(notes))
    return bytes(changed + segment) + notes
