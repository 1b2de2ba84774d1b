"""Exit trampolines of Wasm code under native code that has no unwind data.

Such a function need not touch the frame pointer: then the register still has the trampoline's,
and what it leads to is the trampoline's caller. The trampoline, and with it an activation
without frames, would be passed over. Packages of Wasmtime before 40 on x86-64 are such: functions
that cannot unwind have no tables (`array_call_shim`, which every host function is called by).

What the trampoline has called returns to it: that word lies right below the trampoline's frame,
whose size its own prologue says.
"""

from __future__ import annotations

from unspool.formats.wasmtime import ENTRY, EXIT, WASM
from unspool.model import Trust
from unspool.unwind.step import Found, Reviewer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.formats.wasmtime import Function
    from unspool.space import AddressSpace
    from unspool.unwind.step import Ended, Missed, Query

# Trampolines have an argument's 16 bytes for each value, and functions up to 1000 of these.
_MAX_FRAMES = 64 << 10
# sub $imm8,%rsp and sub $imm32,%rsp, near the begin of the function.
_SUB_8, _SUB_32 = b"\x48\x83\xec", b"\x48\x81\xec"
_PROLOGUE = 96


class ExitReviewer(Reviewer):
    """Puts the trampoline in front of what a frame pointer has led to."""

    def __init__(
        self,
        space: AddressSpace,
        function_at: Callable[[int], tuple[str, Function | None] | None],
        start_of: Callable[[int, Function], int],
    ) -> None:
        self.space = space
        self.function_at = function_at
        self.start_of = start_of

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        arch = self.space.arch
        fp, sp, pc = query.registers[arch.fp], query.above, None
        if isinstance(answer, Found) and answer.trust == Trust.FRAME_POINTER:
            pc = answer.registers[arch.pc]
        if pc is None or fp is None or sp is None or arch.name != "x86-64":
            return answer
        if self._kind(pc - 1) not in (WASM, ENTRY) or self._kind(query.lookup_pc) is not None:
            return answer
        for at, caller in self._returns(sp, fp):
            registers: list[int | None] = [None] * len(query.registers)
            registers[arch.pc], registers[arch.sp], registers[arch.fp] = caller, at + 8, fp
            return Found(registers, Trust.FRAME_POINTER)
        return answer

    def _kind(self, address: int) -> str | None:
        found = self.function_at(address)
        return found[0] if found is not None else None

    def _returns(self, sp: int, fp: int) -> Iterator[tuple[int, int]]:
        """Words below a frame that are return addresses into the function that has that frame."""
        low = max(sp, fp - _MAX_FRAMES) + 7 & ~7
        data = self.space.memory.read_available(low, max(fp - low, 0))
        words = memoryview(data[: len(data) & ~7]).cast("Q")
        for index in range(len(words) - 1, -1, -1):
            pc, at = words[index], low + 8 * index
            found = self.function_at(pc - 1) if pc else None
            if found is None or found[0] != EXIT or found[1] is None:
                continue
            code = self.space.memory.read_available(self.start_of(pc - 1, found[1]), _PROLOGUE)
            if fp - (at + 8) in _frame_sizes(code) and self.space.after_call(pc):
                yield at, pc


def _frame_sizes(code: bytes) -> Iterator[int]:
    """What may be subtracted from the stack pointer near the begin of a function."""
    for instruction, size in ((_SUB_8, 1), (_SUB_32, 4)):
        at = code.find(instruction)
        while at >= 0:
            end = at + len(instruction) + size
            yield int.from_bytes(code[at + len(instruction) : end], "little")
            at = code.find(instruction, at + 1)
