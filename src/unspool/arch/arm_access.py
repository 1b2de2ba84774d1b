"""Does a 32-bit Arm load or store read memory, or write it?

Encodings are those of the Arm Architecture Reference Manual (ARM DDI 0406C, A5 for A32, A6
for T32).
"""

from __future__ import annotations

from unspool.arch.access import READ, UNKNOWN, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer


def arm_access(code: Buffer, *, is_thumb: bool) -> str:
    """Whether an instruction reads or writes memory; what does both counts as a write."""
    if not is_thumb:
        return _a32(int.from_bytes(bytes(code[:4]), "little")) if len(code) >= 4 else UNKNOWN
    if len(code) < 2:
        return UNKNOWN
    half = code[0] | code[1] << 8
    if half >> 11 < 0b11101:
        return _t16(half)
    return _t32(half, code[2] | code[3] << 8) if len(code) >= 4 else UNKNOWN


def _t16(half: int) -> str:
    top = half >> 11
    if top in (0b01010, 0b01011):  # with a register as offset: three stores, five loads
        return WRITE if half >> 9 & 7 < 3 else READ
    if top == 0b01001:
        return READ
    # Of one register, of several.
    if 0b01100 <= top <= 0b10011 or top in (0b11000, 0b11001):
        return READ if top & 1 else WRITE
    if half >> 9 == 0b1011010:
        return WRITE
    return READ if half >> 9 == 0b1011110 else UNKNOWN


def _t32(first: int, second: int) -> str:
    load = READ if first >> 4 & 1 else WRITE
    if first >> 9 == 0b1110100:  # several, pairs, exclusive
        return load
    if first >> 9 == 0b1110110 and first & 0xFFE0 != 0xEC40:  # of the vector unit
        return load
    if first & 0xFF10 == 0xF900:  # vectors of structures
        return READ if first >> 5 & 1 else WRITE
    if first >> 9 == 0b1111100:
        # A prefetch never faults.
        is_hint = first >> 4 & 1 and first >> 5 & 3 < 2 and second >> 12 == 15
        return UNKNOWN if is_hint else load
    return UNKNOWN


def _a32(word: int) -> str:
    load = READ if word >> 20 & 1 else WRITE
    if word >> 28 == 0xF:
        if word & 0x0F100000 == 0x04000000:  # vectors of structures
            return READ if word >> 21 & 1 else WRITE
        return UNKNOWN
    kind = word >> 25 & 7
    if kind in (0b010, 0b100) or (kind == 0b011 and not word >> 4 & 1):
        return load
    if kind == 0b110 and word & 0x0FE00000 != 0x0C400000:  # of the vector unit
        return load
    if kind == 0 and word >> 4 & 0b1001 == 0b1001:
        return _a32_extra(word)
    return UNKNOWN


def _a32_extra(word: int) -> str:
    """Halfwords, signed bytes, pairs, exclusive accesses; multiplications."""
    operation = word >> 5 & 3
    if operation == 0:
        if not word >> 24 & 1:
            return UNKNOWN  # multiplies
        return READ if word >> 23 & 1 and word >> 20 & 1 else WRITE
    return READ if word >> 20 & 1 or operation == 0b10 else WRITE
