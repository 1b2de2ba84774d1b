"""The memory that a core holds, read by pyelftools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from elftools.elf.elffile import ELFFile


def core_bytes(core: Path, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """The parts of `ranges` (starts and sizes) that are in the core, with their addresses."""
    with core.open("rb") as stream:
        segments = [
            (s.header.p_vaddr, s.header.p_filesz, s.header.p_offset)
            for s in ELFFile(stream).iter_segments("PT_LOAD")
        ]
        length = core.stat().st_size
        for start, size in ranges:
            for address, held, offset in segments:
                first = max(start, address)
                last = min(start + size, address + held, address + length - offset)
                if first < last:
                    stream.seek(offset + first - address)
                    yield first, stream.read(last - first)
