"""How long an x86 instruction is: enough of a decoder to go through code step by step.

Intel SDM volume 2, appendix A (opcode maps) and chapter 2 (ModRM, SIB, REX, VEX, EVEX). 32-bit
instructions with 16-bit addresses, or of AVX-512, are not known.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0xF0, 0xF2, 0xF3))
_MAX_PREFIXES = 14
_MODRM, _WIDE = 0x100, 0x200  # a ModRM byte; an operand of four bytes, or two with prefix 66
_UNKNOWN = -1


def _one_byte_map() -> list[int]:
    """For each opcode: bytes of immediate operands, and whether there is a ModRM byte."""
    table = [0] * 256
    for row in range(0, 0x40, 8):
        table[row : row + 6] = [_MODRM] * 4 + [1, _WIDE]
    for op in (0x62, 0x63, *range(0x84, 0x90), *range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xFE, 0xFF):
        table[op] = _MODRM
    for op in (*range(0x70, 0x80), 0x6A, 0xA8, *range(0xB0, 0xB8), 0xCD, 0xD4, 0xD5,
               *range(0xE0, 0xE8), 0xEB):  # fmt: skip
        table[op] = 1
    for op in (0x68, 0xA9, *range(0xB8, 0xC0)):
        table[op] = _WIDE
    for op in (*range(0xA0, 0xA4), 0xE8, 0xE9):
        table[op] = 4  # an address or a distance, whatever the operand size
    for op in (0x6B, 0x80, 0x82, 0x83, 0xC0, 0xC1, 0xC6):
        table[op] = _MODRM | 1
    for op in (0x69, 0x81, 0xC7):
        table[op] = _MODRM | _WIDE
    table[0xC2] = table[0xCA] = 2
    table[0xC8] = 3
    table[0x9A] = table[0xEA] = _WIDE | 2
    table[0xC4] = table[0xC5] = _MODRM  # les, lds; or VEX
    table[0xF6] = table[0xF7] = _MODRM
    for op in (*_PREFIXES, 0x67, 0xD6):
        table[op] = _UNKNOWN
    return table


def _two_byte_map() -> list[int]:
    """The same of opcodes behind 0F."""
    table = [_MODRM] * 256
    for op in (5, 6, 7, 8, 9, 0xB, 0xE, *range(0x30, 0x38), 0x77, 0xA0, 0xA1, 0xA2, 0xA8, 0xA9,
               0xAA, *range(0xC8, 0xD0)):  # fmt: skip
        table[op] = 0
    for op in (*range(0x70, 0x74), 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6, 0x0F):
        table[op] = _MODRM | 1
    for op in range(0x80, 0x90):
        table[op] = 4
    table[0x04] = table[0x0A] = table[0x0C] = table[0x24] = table[0x26] = _UNKNOWN
    return table


def _one_byte_map_64(table: list[int]) -> list[int]:
    """Where 64-bit code differs: no BCD, no pushes of segments; addresses of 8 bytes."""
    table = list(table)
    for op in (0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F, 0x60, 0x61, 0x82,
               0x9A, 0xCE, 0xD4, 0xD5, 0xEA):  # fmt: skip
        table[op] = _UNKNOWN
    for op in range(0xA0, 0xA4):
        table[op] = 8
    return table


_ONE, _TWO = _one_byte_map(), _two_byte_map()
_ONE_64 = _one_byte_map_64(_ONE)


def instruction_length_64(code: Buffer, at: int) -> int:
    """`instruction_length` of 64-bit code."""
    start, size = at, len(code)
    limit = min(size, at + _MAX_PREFIXES)
    wide = 4
    while at < limit and (code[at] in _PREFIXES or code[at] == 0x67):
        if code[at] == 0x66:
            wide = 2
        at += 1
    if at < limit and 0x40 <= code[at] < 0x50:  # REX
        if code[at] & 8:
            # Nothing but a mov of a constant to a register has one of eight bytes.
            wide = 8 if at + 1 < size and 0xB8 <= code[at + 1] < 0xC0 else 4
        at += 1
    if at >= size:
        return 0
    op, at = code[at], at + 1
    following = code[at] if at < size else 0
    if at >= size and op in (0x0F, 0x62, 0xC4, 0xC5):
        return 0
    if op in (0xC4, 0xC5):
        at, shape = _vex(code, at, op)
    elif op == 0x62:
        at, shape = _evex(code, at)
    elif op == 0x0F:
        at, shape = _behind_0f(at, following)
    else:
        shape = _test_operand(op, following, _ONE_64[op])
    return _whole(code, start, at, shape, wide)


def instruction_length(code: Buffer, at: int) -> int:
    """The length of the i386 instruction at `code[at]`; 0 if it is not known or cut off."""
    start, size = at, len(code)
    limit = min(size, at + _MAX_PREFIXES)
    wide = 4
    while at < limit and code[at] in _PREFIXES:
        if code[at] == 0x66:
            wide = 2
        at += 1
    if at + 1 >= size:
        return 1 if at < size and _ONE[code[at]] == 0 and code[at] != 0x0F else 0
    op, following = code[at], code[at + 1]
    at += 1
    if op in (0xC4, 0xC5) and following >= 0xC0:
        at, shape = _vex(code, at, op)
    elif op == 0x0F:
        at, shape = _behind_0f(at, following)
    else:
        shape = _test_operand(op, following, _ONE[op])
    return _whole(code, start, at, shape, wide)


def _behind_0f(at: int, following: int) -> tuple[int, int]:
    if following in (0x38, 0x3A):
        return at + 2, _MODRM | (following == 0x3A)
    return at + 1, _TWO[following]


def _test_operand(op: int, following: int, shape: int) -> int:
    if op in (0xF6, 0xF7) and following & 0x30 == 0:  # test has an immediate operand
        shape |= 1 if op == 0xF6 else _WIDE
    return shape


def _whole(code: Buffer, start: int, at: int, shape: int, wide: int) -> int:
    """The length, once what follows the opcode is known."""
    if shape == _UNKNOWN:
        return 0
    if shape & _MODRM:
        operand = _operand_length(code, at)
        if not operand:
            return 0
        at += operand
    at += shape & 0xFF
    if shape & _WIDE:
        at += wide
    return at - start if at <= len(code) else 0


def _vex(code: Buffer, at: int, op: int) -> tuple[int, int]:
    """Where the ModRM byte is behind a VEX prefix, and the operands."""
    if op == 0xC5:
        opcode, table = at + 1, 1
    else:
        opcode, table = at + 2, code[at] & 0x1F
    if opcode >= len(code) or table not in (1, 2, 3):
        return at, _UNKNOWN
    if table == 1:
        return opcode + 1, _TWO[code[opcode]]
    return opcode + 1, _MODRM | (table == 3)


def _evex(code: Buffer, at: int) -> tuple[int, int]:
    """The same of an EVEX prefix, whose displacements of one byte are one byte as well."""
    opcode = at + 3
    if opcode >= len(code) or code[at] & 7 not in (1, 2, 3):
        return at, _UNKNOWN
    if code[at] & 7 == 1:
        return opcode + 1, _TWO[code[opcode]]
    return opcode + 1, _MODRM | (code[at] & 7 == 3)


def _operand_length(code: Buffer, at: int) -> int:
    """The bytes of ModRM, SIB and displacement; 0 if they are cut off."""
    size = len(code)
    if at >= size:
        return 0
    mode, rm = code[at] >> 6, code[at] & 7
    if mode == 3:
        return 1
    length = 1
    if rm == 4:
        if at + 1 >= size:
            return 0
        length = 2
        rm = code[at + 1] & 7
    if mode == 1:
        return length + 1
    return length + 4 if mode == 2 or rm == 5 else length
