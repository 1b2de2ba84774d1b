"""Calls in 32-bit Arm code: A32, whose instructions are words, and T32 (Thumb), whose
instructions are one halfword or two. Encodings are those of the Arm Architecture Reference
Manual (ARM DDI 0406C: A8.8.25 BL and BLX, A8.8.26 BLX (register)).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer


def arm_call_before(code: Buffer, at: int) -> bool:
    """Whether a call of either instruction set ends right before `code[at]`."""
    return t32_call_before(code, at) or a32_call_before(code, at)


def arm_return_word(code: Buffer, at: int, word: int) -> bool:
    """The same for a return address as calls leave it: bit 0 says which instruction set.

    In T32 code every eighth halfword would pass for the end of an A32 call.
    """
    if word & 1:
        return t32_call_before(code, at)
    return not word & 2 and a32_call_before(code, at)


def a32_call_before(code: Buffer, at: int) -> bool:
    """Whether an A32 call ends right before `code[at]`.

    BL with any condition, BLX of both kinds; and what stood for BLX (register) before Armv5:
    `mov lr, pc`, then a jump, which is any write of pc.
    """
    if at < 4:
        return False
    word = _word(code, at - 4)
    if word >> 28 == 0xF:
        return word >> 25 & 7 == 0b101  # BLX (immediate)
    if word >> 24 & 0xF == 0xB or word & 0x0FFFFFF0 == 0x012FFF30:
        return True
    if at < 8 or _word(code, at - 8) & 0x0FFFFFFF != 0x01A0E00F:
        return False
    is_bx = word & 0x0FFFFFF0 == 0x012FFF10
    return is_bx or word & 0x0C10F000 == 0x0410F000 or word & 0x0FEFFFF0 == 0x01A0F000


def t32_call_before(code: Buffer, at: int) -> bool:
    """Whether a T32 call ends right before `code[at]`: BL, BLX of both kinds."""
    if at >= 2 and _half(code, at - 2) & 0xFF87 == 0x4780:
        return True
    if at < 4:
        return False
    first, second = _half(code, at - 4), _half(code, at - 2)
    # BLX (immediate) leads to words: its last bit is 0.
    return first >> 11 == 0x1E and second >> 14 == 3 and (second & 0x1001) != 1


def arm_call_target(code: Buffer, at: int, word: int) -> int | None:
    """Where the direct call that left the return address `word` goes to; None if none did.

    `code[at]` is the code at the return address. Bit 0 of `word`, and of the answer, is set
    for T32 code.
    """
    if at < 4 or not arm_return_word(code, at, word):
        return None
    return _t32_target(code, at, word & ~1) if word & 1 else _a32_target(code, at, word)


def _a32_target(code: Buffer, at: int, address: int) -> int | None:
    word = _word(code, at - 4)
    if word >> 25 & 7 != 0b101:
        return None
    # Relative to what pc reads as: two instructions on, that is one behind the return address.
    target = address + 4 + 4 * ((word & 0xFFFFFF) - ((word & 0x800000) << 1))
    if word >> 28 == 0xF:
        target += (word >> 23 & 2) + 1
    return target & 0xFFFFFFFF


def _t32_target(code: Buffer, at: int, address: int) -> int | None:
    first, second = _half(code, at - 4), _half(code, at - 2)
    if first >> 11 != 0x1E or second >> 14 != 3:
        return None
    sign = first >> 10 & 1
    high = (1 ^ sign ^ second >> 13 & 1) << 23 | (1 ^ sign ^ second >> 11 & 1) << 22
    distance = high | (first & 0x3FF) << 12 | (second & 0x7FF) << 1
    distance -= sign << 24
    if second >> 12 & 1:
        return (address + distance | 1) & 0xFFFFFFFF
    return (address & ~3) + distance & 0xFFFFFFFC


def _word(code: Buffer, at: int) -> int:
    return int.from_bytes(bytes(code[at : at + 4]), "little")


def _half(code: Buffer, at: int) -> int:
    return int.from_bytes(bytes(code[at : at + 2]), "little")
