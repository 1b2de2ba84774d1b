"""Where HotSpot's frames hold what they hold: `frame_x86.hpp`, `frame_aarch64.hpp` of OpenJDK."""

from __future__ import annotations


class Slots:
    """What a frame holds, in words from its frame pointer.

    `bytecodes` are places for the pointer into the bytecodes: up to JDK 8, the second. `pointer`
    and `method` are registers, while code of the interpreter runs or is entered. `wrapper`
    is that of the call's JavaCallWrapper in a call from C++, `thread` that of the thread, and
    `kept` are the registers that such a frame saved, as (DWARF number, words).
    """

    def __init__(
        self,
        *,
        bytecodes: tuple[int, int],
        pointer: int,
        method: int,
        wrapper: int,
        thread: int,
        kept: tuple[tuple[int, int], ...],
    ) -> None:
        self.bytecodes = bytecodes
        self.pointer = pointer
        self.method = method
        self.wrapper = wrapper
        self.thread = thread
        self.kept = kept


class Place:
    """Where a caller is: its pc, stack pointer and frame pointer.

    `method` is the method that the interpreter has been entered with, if it was just there. `leaf`
    says that the return address may be off the stack already, in a register.
    """

    __slots__ = ("fp", "leaf", "method", "pc", "sp")

    def __init__(
        self, pc: int, sp: int, fp: int | None, method: int | None = None, *, leaf: bool = False
    ) -> None:
        self.pc = pc
        self.sp = sp
        self.fp = fp
        self.method = method
        self.leaf = leaf


LINK, RETURN, SENDER = 0, 1, -1
METHOD = -3

SLOTS = {
    # rbcp is r13, the method rbx; the call stub saves rbx and r12 to r15.
    "x86-64": Slots(
        bytecodes=(-8, -7), pointer=13, method=3, wrapper=-6, thread=3,
        kept=((3, -7), (12, -8), (13, -9), (14, -10), (15, -11)),
    ),
    # rbcp is x22, the method x12; the call stub saves x19 to x28.
    "aarch64": Slots(
        bytecodes=(-9, -7), pointer=22, method=12, wrapper=-8, thread=-1,
        kept=tuple((number, 10 - number) for number in range(19, 29)),
    ),
}  # fmt: skip
