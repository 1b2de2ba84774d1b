"""The dumps that the page is tested with."""

from __future__ import annotations

import struct

from tests.build.minidump import Block, List, Minidump
from tests.build.minidump_records import THREAD_LIST, rsds

STACK = 0x7FFD_0000_0000
HEAP = 0x5555_0000_0000
OUTER = 0x7FFE_0000_0000
NAME = "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>"


class Part(Block):
    """Some bytes of a block."""

    def __init__(self, whole: Block, start: int, end: int) -> None:
        super().__init__(whole.address + start, whole.data[start:end], False, {})
        self._whole = whole
        self._start = start

    @property
    def rva(self) -> int:
        return self._whole.rva + self._start

    @rva.setter
    def rva(self, _rva: int) -> None:
        """It has none of its own."""


def small() -> bytes:
    """Three threads, a module whose name is an attack, stacks that point into each other."""
    dump = Minidump("amd64", "linux")
    words = [HEAP + 0x18, 0x40_1234, 0, STACK + 0x20, *range(60)]
    dump.thread(4001, {"rip": 0x40_1000, "rsp": STACK}, stack=(STACK, struct.pack("<64Q", *words)))
    dump.thread(4002, {"rip": 0x40_1010, "rsp": STACK + 0x10_0000},
                stack=(STACK + 0x10_0000, bytes(256)))  # fmt: skip
    # As this program's own dumps have it: the stack's record is a part of a larger range.
    whole = dump.memory(OUTER, bytes(range(256)))
    dump.thread(4003, {"rip": 0x40_1020, "rsp": OUTER + 16}, stack=Part(whole, 16, 32))
    dump.memory(HEAP, b"a needle in the heap".ljust(64, b"\0"))
    dump.module(0x40_0000, 0x2000, "/usr/bin/victim", codeview=rsds("victim.pdb"))
    dump.module(0x50_0000, 0x1000, NAME)
    dump.stream(0x4767_0006, NAME.encode())
    return dump.build()


def lying() -> bytes:
    """A list of more threads than there is room for, a stream beyond the end, and a cut."""
    dump = Minidump("amd64", "linux")
    dump.thread(4001, {"rip": 0x40_1000, "rsp": STACK}, stack=(STACK, bytes(256)))
    dump.lists[THREAD_LIST] = List(count=1000)
    dump.extra_entries = [(0x4767_0009, 100, 0x1000_0000)]
    return dump.build()[:-16]


def large() -> bytes:
    """10 MB: 200 threads with stacks, 300 modules, 2,000 memory ranges, 8,000 regions."""
    dump = Minidump("amd64", "linux")
    for index in range(200):
        start = STACK + index * 0x10_0000
        stack = struct.pack("<4096Q", *range(start, start + 4096))
        dump.thread(1000 + index, {"rip": 0x40_1000 + index, "rsp": start}, stack=(start, stack))
    for index in range(300):
        dump.module(0x40_0000 + index * 0x10_0000, 0x8000, f"/usr/lib/library-{index}.so")
    for index in range(2000):
        dump.memory(HEAP + index * 0x1_0000, bytes([index & 0xFF]) * 2048)
    for index in range(8000):
        dump.region(0x1_0000 * index, 0x1000)
    return dump.build()
