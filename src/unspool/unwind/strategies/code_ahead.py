"""x86 code without unwind data: by what it does from where it was stopped until it returns.

A minidump has little more of a program than the code around the crash, and often the function's
end is there. Of the calls on the way it is believed that they come back, hence a guess.

Measured with 128 bytes of code on either side of 9,000 places in libc, libstdc++ and gdb: from
2,848 a return was in reach, and it was the right one from each.
"""

from __future__ import annotations

from unspool.arch.x86_ahead import SP, CodeAhead
from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.step import DynamicStrategy, Found, Missed, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.x86_ahead import Return
    from unspool.space import AddressSpace

# Code on both sides of the pc that ways may lead through.
_AROUND = 2048
_MOST_LOOKS = 1000

# DWARF numbers by encoding, and the encodings of registers that a callee restores: by the
# System V ABI, and with rsi and rdi by Microsoft's.
_DWARF_64 = (0, 2, 1, 3, 7, 6, 4, 5, *range(8, 16))
_DWARF_32 = tuple(range(8))
_KEPT_64, _KEPT_32 = (3, 5, 12, 13, 14, 15), (3, 5, 6, 7)


class Ahead(DynamicStrategy):
    """Carries a function's rest out, and believes what it leads to if nothing speaks against it.

    For code that was executing: see `order`, which loads this for the first such frame.
    """

    name = "code_ahead"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.looks = 0
        self.dwarf = _DWARF_64 if space.arch.pointer_size == 8 else _DWARF_32
        self.kept = _KEPT_64 if space.arch.pointer_size == 8 else _KEPT_32

    def answer(self, query: Query) -> Found | Missed:
        window = self.space.memory.window(query.pc)
        self.looks += 1
        if window is None or not self.space.is_code(query.pc) or self.looks > _MOST_LOOKS:
            return Missed("the code is not at hand")
        low, high = max(window.low, query.pc - _AROUND), min(window.high, query.pc + _AROUND)
        code = bytes(window.buffer[low - window.base : high - window.base])
        ahead = CodeAhead(code, low, self.space.arch.pointer_size, self._word)
        registers = [query.registers[number] for number in self.dwarf]
        for each in ahead.returns(query.pc, registers):
            found = self._caller(query, each)
            if found is not None:
                return found
        return Missed("no way through the code ahead leads to a return")

    def _word(self, address: int) -> int | None:
        try:
            return self.space.memory.read_uint(address, self.space.arch.pointer_size)
        except Fault:
            return None

    def _caller(self, query: Query, back: Return) -> Found | None:
        arch = self.space.arch
        sp = back.registers[SP]
        old = query.registers[arch.sp]
        address = self._word(sp) if sp is not None else None
        if sp is None or old is None or address is None or sp < old:
            return None
        if not self.space.is_code(address - 1) or self.space.after_call(address) is False:
            return None
        registers: list[int | None] = [None] * len(query.registers)
        module = self.space.module_at(query.pc)
        more = (6, 7) if module is not None and module.kind == "pe" else ()
        for encoding in (*self.kept, *more):
            registers[self.dwarf[encoding]] = back.registers[encoding]
        registers[arch.pc] = address
        registers[arch.sp] = sp + arch.pointer_size
        return Found(registers, Trust.SCAN if back.calls else Trust.LEAF)
