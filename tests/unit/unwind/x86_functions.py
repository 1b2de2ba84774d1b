"""Made-up 32-bit Windows code: functions of given bytes at given places, and what calls them."""

from __future__ import annotations

from collections.abc import Mapping

from tests.unit.unwind.spaces import ARCHES, region, words
from unspool.memory import Memory
from unspool.model import Module
from unspool.space import AddressSpace

X86 = ARCHES["i386"]
BASE = 0x1000_0000
DATA = 0x1100_0000
STACK = 0x7000_0000


class Code:
    """A module's code. Gaps are filled with int3, as linkers do."""

    def __init__(self, size: int = 0x1000) -> None:
        self.bytes = bytearray(b"\xcc" * size)

    def put(self, at: int, code: str | bytes) -> int:
        """Writes code (hex digits) at an offset; gives the offset behind it."""
        raw = bytes.fromhex(code.replace(" ", "")) if isinstance(code, str) else code
        self.bytes[at : at + len(raw)] = raw
        return at + len(raw)

    def call(self, at: int, target: int) -> int:
        """A direct call; gives the return address."""
        end = at + 5
        self.put(at, b"\xe8" + (target - end).to_bytes(4, "little", signed=True))
        return BASE + end

    def jump(self, at: int, target: int) -> int:
        end = at + 5
        return self.put(at, b"\xe9" + (target - end).to_bytes(4, "little", signed=True))

    def space(
        self, *stack: int, data: Mapping[int, int] | None = None, kind: str = "pe"
    ) -> AddressSpace:
        """An address space with the code, a stack of these words, and words of data."""
        held = bytearray(0x400)
        for address, value in (data or {}).items():
            held[address - DATA : address - DATA + 4] = value.to_bytes(4, "little")
        memory = Memory(
            [
                region(BASE, bytes(self.bytes), executable=True),
                region(DATA, bytes(held)),
                region(STACK, words(X86, *stack) or bytes(4), writable=True),
            ]
        )
        module = Module(0, "game.exe", BASE, BASE + len(self.bytes), kind=kind)
        return AddressSpace(X86, memory, [module], lambda _: None)
