"""A running process's memory as it is at the moment of reading.

For what does not change while anybody looks: headers of images, the Windows loader's list. A
stack is never read this way.
"""

from __future__ import annotations

import os

from unspool.memory import Fault, Memory

_LARGEST_READ, _MOST_KEPT = 64 << 10, 64 << 20


class ProcessMemory(Memory):
    """Reads through `descriptor`, of /proc/PID/mem. It has no regions and no windows."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def read_available(self, address: int, size: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, address)
        except (OSError, OverflowError, ValueError):
            return b""

    def peek(self, address: int, size: int) -> bytes:
        return ProcessMemory.read_available(self, address, size)

    def read(self, address: int, size: int) -> bytes:
        data = self.read_available(address, size)
        if len(data) < size:
            raise Fault(address + len(data), size - len(data))
        return data


class KeptMemory(ProcessMemory):
    """The same, that remembers what was read, for a minidump: read again it may be another.

    Large reads are searches, and are left out.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.pieces_read: list[tuple[int, bytes]] = []
        self._room = _MOST_KEPT

    def read_available(self, address: int, size: int) -> bytes:
        data = super().read_available(address, size)
        if 0 < len(data) <= min(_LARGEST_READ, self._room):
            self._room -= len(data)
            self.pieces_read.append((address, data))
        return data


def memory_ended(memory: int) -> bool:
    """Whether a descriptor of a process's memory belongs to a program that is no more.

    Reads are at an end then; of memory that there is, reading what is not mapped fails.
    """
    try:
        return not os.pread(memory, 1, 0)
    except OSError:
        return False
