"""Arm code that was stopped where its unwind data do not hold: before its prologue is through,
and after its epilogue has begun.

The exception index describes a function where it calls others. A thread that was stopped at the
first instruction (it has overflowed its stack, or was called through a wrong pointer) has no
frame yet. Where the code is from DWARF call frame information, this is not needed.
"""

from __future__ import annotations

from unspool.arch import arm_stack
from unspool.model import Trust
from unspool.unwind.arm_prologue import called_function
from unspool.unwind.rows import Row
from unspool.unwind.step import EarlyStrategy, Found, Missed, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace
    from unspool.unwind.strategies.dwarf_cfi import DwarfCfi

# How far into a function its prologue may reach, and how much code an epilogue may have.
_MAX_PROLOGUE = 512
_MAX_EPILOGUE = 10
_LONGEST = 4


class ArmEdges(EarlyStrategy):
    """Follows the code from the function's first instruction, where the link register still
    says who called it, or to its return, where that is next.
    """

    name = "arm_edges"

    def __init__(self, space: AddressSpace, cfi: DwarfCfi) -> None:
        self.space = space
        self.cfi = cfi
        self._claimed: dict[int, bool] = {}

    def claims(self, query: Query) -> bool:
        if not query.exact:
            return False
        # All threads of a pool wait in one place.
        claimed = self._claimed.get(query.pc)
        if claimed is None:
            claimed = not isinstance(self.cfi.row(query.pc, query.pc), Row)
            self._claimed[query.pc] = claimed
        return claimed

    def answer(self, query: Query) -> Found | Missed:
        return self._before_prologue(query) or self._epilogue(query) or Missed(
            "neither in a prologue nor in an epilogue"
        )  # fmt: skip

    # --- prologues ----------------------------------------------------------------------

    def _before_prologue(self, query: Query) -> Found | None:
        """The caller by the link register, if the call that it is from led to this function
        and nothing since has called or returned.
        """
        sp, link = query.registers[arm_stack.SP], query.registers[arm_stack.LR]
        if sp is None or link is None:
            return None
        start = called_function(self.space, link)
        if start is None or not 0 <= query.pc - (start & ~1) <= _MAX_PROLOGUE:
            return None
        code = self.space.memory.read_available(start & ~1, query.pc - (start & ~1))
        if len(code) != query.pc - (start & ~1):
            return None
        registers = list(query.registers)
        sp = self._run_prologue(registers, sp, code, is_thumb=bool(start & 1))
        if sp is None:
            return None
        registers[arm_stack.SP] = sp
        registers[arm_stack.PC] = link & self.space.arch.code_address_mask
        return Found(registers, Trust.LEAF)

    def _run_prologue(
        self, registers: list[int | None], sp: int, code: bytes, *, is_thumb: bool
    ) -> int | None:
        """The stack pointer before the code ran; registers that it saved become what they were.

        None if the code did anything but what prologues and leaf functions do.
        """
        at = 0
        done: list[arm_stack.Effect] = []
        while at < len(code):
            effect = arm_stack.effect(code, at, is_thumb=is_thumb)
            if effect is None or effect.kind in _NO_PROLOGUE:
                return None
            done.append(effect)
            at += effect.length
        for effect in reversed(done):
            if effect.kind == arm_stack.PUSH:
                saved = [number for number in range(16) if effect.mask >> number & 1]
                for index, number in enumerate(saved):
                    if number not in (arm_stack.SP, arm_stack.PC):
                        registers[number] = self.space.memory.read_uint(sp + 4 * index, 4)
                sp += effect.size
            elif effect.kind == arm_stack.MOVE:
                sp -= effect.size
        return sp & self.space.arch.mask

    # --- epilogues ----------------------------------------------------------------------

    def _epilogue(self, query: Query) -> Found | None:
        """The caller by the code ahead, if that is nothing but the rest of an epilogue."""
        sp = query.registers[arm_stack.SP]
        code = self.space.memory.read_available(query.pc, _MAX_EPILOGUE * _LONGEST)
        if sp is None or not code:
            return None
        modes = (True,) if query.pc & 2 else self._modes(query.pc)
        for is_thumb in modes:
            registers = list(query.registers)
            link = self._run_epilogue(registers, sp, code, is_thumb=is_thumb)
            address = link & self.space.arch.code_address_mask if link is not None else 0
            if link is not None and self.space.after_call(address, link):
                registers[arm_stack.PC] = address
                return Found(registers, Trust.LEAF)
        return None

    def _modes(self, pc: int) -> tuple[bool, ...]:
        around = self.space.memory.read_available(pc & ~31, 64)
        is_thumb = arm_stack.looks_like_thumb(around)
        return is_thumb, not is_thumb

    def _run_epilogue(
        self, registers: list[int | None], sp: int, code: bytes, *, is_thumb: bool
    ) -> int | None:
        """The return address that the code ahead returns to; registers become the caller's."""
        at = 0
        for _ in range(_MAX_EPILOGUE):
            effect = arm_stack.effect(code, at, is_thumb=is_thumb)
            if effect is None or effect.kind not in _EPILOGUE:
                return None
            at += effect.length
            if effect.kind == arm_stack.RETURN:
                registers[arm_stack.SP] = sp
                return registers[arm_stack.LR]
            if effect.kind == arm_stack.POP:
                popped = [number for number in range(16) if effect.mask >> number & 1]
                for index, number in enumerate(popped):
                    registers[number] = self.space.memory.read_uint(sp + 4 * index, 4)
                if arm_stack.PC in popped:
                    registers[arm_stack.SP] = sp + effect.size & self.space.arch.mask
                    return registers[arm_stack.PC]
            sp = sp + effect.size & self.space.arch.mask
        return None


_NO_PROLOGUE = (
    arm_stack.POP, arm_stack.CALL, arm_stack.LINK, arm_stack.UNKNOWN, arm_stack.RETURN,
)  # fmt: skip
_EPILOGUE = (arm_stack.POP, arm_stack.MOVE, arm_stack.RETURN)
