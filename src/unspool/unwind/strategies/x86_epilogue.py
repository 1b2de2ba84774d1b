"""i386 code that is about to return: its last instructions say where the return address is.

Of code without unwind data, or whose data say nothing of epilogues, as FrameData does not. The
stubs of Wine's system calls are such code too: `call *%edx; ret $12`.
"""

from __future__ import annotations

from unspool.arch.x86 import EAX, ECX, EDX, EIP, ESP
from unspool.arch.x86_epilogue import epilogue
from unspool.model import Trust
from unspool.unwind.step import DynamicStrategy, Found, Missed, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace

_MAX_SIZE = 40


class X86Epilogue(DynamicStrategy):
    """Carries out what is left of a function, and believes it if a call precedes its result."""

    name = "epilogue"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def answer(self, query: Query) -> Found | Missed:
        memory = self.space.memory
        module = self.space.module_at(query.lookup_pc)
        if module is None or module.kind != "pe":
            return Missed("no Windows code")
        steps = epilogue(memory.read_available(query.pc, _MAX_SIZE))
        if steps is None:
            return Missed("the code at the pc does more than return")
        registers = list(query.registers)
        if not query.exact:
            self._forget(registers)
        # A callee that took its arguments off the stack has left it higher than we know, until
        # the frame pointer says where it is.
        known = query.exact
        for register, distance in (*steps, (EIP, None)):
            base = registers[ESP if distance is None else register]
            if base is None:
                return Missed("a register that the epilogue needs is not known")
            if distance is None:  # a pop
                popped = memory.read_uint(base, 4)
                registers[register] = popped if known or register == EIP else None
                distance = 4
            elif register != ESP:
                known = True
            registers[ESP] = (base + distance) & self.space.arch.mask
        self._forget(registers)
        address = registers[EIP]
        assert address is not None
        if not self.space.after_call(address):
            return Missed(f"no call before 0x{address:x}, where the epilogue leads")
        return Found(registers, Trust.LEAF)

    def _forget(self, registers: list[int | None]) -> None:
        """Registers that a call need not preserve are not known to its caller."""
        for register in (EAX, ECX, EDX):
            registers[register] = None
