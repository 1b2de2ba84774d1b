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
from unspool.unwind.strategies.frame_pointer import is_generated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.arch.x86_ahead import Return
    from unspool.space import AddressSpace

# Code on both sides of the pc that ways may lead through.
_AROUND = 2048
_MOST_LOOKS = 1000
# The few instructions that end a function take 20 µs.
_MOST_ENDINGS = 100_000

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
    tails = False

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.looks = 0
        self.dwarf = _DWARF_64 if space.arch.pointer_size == 8 else _DWARF_32
        self.kept = _KEPT_64 if space.arch.pointer_size == 8 else _KEPT_32

    def answer(self, query: Query) -> Found | Missed:
        window = self.space.memory.window(query.pc)
        self.looks += 1
        most = _MOST_LOOKS if query.exact else _MOST_ENDINGS
        if window is None or not self.space.is_code(query.pc) or self.looks > most:
            return Missed("the code is not at hand")
        low, high = max(window.low, query.pc - _AROUND), min(window.high, query.pc + _AROUND)
        code = bytes(window.buffer[low - window.base : high - window.base])
        size = self.space.arch.pointer_size
        ahead = CodeAhead(code, low, size, self._word, tails=self.tails)
        registers = [query.registers[number] for number in self.dwarf]
        for each in self._ways(ahead, query, registers):
            found = self._caller(query, each)
            if found is not None:
                return found
        return Missed("no way through the code ahead leads to a return")

    def _ways(
        self, ahead: CodeAhead, query: Query, registers: list[int | None]
    ) -> Iterable[Return]:
        return ahead.returns(query.pc, registers)

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


class AheadInMadeCode(Ahead):
    """Code that has no unwind data because no compiler of files made it: asked before the frame
    pointer, which is a caller's while a function has not pushed it yet, or never does. `order`
    knows which code that is, and loads this for the first such frame.

    Situations: Node.js was stopped in a builtin without a frame, which sparkplug code had called.
    By its frame pointer that code's frame is missing, in 42 of 60 stacks of a busy program.
    CPython's perf trampolines keep no frame pointer, and return right after their one call.
    """

    name = "made_code"
    tails = True

    def answer(self, query: Query) -> Found | Missed:
        found = super().answer(query)
        if isinstance(found, Missed) and not query.exact:
            generated = is_generated(self.space, query)
            without = self._without_frame(query) if generated else None
            return without or Missed("the code goes on after its call")
        arch = self.space.arch
        fp = query.registers[arch.fp]
        if isinstance(found, Found) and fp is not None and found.registers[arch.sp] == fp + 16:
            found.trust = Trust.FRAME_POINTER  # both say so
        return found

    def _ways(
        self, ahead: CodeAhead, query: Query, registers: list[int | None]
    ) -> Iterable[Return]:
        if query.exact:
            return ahead.returns(query.pc, registers)
        ending = ahead.ending(query.pc, registers)
        return [ending] if ending is not None else []

    def _caller(self, query: Query, back: Return) -> Found | None:
        found = super()._caller(query, back)
        if found is None:
            return None
        pc = found.registers[self.space.arch.pc]
        assert pc is not None
        return found if self.space.after_call(pc) else None

    def _without_frame(self, query: Query) -> Found | None:
        """The caller of a function that has called another one before it made its frame.

        Sparkplug code calls a builtin to make its frame (V8's BaselineOutOfLinePrologue). Its
        return address is then the stack's next word. Elsewhere the stack is aligned to 16 bytes
        for a call, so that this word is something else, unless the alignment is none.
        """
        sp, fp = query.registers[self.space.arch.sp], query.registers[self.space.arch.fp]
        address = self._word(sp) if sp is not None else None
        if sp is None or sp % 16 == 0 or fp is None or fp <= sp or address is None:
            return None
        if not self.space.is_code(address - 1) or not self.space.after_call(address):
            return None
        registers = list(query.registers)
        registers[self.space.arch.pc] = address
        registers[self.space.arch.sp] = sp + self.space.arch.pointer_size
        return Found(registers, Trust.LEAF)
