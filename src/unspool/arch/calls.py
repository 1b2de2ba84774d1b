"""Is the instruction before this address a call? The check behind every guessed frame."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

# How many bytes before a candidate a check may look at.
LOOK_BEHIND = 8


def x86_call_before(code: Buffer, at: int) -> bool:
    """Whether an x86 or x86-64 call ends right before `code[at]`.

    Direct calls (E8 rel32) and every length of an indirect near call (FF /2, with ModRM,
    SIB and displacement; Intel SDM volume 2, CALL) are recognised, from their ends
    backwards. A chance match is possible: about one byte pattern in fifty passes.
    """
    if at >= 5 and code[at - 5] == 0xE8:
        return True
    for length in (2, 3, 4, 6, 7):
        start = at - length
        if start >= 0 and code[start] == 0xFF and _indirect_call_length(code, start, at) == length:
            return True
    return False


def _indirect_call_length(code: Buffer, start: int, end: int) -> int:
    """Length of the FF /2 call at `start`, or 0 if it is none. Never reads past `end`."""
    if start + 1 >= end:
        return 0
    modrm = code[start + 1]
    if modrm >> 3 & 7 != 2:
        return 0
    mode, rm = modrm >> 6, modrm & 7
    if mode == 3:
        return 2
    length = 2
    base = rm
    if rm == 4:
        if start + 2 >= end:
            return 0
        base = code[start + 2] & 7
        length = 3
    if mode == 1:
        return length + 1
    if mode == 2:
        return length + 4
    return length + 4 if base == 5 else length


def x86_call_target(code: Buffer, at: int, address: int) -> int | None:
    """Where the direct call that ends at `code[at]` (address `address`) goes, or None."""
    if at < 5 or code[at - 5] != 0xE8:
        return None
    distance = int.from_bytes(bytes(code[at - 4 : at]), "little", signed=True)
    return address + distance


def aarch64_call_before(code: Buffer, at: int) -> bool:
    """Whether a BL or BLR (also its pointer-authenticating forms) ends before `code[at]`.

    Arm ARM, C6.2: BL is 100101 imm26; BLR, BLRAA, BLRAB, BLRAAZ, BLRABZ are
    1101011 Z 0 01 11111 0000 A M Rn Rm.
    """
    if at < 4:
        return False
    word = int.from_bytes(bytes(code[at - 4 : at]), "little")
    return word >> 26 == 0x25 or word & 0xFFFFFC1F == 0xD63F0000 or word & 0xFEFFF800 == 0xD63F0800


def aarch64_call_target(code: Buffer, at: int, address: int) -> int | None:
    """Where the BL that ends at `code[at]` (address `address`) goes, or None."""
    if at < 4:
        return None
    word = int.from_bytes(bytes(code[at - 4 : at]), "little")
    if word >> 26 != 0x25:
        return None
    distance = (word & 0x03FFFFFF) - ((word & 0x02000000) << 1)
    return address - 4 + 4 * distance
