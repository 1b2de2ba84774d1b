"""Runs the unwinding instructions of 32-bit Arm's exception index. (EHABI32,
"Frame unwinding instructions".)

The instructions undo a function's prologue, the last step first, on a *virtual stack pointer*.
They are run here without registers or memory: the result says where each register of the
caller is, from the callee's registers on.
"""

from __future__ import annotations

from unspool.cursor import Cursor
from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SP, LR, PC = 13, 14, 15

# A table entry has at most 1,023 bytes of instructions; with one for every register that is
# saved in a place of its own even hand-written ones need a dozen.
_MOST_INSTRUCTIONS = 1024
_LARGEST_FRAME = 1 << 31


class Place:
    """An address: the value of a register, or of the word at another place, plus `offset`."""

    __slots__ = ("offset", "origin")

    def __init__(self, origin: int | Place, offset: int) -> None:
        self.origin = origin
        self.offset = offset


class ExidxRow:
    """Where the caller's registers are, by the instructions of one function.

    `cfa` is the caller's stack pointer. `saved` are the places of registers that the function
    had saved. `ra_column` is the register whose saved value is the return address: pc if that
    was restored itself, else the link register. `steps` are what the instructions undo, the
    function's last step first.
    """

    __slots__ = ("cfa", "ra_column", "saved", "steps")

    def __init__(self) -> None:
        self.cfa = Place(SP, 0)
        self.saved: dict[int, Place] = {}
        self.ra_column = LR
        self.steps: list[Step] = []


class Step:
    """One thing that a prologue did: `kind` is one of the words below.

    `push` of `registers`; `room` of `size` bytes (or that much less, if it is negative);
    `vector` registers saved in `size` bytes; `frame`, the first of `registers` made to point
    where the virtual stack pointer is.
    """

    __slots__ = ("kind", "registers", "size")

    def __init__(self, kind: str, size: int = 0, registers: Sequence[int] = ()) -> None:
        self.kind = kind
        self.size = size
        self.registers = tuple(registers)


PUSH, ROOM, VECTOR, FRAME = "push", "room", "vector", "frame"


def run(instructions: bytes) -> ExidxRow:
    """The row of a function by its unwinding instructions.

    Raises `FormatError` for what the ABI keeps for later, for what it says cannot be
    unwound, and for instructions that end too early.
    """
    machine = _Machine(instructions)
    for _ in range(_MOST_INSTRUCTIONS):
        # The last word is padded with "finish"; where it is full, the end means the same.
        if machine.cursor.offset >= len(instructions) or not machine.step():
            break
    row = machine.row
    row.cfa = machine.vsp
    # Without a rule for pc the return address is what the link register had, or was restored to.
    row.ra_column = PC if PC in row.saved else LR
    return row


class _Machine:
    def __init__(self, instructions: bytes) -> None:
        self.cursor = Cursor(instructions)
        self.row = ExidxRow()
        self.vsp = Place(SP, 0)

    def step(self) -> bool:
        """Runs one instruction; False if that was "finish"."""
        byte = self.cursor.u8()
        kind = byte >> 4
        if kind < 8:  # 00xxxxxx, 01xxxxxx: vsp +/- (xxxxxx << 2) + 4
            size = ((byte & 0x3F) << 2) + 4
            self.add(size if byte < 0x40 else -size)
        elif kind == 8:
            self.pop_by_mask(byte)
        elif kind == 9:
            self.set_vsp(byte & 0xF)
        elif kind == 0xA:  # 10100nnn, 10101nnn: r4 to r[4+nnn], and r14
            registers = list(range(4, 5 + (byte & 7)))
            self.pop([*registers, LR] if byte & 8 else registers)
        elif kind == 0xB:
            return self.step_b(byte)
        else:
            self.step_vectors(byte)
        return True

    def step_b(self, byte: int) -> bool:
        if byte == 0xB0:
            return False
        if byte == 0xB1:
            mask = self.cursor.u8()
            if not mask or mask >> 4:
                raise FormatError("EHABI", f"instruction b1 {mask:02x} is spare")
            self.pop([number for number in range(4) if mask >> number & 1])
        elif byte == 0xB2:
            self.add(0x204 + (self.cursor.uleb() << 2))
        elif byte == 0xB3:  # d[ssss] to d[ssss+cccc], as FSTMX saves them: with one word more
            self.vector(8 * ((self.cursor.u8() & 0xF) + 1) + 4)
        elif byte == 0xB4:
            # Pop of the return address's authentication code (EHABI 2022Q1); it is in a word
            # of its own, and no return address has it in it.
            self.add(4)
        elif byte == 0xB5:
            # The present vsp is a modifier for checking that code.
            pass
        elif byte >> 2 == 0b101101:
            raise FormatError("EHABI", f"instruction {byte:02x} is spare")
        else:  # 10111nnn: d8 to d[8+nnn], as FSTMX saves them
            self.vector(8 * ((byte & 7) + 1) + 4)
        return True

    def step_vectors(self, byte: int) -> None:
        """What pops registers that no unwinding needs: of the vector units."""
        if byte in (0xC6, 0xC8, 0xC9):  # wR or d registers, first and number in the next byte
            self.vector(8 * ((self.cursor.u8() & 0xF) + 1))
        elif byte == 0xC7:  # wCGR0 to wCGR3
            mask = self.cursor.u8()
            if not mask or mask >> 4:
                raise FormatError("EHABI", f"instruction c7 {mask:02x} is spare")
            self.vector(4 * mask.bit_count())
        elif byte >> 3 in (0b11000, 0b11010):  # wR10 to wR[10+nnn]; d8 to d[8+nnn]
            self.vector(8 * ((byte & 7) + 1))
        else:
            raise FormatError("EHABI", f"instruction {byte:02x} is spare")

    def pop_by_mask(self, byte: int) -> None:
        mask = (byte & 0xF) << 8 | self.cursor.u8()
        if not mask:
            raise FormatError("EHABI", "the function refuses to be unwound")
        self.pop([number for number in range(4, 16) if mask >> (number - 4) & 1])

    def pop(self, registers: Sequence[int]) -> None:
        self.row.steps.append(Step(PUSH, 4 * len(registers), registers))
        for index, number in enumerate(registers):
            place = Place(self.vsp.origin, self.vsp.offset + 4 * index)
            self.row.saved[number] = place
        self.vsp = Place(self.vsp.origin, self.vsp.offset + 4 * len(registers))
        # A popped r13 becomes the vsp, once all the others have been popped.
        sp = self.row.saved.pop(SP, None)
        if sp is not None:
            self.vsp = Place(sp, 0)

    def set_vsp(self, register: int) -> None:
        if register in (SP, PC):
            raise FormatError("EHABI", f"instruction 9{register:x} is reserved")
        self.row.steps.append(Step(FRAME, 0, (register,)))
        self.vsp = Place(self.row.saved.get(register, register), 0)

    def vector(self, size: int) -> None:
        self.row.steps.append(Step(VECTOR, size))
        self.move(size)

    def add(self, size: int) -> None:
        self.row.steps.append(Step(ROOM, size))
        self.move(size)

    def move(self, size: int) -> None:
        offset = self.vsp.offset + size
        if abs(offset) >= _LARGEST_FRAME:
            raise FormatError("EHABI", "moves the stack pointer further than memory goes")
        self.vsp = Place(self.vsp.origin, offset)
