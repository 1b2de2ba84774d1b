"""Whether a function's first instructions are those that its unwind data were made for."""

from __future__ import annotations

from unspool.arch.x86_length import instruction_length, instruction_length_64
from unspool.cursor import Cursor
from unspool.formats import cfi_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch
    from unspool.formats.cfi import CfiSection, Fde
    from unspool.memory import Memory

# A function has its frame after so many bytes, or it is not looked at any further.
_FAR = 64
_LONGEST = 15
_SP = 31


def disagreement(arch: Arch, memory: Memory, section: CfiSection, fde: Fde) -> str | None:
    """Why an FDE cannot be of the code at its address, in words; None if nothing speaks for that.

    What is looked at is where the data say that the stack pointer has moved, while the function
    makes its frame: the instruction before must have done that. Code that is not at hand speaks
    for nothing.
    """
    judge = _JUDGES.get(arch.name)
    if judge is None:
        return None
    before = cfi_row.row_at(section, fde, fde.start).cfa_offset
    for address in _changes(section, fde):
        row = cfi_row.row_at(section, fde, address)
        if row.cfa_expression is not None or row.cfa_register != arch.sp:
            return None
        grown, before = row.cfa_offset - before, row.cfa_offset
        if grown < 0:
            return None
        size = address - fde.start
        code = memory.read_available(fde.start, size + _LONGEST)
        if len(code) < size:
            return None
        if grown and not judge(code, size, grown, arch.pointer_size):
            return f"no instruction before 0x{address:x} moves the stack pointer by {grown}"
    return None


def _changes(section: CfiSection, fde: Fde) -> list[int]:
    """Where the first of the FDE's rows begin, behind the function's start."""
    cursor = Cursor(section.buffer, fde.instructions, fde.instructions_end)
    address = fde.start
    found: list[int] = []
    end = min(fde.end, fde.start + _FAR)
    while cursor.offset < cursor.end and address < end:
        opcode = cursor.u8()
        if opcode >> 6 == 1:
            address += (opcode & 0x3F) * fde.cie.code_align
        elif opcode in _ADVANCES:
            address += cursor.unsigned(_ADVANCES[opcode]) * fde.cie.code_align
        else:
            for kind in _operands(opcode):
                if kind == "?":
                    return found
                if kind == "s":
                    cursor.sleb()
                else:
                    value = cursor.uleb()
                    cursor.skip(value if kind == "b" else 0)
            continue
        if fde.start < address < end:
            found.append(address)
    return found


def _operands(opcode: int) -> str:
    if opcode >> 6:
        return "u" if opcode >> 6 == 2 else ""  # DW_CFA_offset, DW_CFA_restore
    return _OPERANDS.get(opcode, "?")


# DW_CFA_advance_loc1, 2 and 4, and what follows the opcodes of other instructions (DWARF 5, 7.24):
# unsigned and signed numbers, blocks. Where anything else comes, nothing more is looked at.
_ADVANCES = {0x02: 1, 0x03: 2, 0x04: 4}
_OPERANDS = {
    0x00: "", 0x05: "uu", 0x06: "u", 0x07: "u", 0x08: "u", 0x09: "uu", 0x0A: "", 0x0B: "",
    0x0C: "uu", 0x0D: "u", 0x0E: "u", 0x0F: "b", 0x10: "ub", 0x11: "us", 0x12: "us", 0x13: "s",
    0x14: "uu", 0x15: "us", 0x16: "ub", 0x2D: "", 0x2E: "u",
}  # fmt: skip


def _x86_moves(code: bytes, size: int, by: int, word: int) -> bool:
    """Whether the instruction before `code[size]` makes the stack larger by so many bytes.

    Intel SDM, volume 2: PUSH, SUB and ADD, LEA. Instructions that are not known speak for nothing.
    """
    length = instruction_length_64 if word == 8 else instruction_length
    at = last = 0
    while at < size:
        step = length(code, at)
        if step <= 0:
            return True
        last, at = at, at + step
    if at > size:
        return False
    instruction = code[last:size].lstrip(_PREFIXES)
    if by == word and _is_push(instruction, word):
        return True
    if word == 8:
        if not instruction or instruction[0] & 0xF8 != 0x48:
            return False
        instruction = instruction[1:]
    # SUB and LEA of a register: frames that are too large for one page are made like that.
    if instruction[:1] in (b"\x29", b"\x2b"):
        return by >= 0x1000
    signed = int.from_bytes(instruction[2:], "little", signed=True)
    if instruction[:2] in (b"\x83\xec", b"\x81\xec"):
        return by == signed
    if instruction[:2] in (b"\x83\xc4", b"\x81\xc4"):
        return by == -signed
    signed = int.from_bytes(instruction[3:], "little", signed=True)
    return instruction[:3] in (b"\x8d\x64\x24", b"\x8d\xa4\x24") and by == -signed


def _is_push(instruction: bytes, word: int) -> bool:
    if word == 8 and instruction[:1] and instruction[0] & 0xF0 == 0x40:
        instruction = instruction[1:]
    return (
        instruction[:1] in _PUSHES
        or (instruction[:1] == b"\xff" and len(instruction) > 1 and instruction[1] >> 3 & 7 == 6)
    )  # fmt: skip


_PREFIXES = b"\xf2\xf3\x26\x2e\x36\x3e\x64\x65"
_PUSHES = {bytes([op]) for op in (*range(0x50, 0x58), 0x68, 0x6A, 0x9C)}


def _arm64_moves(code: bytes, size: int, by: int, word: int) -> bool:
    """The same. SUB (immediate), STP and STR (pre-index), Arm Architecture Reference Manual."""
    instruction = int.from_bytes(code[size - 4 : size], "little")
    if instruction & 0xFF8003FF == 0xD10003FF:
        amount = instruction >> 10 & 0xFFF
        return by == (amount << 12 if instruction & 1 << 22 else amount)
    if instruction & 0xFFE0FFFF == 0xCB2063FF:
        return by >= 0x1000  # sub sp, sp, register
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
