"""An assembler of DWARF expressions (DWARF 5, 2.5 and 7.7.1).

    program = assemble(breg(7, 8), op("deref"), ("bra", "done"), lit(0), ("label", "done"))

Pieces are bytes, or ("label", name), ("bra", name) and ("skip", name).
"""

from __future__ import annotations

import struct

from tests.build.encoding import sleb, uleb

SIMPLE = {
    "deref": 0x06, "dup": 0x12, "drop": 0x13, "over": 0x14, "swap": 0x16, "rot": 0x17,
    "xderef": 0x18, "abs": 0x19, "and": 0x1A, "div": 0x1B, "minus": 0x1C, "mod": 0x1D,
    "mul": 0x1E, "neg": 0x1F, "not": 0x20, "or": 0x21, "plus": 0x22, "shl": 0x24, "shr": 0x25,
    "shra": 0x26, "xor": 0x27, "eq": 0x29, "ge": 0x2A, "gt": 0x2B, "le": 0x2C, "lt": 0x2D,
    "ne": 0x2E, "nop": 0x96, "push_object_address": 0x97, "form_tls_address": 0x9B,
    "call_frame_cfa": 0x9C, "stack_value": 0x9F,
}  # fmt: skip
_CONST = {
    "1u": (0x08, "<B"), "1s": (0x09, "<b"), "2u": (0x0A, "<H"), "2s": (0x0B, "<h"),
    "4u": (0x0C, "<I"), "4s": (0x0D, "<i"), "8u": (0x0E, "<Q"), "8s": (0x0F, "<q"),
}  # fmt: skip


def op(name: str) -> bytes:
    """An operation without operands."""
    return bytes([SIMPLE[name]])


def lit(value: int) -> bytes:
    if not 0 <= value < 32:
        raise ValueError(value)
    return bytes([0x30 + value])


def const(form: str, value: int) -> bytes:
    """`form` is one of 1u 1s 2u 2s 4u 4s 8u 8s."""
    code, packing = _CONST[form]
    return bytes([code]) + struct.pack(packing, value)


def constu(value: int) -> bytes:
    return b"\x10" + uleb(value)


def consts(value: int) -> bytes:
    return b"\x11" + sleb(value)


def number(value: int) -> bytes:
    """A constant in a form that holds it."""
    if 0 <= value < 32:
        return lit(value)
    return constu(value) if value >= 0 else consts(value)


def addr(value: int, size: int = 8) -> bytes:
    return b"\x03" + value.to_bytes(size, "little")


def reg(number: int) -> bytes:
    return bytes([0x50 + number]) if number < 32 else b"\x90" + uleb(number)


def breg(number: int, offset: int = 0) -> bytes:
    if number < 32:
        return bytes([0x70 + number]) + sleb(offset)
    return bregx(number, offset)


def bregx(number: int, offset: int = 0) -> bytes:
    return b"\x92" + uleb(number) + sleb(offset)


def fbreg(offset: int) -> bytes:
    return b"\x91" + sleb(offset)


def plus_uconst(value: int) -> bytes:
    return b"\x23" + uleb(value)


def pick(index: int) -> bytes:
    return bytes([0x15, index])


def deref_size(size: int) -> bytes:
    return bytes([0x94, size])


def bra(delta: int) -> bytes:
    """A branch; `delta` counts from the end of the operation."""
    return struct.pack("<Bh", 0x28, delta)


def skip(delta: int) -> bytes:
    return struct.pack("<Bh", 0x2F, delta)


def assemble(*pieces: bytes | tuple[str, str]) -> bytes:
    """Joins the pieces and resolves branches to labels."""
    labels: dict[str, int] = {}
    position = 0
    for piece in pieces:
        if isinstance(piece, bytes):
            position += len(piece)
        elif piece[0] == "label":
            labels[piece[1]] = position
        else:
            position += 3
    out = b""
    for piece in pieces:
        if isinstance(piece, bytes):
            out += piece
        elif piece[0] != "label":
            branch = {"bra": bra, "skip": skip}[piece[0]]
            out += branch(labels[piece[1]] - len(out) - 3)
    return out
