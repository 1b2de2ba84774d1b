"""Whether a function's first instructions are those that its unwind data were made for."""

from __future__ import annotations

from unspool.formats import cfi_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch
    from unspool.formats.cfi import CfiSection, Fde
    from unspool.memory import Memory

# A function has its frame after so many bytes, or it is not looked at any further.
_FAR = 64
_SP = 31


def disagreement(arch: Arch, memory: Memory, section: CfiSection, fde: Fde) -> str | None:
    """Why an FDE cannot be of the code at its address, in words; None if nothing speaks for that.

    What is looked at is where the data say for the first time that the stack pointer has moved:
    the instruction before must have done that. Code that is not at hand speaks for nothing.
    """
    judge = _JUDGES.get(arch.name)
    if judge is None:
        return None
    step = 4 if arch.link is not None else 1
    before = cfi_row.row_at(section, fde, fde.start)
    for address in range(fde.start + step, min(fde.end, fde.start + _FAR), step):
        row = cfi_row.row_at(section, fde, address)
        if row.cfa_expression is not None or row.cfa_register != arch.sp:
            return None
        grown = row.cfa_offset - before.cfa_offset
        if grown:
            code = memory.read_available(fde.start, address - fde.start)
            if len(code) < address - fde.start or judge(code, grown, arch.pointer_size):
                return None
            return f"no instruction before 0x{address:x} moves the stack pointer by {grown}"
    return None


def _x86_moves(code: bytes, by: int, word: int) -> bool:
    """Whether the code's last instruction makes the stack larger by so many bytes.

    Intel SDM, volume 2: PUSH (50+r, 6A, 68), SUB and ADD of an immediate (83, 81), LEA,
    ENTER.
    """
    rex = b"\x48" if word == 8 else b""
    if by == word and (
        0x50 <= code[-1] <= 0x57 or code[-2:-1] == b"\x6a" or code[-5:-4] == b"\x68"
    ):
        return True
    small = (by & 0xFF).to_bytes(1, "little")
    large = (by & 0xFFFFFFFF).to_bytes(4, "little")
    less_small = (-by & 0xFF).to_bytes(1, "little")
    less_large = (-by & 0xFFFFFFFF).to_bytes(4, "little")
    forms = [rex + b"\x81\xec" + large, rex + b"\x81\xc4" + less_large,
             rex + b"\x8d\xa4\x24" + less_large]  # fmt: skip
    if -128 <= by < 128:
        forms.append(rex + b"\x83\xec" + small)
    if -128 <= -by < 128:
        forms += [rex + b"\x83\xc4" + less_small, rex + b"\x8d\x64\x24" + less_small]
    return code.endswith(tuple(forms)) or (by >= 0x10000 and code.endswith(rex + b"\x29\xc4"))


def _arm64_moves(code: bytes, by: int, word: int) -> bool:
    """The same. SUB (immediate), STP and STR (pre-index), Arm Architecture Reference Manual."""
    instruction = int.from_bytes(code[-4:], "little")
    if instruction & 0xFF8003FF == 0xD10003FF:
        amount = instruction >> 10 & 0xFFF
        return by == (amount << 12 if instruction & 1 << 22 else amount)
    if instruction >> 5 & 31 != _SP:
        return False
    if instruction & 0x3BC00000 == 0x29800000:
        width = instruction >> 30
        size = 4 << width if instruction >> 26 & 1 else 8 if width == 2 else 4
        return by == (128 - (instruction >> 15 & 0x7F)) * size
    if instruction & 0x3B200C00 == 0x38000C00:
        return by == 512 - (instruction >> 12 & 0x1FF)
    return False


_JUDGES = {"x86-64": _x86_moves, "i386": _x86_moves, "aarch64": _arm64_moves}
