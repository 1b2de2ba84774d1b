"""Does the instruction that faulted read memory, or write it? (Mostly a data table.)

A core says where a fault was and not what it was: the CPU's error code stays in the
kernel. The instruction tells, for all that compilers use; for the rest the answer is "".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

READ, WRITE, UNKNOWN = "read", "write", ""

# The longest instruction of x86; longer ones are invalid.
LONGEST = 15

# What an opcode does to its memory operand: `r` reads, `w` writes (or reads and writes),
# `.` neither; where ModRM's middle bits are part of the opcode, `g` (see `_GROUPS`).
# In capitals, the address is not in a ModRM byte: `R`, `W`; `S` for movs, which does both;
# `K` pushes, `O` pops. `k` reads its operand and pushes, `o` pops into its operand.
# Intel SDM volume 2, appendix A, tables.
_ONE_BYTE = (
    "wwrr..KO" "wwrr..K." "wwrr..KO" "wwrr..KO"  # 00-1f
    "wwrr...." "wwrr...." "wwrr...." "rrrr...."  # 20-3f
    "........" "........" "KKKKKKKK" "OOOOOOOO"  # 40-5f
    "KOrr...." "KrKrWWRR" "........" "........"  # 60-7f
    "ggggrrww" "wwrrw.rg" "........" "..K.KO.."  # 80-9f
    "RRWWSSRR" "..WWRRRR" "........" "........"  # a0-bf
    "ggOOrrgg" "KOOO...O" "gggg...R" "gggggggg"  # c0-df
    "........" "K......." "......gg" "......gg"  # e0-ff
)  # fmt: skip

_TWO_BYTE = (
    "ggrr...." "........" "rwrwrrrw" "........"  # 00-1f
    "........" "rwrwrrrr" "........" "........"  # 20-3f
    "rrrrrrrr" "rrrrrrrr" ".rrrrrrr" "rrrrrrrr"  # 40-5f
    "rrrrrrrr" "rrrrrrrr" "rgggrrr." "w...rrgw"  # 60-7f
    "........" "........" "wwwwwwww" "wwwwwwww"  # 80-9f
    "KO.rww.." "KO.wwwgr" "wwrwrrrr" "r.gwrrrr"  # a0-bf
    "wwrwr.rg" "........" "rrrrrrw." "rrrrrrrr"  # c0-df
    "rrrrrrrw" "rrrrrrrr" "rrrrrrrW" "rrrrrrr."  # e0-ff
)  # fmt: skip

# By the middle three bits of ModRM.
_GROUPS = {
    0x80: "wwwwwwwr", 0x81: "wwwwwwwr", 0x82: "wwwwwwwr", 0x83: "wwwwwwwr",
    0x8F: "o.......",
    0xC0: "wwwwwwww", 0xC1: "wwwwwwww", 0xC6: "w.......", 0xC7: "w.......",
    0xD0: "wwwwwwww", 0xD1: "wwwwwwww", 0xD2: "wwwwwwww", 0xD3: "wwwwwwww",
    0xD8: "rrrrrrrr", 0xD9: "r.wwrrww", 0xDA: "rrrrrrrr", 0xDB: "rwww.r.w",
    0xDC: "rrrrrrrr", 0xDD: "rwwwr.ww", 0xDE: "rrrrrrrr", 0xDF: "rwwwrrww",
    0xF6: "rrwwrrrr", 0xF7: "rrwwrrrr", 0xFE: "ww......", 0xFF: "wwkkrrk.",
    0x0F00: "wwrrrr..", 0x0F01: "wwrrw.r.",
    0x0F71: "rrrrrrrr", 0x0F72: "rrrrrrrr", 0x0F73: "rrrrrrrr",
    0x0FAE: "wrrwwrw.", 0x0FBA: "....rwww", 0x0FC7: ".w.rww..",
}  # fmt: skip

# In the maps 0F 38 and 0F 3A memory is read, but for these. "f3": the narrowing moves of
# AVX-512, which have that prefix.
_WRITES_38 = frozenset(
    (
        0x2E,
        0x2F,
        0x63,
        0x8A,
        0x8B,
        0x8E,
        0xA0,
        0xA1,
        0xA2,
        0xA3,
        *range(0xE0, 0xF0),
        0xF1,
        0xF9,
        0xFC,
    )
)
_WRITES_38_F3 = frozenset((*range(0x10, 0x16), *range(0x20, 0x26), *range(0x30, 0x36)))
_WRITES_3A = frozenset((0x14, 0x15, 0x16, 0x17, 0x19, 0x1B, 0x1D, 0x39, 0x3B))

_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))


def x86_role(code: bytes, wide: bool) -> str:
    """The letter (see `_ONE_BYTE`) of the instruction that `code` starts with.

    `wide` is for 64-bit code. "." is also the answer for what is cut off or not known.
    """
    try:
        return _role(code, wide)
    except IndexError:
        return "."


def _role(code: bytes, wide: bool) -> str:
    at = 0
    mandatory = 0
    while code[at] in _PREFIXES or (wide and code[at] & 0xF0 == 0x40):
        if code[at] in (0xF2, 0xF3) or (code[at] == 0x66 and not mandatory):
            mandatory = code[at]
        at += 1
    first = code[at]
    if first in (0x62, 0xC4, 0xC5) and (wide or code[at + 1] >= 0xC0):
        return _vector_role(code, at)
    if first != 0x0F:
        letter = _ONE_BYTE[first]
        if first == 0x63 and not wide:
            letter = "w"  # arpl
        return _by_modrm(letter, first, code, at + 1)
    second = code[at + 1]
    if second in (0x38, 0x3A):
        return _by_modrm(_long_letter(second, code[at + 2], mandatory), 0, code, at + 3)
    return _by_modrm(_two_byte_letter(second, mandatory), 0x0F00 | second, code, at + 2)


def _vector_role(code: bytes, at: int) -> str:
    """VEX (C5, C4) and EVEX (62) prefixes hold the map and the mandatory prefix."""
    if code[at] == 0xC5:
        table, prefix, at = 1, code[at + 1] & 3, at + 2
    elif code[at] == 0xC4:
        table, prefix, at = code[at + 1] & 0x1F, code[at + 2] & 3, at + 3
    else:
        table, prefix, at = code[at + 1] & 7, code[at + 2] & 3, at + 4
    mandatory = (0, 0x66, 0xF3, 0xF2)[prefix]
    opcode = code[at]
    if table == 1:
        return _by_modrm(_two_byte_letter(opcode, mandatory), 0x0F00 | opcode, code, at + 1)
    if table in (2, 3):
        letter = _long_letter(0x38 if table == 2 else 0x3A, opcode, mandatory)
        return _by_modrm("r" if opcode in (0xF5, 0xF6) else letter, 0, code, at + 1)
    return "."


def _two_byte_letter(opcode: int, mandatory: int) -> str:
    if opcode == 0x7E:  # movd and movq store, but for one form
        return "r" if mandatory == 0xF3 else "w"
    if opcode == 0xAE and mandatory:
        return "."  # shadow stacks, cache lines
    return _TWO_BYTE[opcode]


def _long_letter(table: int, opcode: int, mandatory: int) -> str:
    if table == 0x3A:
        return "w" if opcode in _WRITES_3A else "r"
    if opcode == 0xF1 and mandatory == 0xF2:
        return "r"  # crc32
    if opcode == 0xF8:
        return "."  # copies 64 bytes from one place to another
    if (opcode, mandatory) in ((0xF5, 0x66), (0xF6, 0)):
        return "w"  # shadow stacks
    if opcode in _WRITES_38_F3 and mandatory == 0xF3:
        return "w"
    return "w" if opcode in _WRITES_38 else "r"


def _by_modrm(letter: str, opcode: int, code: bytes, at: int) -> str:
    if letter == "." or letter.isupper():
        return letter
    modrm = code[at]
    if letter == "g":
        letter = _GROUPS[opcode][modrm >> 3 & 7] if opcode in _GROUPS else "."
    if modrm >> 6 == 3:  # a register, no memory; calls and pushes use the stack all the same
        return "K" if letter == "k" else "O" if letter == "o" else "."
    return letter


def x86_access(code: bytes, address: int, sp: int | None, di: int | None, *, wide: bool) -> str:
    """Whether the instruction at the start of `code` reads or writes at `address`.

    `sp` and `di` are the stack pointer and the register rdi or edi, which decide where an
    instruction does both in two places.
    """
    role = x86_role(code[:LONGEST], wide)
    pushed = sp is not None and sp - 64 <= address < sp
    popped = sp is not None and sp <= address < sp + 64
    if role == "S":
        return WRITE if di is not None and di <= address < di + 8 else READ
    if role in "kK":
        return WRITE if pushed or role == "K" else READ
    if role in "oO":
        return READ if popped or role == "O" else WRITE
    return {"r": READ, "R": READ, "w": WRITE, "W": WRITE}.get(role, UNKNOWN)


def aarch64_access(word: int) -> str:
    """Whether an A64 instruction reads or writes memory; what does both counts as a write.

    Arm ARM, C4.1 "A64 instruction set encoding", loads and stores.
    """
    if word & 0xFFFFFFE0 in (0xD50B7420, 0xD50B7460, 0xD50B7480):
        return WRITE  # dc zva, gva, gzva: memset
    if word >> 25 & 0b0101 != 0b0100:
        return UNKNOWN
    load = READ if word >> 22 & 1 else WRITE
    kind = word >> 27 & 7
    if kind == 0b011 and word >> 24 & 3 == 0:
        return READ if word >> 30 < 3 else UNKNOWN  # a literal; a prefetch never faults
    if kind == 0b001 and word >> 24 & 3 == 0:  # exclusive and ordered
        is_swap = word >> 21 & 1 and (word >> 23 & 1 or not word >> 31)
        return WRITE if is_swap else load
    if kind == 0b001 and word >> 26 & 1:
        return load  # vectors of structures
    if kind == 0b101:
        return load  # pairs
    if kind == 0b111:
        return _register_access(word)
    if kind == 0b011 and word >> 24 & 3 == 1 and not word >> 21 & 1 and not word >> 10 & 3:
        return WRITE if word >> 22 & 3 == 0 else READ  # ldapur, stlur
    return UNKNOWN


def _register_access(word: int) -> str:
    size, is_vector, opc = word >> 30, word >> 26 & 1, word >> 22 & 3
    if word >> 24 & 1 == 0 and word >> 21 & 1:
        form = word >> 10 & 3
        if form == 0:  # atomic operations; ldapr alone just reads
            return READ if word >> 12 & 0xF == 0b1100 else WRITE
        if form & 1:
            return READ  # ldraa, ldrab
    if is_vector:
        return READ if opc & 1 else WRITE
    if size == 3 and opc == 2:
        return UNKNOWN  # a prefetch never faults
    return WRITE if opc == 0 else READ


def access_kind(machine: str, code: bytes, address: int, registers: Sequence[int | None]) -> str:
    """`read`, `write` or "" for the instruction bytes at a faulting pc.

    `machine` is an architecture's report name, `registers` are by DWARF number.
    """
    if machine == "aarch64":
        return aarch64_access(int.from_bytes(code[:4], "little")) if len(code) >= 4 else UNKNOWN
    if machine == "x86_64":
        return x86_access(code, address, registers[7], registers[5], wide=True)
    if machine == "x86":
        return x86_access(code, address, registers[4], registers[7], wide=False)
    return UNKNOWN
