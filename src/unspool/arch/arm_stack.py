"""What one instruction of 32-bit Arm code does to the stack pointer and the link register.

As much as prologues and epilogues need. Encodings are those of the Arm Architecture Reference
Manual (ARM DDI 0406C, A5 and A6 for the outline, A8.8 for each instruction).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

# What an instruction does.
PUSH = "push"  # registers in `mask`, the stack pointer goes down by `size`
POP = "pop"  # the reverse; pc may be among them
MOVE = "move"  # the stack pointer goes up by `size`, or down if that is negative
FRAME = "frame"  # register `mask` is made to point `size` bytes above the stack pointer
RETURN = "return"  # bx lr
JUMP = "jump"  # what follows is not what runs next
CALL = "call"
LINK = "link"  # the link register becomes something else
UNKNOWN = "unknown"  # so does the stack pointer
OTHER = "other"  # nothing of that

SP, LR, PC = 13, 14, 15


class Effect:
    """What an instruction does (`kind`, one of the words above), and its `length` in bytes."""

    __slots__ = ("kind", "length", "mask", "size")

    def __init__(self, kind: str, length: int, mask: int = 0, size: int = 0) -> None:
        self.kind = kind
        self.length = length
        self.mask = mask
        self.size = size


def effect(code: Buffer, at: int, *, is_thumb: bool) -> Effect | None:
    """What the instruction at `code[at]` does; None if it is not all there."""
    room = len(code) - at
    if not is_thumb:
        return _a32(int.from_bytes(bytes(code[at : at + 4]), "little")) if room >= 4 else None
    if room < 2:
        return None
    half = code[at] | code[at + 1] << 8
    if half >> 11 < 0b11101:
        return _t16(half)
    return _t32(half, code[at + 2] | code[at + 3] << 8) if room >= 4 else None


def looks_like_thumb(code: Buffer) -> bool:
    """Whether code looks like T32 code, by eight words or more of it.

    Nearly all A32 instructions are executed always: the highest four bits are 14.
    """
    words = len(code) // 4
    always = sum(code[4 * index + 3] >> 4 == 0xE for index in range(words))
    return 2 * always < words


def _written(goal: int, length: int) -> Effect:
    """An instruction that writes a register."""
    return Effect(UNKNOWN if goal == SP else LINK if goal == LR else OTHER, length)


def _registers(kind: str, length: int, mask: int) -> Effect:
    return Effect(kind, length, mask, 4 * mask.bit_count())


def _t16(half: int) -> Effect:
    top = half >> 8
    if top in (0xB4, 0xB5):
        return _registers(PUSH, 2, half & 0xFF | (half & 0x100) << 6)
    if top in (0xBC, 0xBD):
        return _registers(POP, 2, half & 0xFF | (half & 0x100) << 7)
    if top == 0xB0:
        size = 4 * (half & 0x7F)
        return Effect(MOVE, 2, 0, -size if half & 0x80 else size)
    if half >> 11 == 0b10101:
        return Effect(FRAME, 2, half >> 8 & 7, 4 * (half & 0xFF))
    if top in (0x44, 0x46, 0x47):
        return _t16_high(half)
    return Effect(JUMP if half >> 11 == 0b11100 or top == 0xDE else OTHER, 2)


def _t16_high(half: int) -> Effect:
    """ADD, MOV, BX and BLX with any of the 16 registers."""
    source, goal = half >> 3 & 15, half & 7 | half >> 4 & 8
    if half >> 8 == 0x47:
        if half & 0x80:
            return Effect(CALL, 2)
        return Effect(RETURN if source == LR else JUMP, 2)
    if goal == PC:
        return Effect(JUMP, 2)
    if goal in (SP, LR):
        return _written(goal, 2)
    if half >> 8 == 0x46 and source == SP:
        return Effect(FRAME, 2, goal, 0)
    return Effect(OTHER, 2)


def _t32(first: int, second: int) -> Effect:
    if first == 0xE92D:
        return _registers(PUSH, 4, second)
    if first == 0xE8BD:
        return _registers(POP, 4, second)
    if first == 0xF84D and second & 0xF00 == 0xD00:  # str rt, [sp, #-n]!
        return Effect(PUSH, 4, 1 << (second >> 12), second & 0xFF)
    if first == 0xF85D and second & 0xF00 == 0xB00:  # ldr rt, [sp], #n
        return Effect(POP, 4, 1 << (second >> 12), second & 0xFF)
    if first in (0xE96D, 0xE8FD):  # strd rt, rt2, [sp, #-n]!; ldrd rt, rt2, [sp], #n
        mask = 1 << (second >> 12) | 1 << (second >> 8 & 15)
        return Effect(PUSH if first == 0xE96D else POP, 4, mask, 4 * (second & 0xFF))
    if second >> 9 & 7 == 0b101 and first & 0xFFBF in (0xED2D, 0xECBD):  # vpush, vpop
        size = 4 * (second & 0xFF)
        return Effect(MOVE, 4, 0, -size if first & 0xFFBF == 0xED2D else size)
    if first >> 11 == 0b11110:
        return _t32_branch(second) if second >> 15 else _t32_immediate(first, second)
    return _t32_rest(first, second)


def _t32_branch(second: int) -> Effect:
    if second >> 14 & 1:
        return Effect(CALL, 4)
    return Effect(JUMP if second >> 12 & 1 else OTHER, 4)


def _t32_immediate(first: int, second: int) -> Effect:
    """ADD, SUB, ADDW, SUBW with an immediate; MOV and others if they write sp or lr."""
    operation, source, goal = first >> 4 & 0x3F, first & 15, second >> 8 & 15
    operation &= 0b111111 if operation & 0b100000 else 0b111110  # whether flags are set
    sizes = {
        0b010000: expanded(first >> 10 & 1, second),
        0b011010: -expanded(first >> 10 & 1, second),
        0b100000: _plain(first >> 10 & 1, second),
        0b101010: -_plain(first >> 10 & 1, second),
    }
    if operation in sizes and source == SP:
        if goal == SP:
            return Effect(MOVE, 4, 0, sizes[operation])
        if goal != PC:
            return Effect(FRAME, 4, goal, sizes[operation])
    return _written(goal, 4)


def _plain(high: int, second: int) -> int:
    return high << 11 | (second >> 12 & 7) << 8 | second & 0xFF


def expanded(high: int, second: int) -> int:
    """A T32 "modified immediate" of 12 bits (ThumbExpandImm, A6.3.2)."""
    value = _plain(high, second)
    byte = value & 0xFF
    if value >> 10:
        rotation = value >> 7
        byte = 0x80 | value & 0x7F
        return (byte >> rotation | byte << 32 - rotation) & 0xFFFFFFFF
    return byte * (1, 0x00010001, 0x01000100, 0x01010101)[value >> 8 & 3]


def _t32_rest(first: int, second: int) -> Effect:
    goal = second >> 8 & 15
    if first & 0xFFF0 == 0xE8D0 and second & 0xFFE0 == 0xF000:  # tbb, tbh
        return Effect(JUMP, 4)
    if first & 0xFF70 == 0xF850:  # ldr
        if second >> 12 == PC:
            return Effect(JUMP, 4)
        return _written(second >> 12, 4)
    # Data processing with a shifted register.
    if first >> 9 == 0b1110101:
        return _written(goal, 4)
    # ldm and stm of other registers than sp, with lr or pc in the list.
    if first & 0xFE50 == 0xE810 and second >> 14:
        return Effect(JUMP if second >> 15 else LINK, 4)
    return Effect(OTHER, 4)


def _a32(word: int) -> Effect:
    if word >> 25 & 7 == 0b101:
        is_call = word >> 28 == 0xF or word >> 24 & 1
        if is_call:
            return Effect(CALL, 4)
        return Effect(JUMP if word >> 28 == 0xE else OTHER, 4)
    if word >> 28 != 0xE:
        return Effect(OTHER, 4)
    top, low = word >> 16 & 0xFFF, word & 0xFFFF
    if top in (0x92D, 0x8BD):
        return _registers(PUSH if top == 0x92D else POP, 4, low)
    if top in (0x52D, 0x49D):  # str rt, [sp, #-n]!; ldr rt, [sp], #n
        return Effect(PUSH if top == 0x52D else POP, 4, 1 << (low >> 12), low & 0xFFF)
    if (top, low & 0xF0) in ((0x16D, 0xF0), (0x0CD, 0xD0)):  # strd, ldrd
        mask = 3 << (low >> 12)
        return Effect(PUSH if top == 0x16D else POP, 4, mask, low >> 4 & 0xF0 | low & 15)
    if low >> 9 & 7 == 0b101 and top & 0xFBF in (0xD2D, 0xCBD):  # vpush, vpop
        size = 4 * (low & 0xFF)
        return Effect(MOVE, 4, 0, -size if top & 0xFBF == 0xD2D else size)
    if word & 0x0FFFFFD0 == 0x012FFF10:
        if word & 0x20:
            return Effect(CALL, 4)
        return Effect(RETURN if word & 15 == LR else JUMP, 4)
    return _a32_rest(word)


def _a32_rest(word: int) -> Effect:
    source, goal = word >> 16 & 15, word >> 12 & 15
    if word & 0x0FE00000 in (0x02800000, 0x02400000) and source == SP and goal != PC:
        rotation = word >> 7 & 0x1E
        byte = word & 0xFF
        size = (byte >> rotation | byte << 32 - rotation) & 0xFFFFFFFF
        if word & 0x0FE00000 == 0x02400000:
            size = -size
        return Effect(MOVE, 4, 0, size) if goal == SP else Effect(FRAME, 4, goal, size)
    if word & 0x0FEF0FFF == 0x01A0000D and goal not in (LR, PC):  # mov rd, sp
        return Effect(FRAME, 4, goal, 0)
    if word >> 26 & 3 == 0 or word & 0x0C100000 == 0x04100000:  # data processing, loads
        # Comparisons have no result: their bits 12 to 15 are 0.
        if goal == PC:
            return Effect(JUMP, 4)
        return _written(goal, 4)
    if word & 0x0E100000 == 0x08100000 and word >> 13 & 7:  # ldm with sp, lr or pc
        if word >> 13 & 1:
            return Effect(UNKNOWN, 4)
        return Effect(JUMP if word >> 15 & 1 else LINK, 4)
    return Effect(OTHER, 4)
