"""What is tried of 32-bit Arm code without unwind data: the link register, frame pointers."""

from __future__ import annotations

from unspool.arch.arm import FP, LR, SP, THUMB_FP
from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.step import DynamicStrategy, Ended, Found, Missed, Query
from unspool.unwind.strategies.leaf import Leaf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Region
    from unspool.space import AddressSpace
    from unspool.unwind.strategies.arm_exidx import ArmExidx


class ArmLeaf(Leaf):
    """Takes the return address from the link register where no code was executed: after a call
    through a null or a wild pointer. What can be said of a function that was executed has been
    said by `ArmEdges`, which needs no unwind data either.
    """

    def __init__(self, space: AddressSpace, exidx: ArmExidx) -> None:
        super().__init__(space)
        self.exidx = exidx

    def answer(self, query: Query) -> Found | Ended | Missed:
        if query.planted and self.exidx.is_barred(query.pc):
            # makecontext() leaves the address of glibc's __startcontext() for a function that
            # nothing has called.
            return Ended("nothing called this code, and the exception index leads no further")
        link = query.registers[LR]
        if query.exact and link is not None and not self.space.is_code(query.pc):
            address = link & self.space.arch.code_address_mask
            if not self.space.after_call(address, link):
                return Missed(f"no call before 0x{address:x}")
            registers = list(query.registers)
            registers[self.space.arch.pc] = address
            return Found(registers, Trust.LEAF)
        return Missed("the link register need not be the function's own")


class _Record:
    """A kind of frame record: where, from the frame pointer, there is what.

    `link` is the saved link register, `older` the caller's frame pointer, `top` the caller's
    stack pointer if the function has not pushed its arguments before, `sp` where that is
    saved as well.
    """

    __slots__ = ("link", "name", "older", "sp", "top")

    def __init__(
        self, name: str, link: int, older: int, top: int, sp: int | None = None
    ) -> None:
        self.name = name
        self.link = link
        self.older = older
        self.top = top
        self.sp = sp


# push {fp, ip, lr, pc}; sub fp, ip, #4: the old Arm Procedure Call Standard (-mapcs-frame).
_APCS = _Record("APCS", -4, -12, 4, -8)
# push {fp, lr}; add fp, sp, #4: GCC.
_GCC = _Record("GCC", 0, -4, 4)
# push {r7, lr}; mov r7, sp: GCC's T32 code without local variables; Clang's, which has the pair
# at r11 in A32 code (AAPCS32, "The Frame Pointer").
_PAIR = _Record("pair", 4, 0, 8)

_RECORDS = ((FP, _APCS), (FP, _GCC), (FP, _PAIR), (THUMB_FP, _PAIR))


class ArmFramePointer(DynamicStrategy):
    """Reads the frame record that r11 or r7 points at, of one of the kinds there are, and
    believes it if a call precedes its return address and it leads to an older one.
    """

    name = "frame_pointer"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def answer(self, query: Query) -> Found | Ended | Missed:
        above = query.above
        if above is None:
            return Missed("the stack pointer is not known")
        region = self.space.memory.region(above)
        tried = []
        for register, record in _RECORDS:
            fp = query.registers[register]
            if fp is None or fp % 4 or fp < above or self.space.memory.region(fp) is not region:
                continue
            tried.append(f"r{register}")
            try:
                found = self._read(query, register, record, fp, region)
            except Fault:
                continue
            if found is not None:
                return found
        if tried:
            return Missed(f"no frame record at {' or '.join(dict.fromkeys(tried))}")
        return Missed(f"neither r11 nor r7 is in the stack above 0x{above:x}")

    def _read(
        self, query: Query, register: int, record: _Record, fp: int, region: Region | None
    ) -> Found | None:
        arch, memory = self.space.arch, self.space.memory
        low = fp + min(record.link, record.older, record.sp or 0)
        if query.above is None or low < query.above:
            return None
        link = memory.read_uint(fp + record.link, 4)
        older = memory.read_uint(fp + record.older, 4)
        address = link & arch.code_address_mask
        sp = fp + record.top
        if record.sp is not None:
            # Arguments that were pushed before are above the record.
            sp = memory.read_uint(fp + record.sp, 4)
            if not fp < sp <= fp + 4 + 16:
                return None
        if not self.space.is_code(address - 1):
            return None
        in_chain = older > fp and memory.region(older) is region
        after_call = self.space.after_call(address, link)
        # Where the code is not at hand, the chain must go on.
        if after_call is False or (after_call is None and not in_chain):
            return None
        # Registers that the function may have saved are not known to the caller's frame.
        registers: list[int | None] = [None] * len(query.registers)
        registers[arch.pc], registers[SP], registers[register] = address, sp, older
        return Found(registers, Trust.FRAME_POINTER, above=sp)
