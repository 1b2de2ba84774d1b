"""Notes what is read of a target's memory.

What is read through a window's buffer is not noted: stacks, unwind tables and headers. They are
kept by what they are, see `selection`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

from unspool.memory import Memory
from unspool.pe_image import PeImage

# More than that is a search, or a table that is kept in another way.
LARGEST = 16 << 10


class Reads:
    """`ranges` are (address, size) of all reads; `exports` the names that were looked up."""

    def __init__(self) -> None:
        self.ranges: set[tuple[int, int]] = set()
        self.exports: set[tuple[int, str]] = set()


@contextlib.contextmanager
def recording() -> Iterator[Reads]:
    """Notes all reads while the body runs."""
    reads = Reads()
    read, read_available, export = Memory.read, Memory.read_available, PeImage.export

    def noted_read(self: Memory, address: int, size: int) -> bytes:
        data = read(self, address, size)
        if size <= LARGEST:
            reads.ranges.add((address, size))
        return data

    def noted_read_available(self: Memory, address: int, size: int) -> bytes:
        data = read_available(self, address, size)
        if len(data) <= LARGEST:
            reads.ranges.add((address, len(data)))
        return data

    def noted_export(self: PeImage, name: str) -> int | None:
        reads.exports.add((self.base, name))
        return export(self, name)

    with (
        patch.object(Memory, "read", noted_read),
        patch.object(Memory, "read_available", noted_read_available),
        patch.object(PeImage, "export", noted_export),
    ):
        yield reads
