"""Frames without a stack frame: a call to an address that is no code, and functions
without unwind data that were stopped before they touched the stack.
"""

from __future__ import annotations

from unspool.arch.calls import LOOK_BEHIND, aarch64_call_target, x86_call_target
from unspool.model import Trust
from unspool.unwind.step import DynamicStrategy, Ended, Found, Missed, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace

# How far into a function without unwind data its return address may still be at the
# stack pointer. Beyond that, any assumption is worse than the frame pointer.
_MAX_LEAF = 256


class Leaf(DynamicStrategy):
    """Takes the return address from the stack pointer or the link register, if a call
    before it proves it.

    A process that calls a null or a wild pointer faults at the target with nothing but
    the return address pushed: that is the one case where even a pc in unmapped memory
    has a certain caller.
    """

    name = "leaf"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def answer(self, query: Query) -> Found | Ended | Missed:
        if not query.exact:
            return Missed("the frame has called another one")
        arch = self.space.arch
        address = self._return_address(query)
        if address is None:
            return Missed("no return address at hand")
        returns = arch.link is None and self._is_return(query.pc)
        after_call = self.space.after_call(address)
        # What the very next instruction takes for its return address needs no further proof:
        # of threads that wait in the kernel a minidump has little more code than that. 32-bit
        # code has frame pointers then, which tell more.
        if after_call is None and returns and arch.pointer_size == 8:
            after_call = self.space.is_code(address)
        if not after_call:
            return Missed(f"no call before 0x{address:x}")
        if not returns and self.space.is_code(query.pc) and not self._called_here(query, address):
            return Missed("the function may have moved the stack pointer")
        registers = list(query.registers)
        registers[arch.pc] = address
        if arch.link is None:
            sp = registers[arch.sp]
            assert sp is not None
            # Arguments that a `ret $n` pops are still there for the caller's unwind data, which
            # are looked up for the moment of its call.
            registers[arch.sp] = sp + arch.pointer_size
        return Found(registers, Trust.LEAF)

    def _is_return(self, pc: int) -> bool:
        """Whether a `ret` is next: system call stubs of Wine wait there for the Unix side.

        So it is in Windows' DbgBreakPoint, behind the instruction that raises the exception.
        """
        code = self.space.memory.read_available(pc, 2)
        return code.removeprefix(_BREAKPOINT)[:1] in _RETURNS

    def _return_address(self, query: Query) -> int | None:
        arch = self.space.arch
        if arch.link is not None:
            link = query.registers[arch.link]
        else:
            sp = query.registers[arch.sp]
            if sp is None:
                return None
            link = self.space.memory.read_uint(sp, arch.pointer_size)
        return None if link is None else link & arch.code_address_mask

    def _called_here(self, query: Query, address: int) -> bool:
        """Whether a direct call led here and the code since then left the stack alone."""
        linked = self.space.arch.link is not None
        called = aarch64_call_target if linked else x86_call_target
        target = called(self.space.code_before(address), LOOK_BEHIND, address)
        if target is None or not 0 <= query.pc - target < _MAX_LEAF:
            return False
        done = self.space.memory.read_available(target, query.pc - target)
        if linked:
            return not any(map(_moves_stack, memoryview(done[: len(done) & ~3]).cast("I")))
        # push %rbp and sub $n,%rsp are how a function starts that does use the stack. The
        # endbr64 of a protected function is none of that.
        done = done.removeprefix(b"\xf3\x0f\x1e\xfa").removeprefix(b"\xf3\x0f\x1e\xfb")
        return not any(start in done for start in _STACK_USERS)


_BREAKPOINT = b"\xcc"
_RETURNS = (b"\xc3", b"\xc2")
_STACK_USERS = (
    *(bytes([0x50 + register]) for register in range(8)),  # push
    b"\x83\xec", b"\x81\xec",  # sub $n, %esp
    b"\xe8", b"\xc8",  # call, enter
)  # fmt: skip


def _moves_stack(word: int) -> bool:
    """Whether an AArch64 instruction changes sp or the link register (Arm ARM, C4.1).

    SUB/ADD (immediate) to sp; loads and stores with write-back on sp; BL and BLR.
    """
    if word & 0x1F == 31 and word & 0x1F000000 == 0x11000000:
        return True
    if word >> 5 & 31 == 31 and word & 0x3A000000 == 0x28000000 and word & 0x00800000:
        return True  # LDP and STP, pre- and post-indexed
    if word >> 5 & 31 == 31 and word & 0x3B200400 == 0x38000400:
        return True  # LDR and STR, pre- and post-indexed
    return word >> 26 == 0x25 or word & 0xFFFFFC1F == 0xD63F0000
