"""What is kept of a process's memory: ranges as they are, and tables that were made shorter."""

from __future__ import annotations

from collections.abc import Iterator

from unspool.memory import Memory

from .ranges import Ranges


class Kept:
    """`whole` are ranges that no segment of the reduced core may end in."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.ranges = Ranges()
        self.whole = Ranges()
        self.patches: dict[int, bytes] = {}

    def keep(self, address: int, size: int) -> bytes:
        """Keeps what is readable of a range; gives its bytes."""
        data = self.memory.read_available(address, size)
        self.ranges.add(address, address + len(data))
        return data

    def replace(self, address: int, data: bytes, size: int) -> None:
        """Keeps a table of `size` bytes as `data` and zeros."""
        assert len(data) <= size, f"the table at 0x{address:x} has become longer"
        self.patches[address] = data.ljust(size, b"\0")

    def used(self) -> Ranges:
        """All addresses that are kept."""
        patched = ((at, at + len(data)) for at, data in self.patches.items())
        return Ranges([*self.ranges, *patched])

    def contents(self, low: int, high: int) -> Iterator[tuple[int, bytes]]:
        """The bytes to keep of `[low, high)`, by address; later ones replace earlier ones."""
        for start, end in self.ranges.inside(low, high):
            yield start, self.memory.read(start, end - start)
        for address, data in self.patches.items():
            start, end = max(address, low), min(address + len(data), high)
            if start < end:
                yield start, data[start - address : end - address]
