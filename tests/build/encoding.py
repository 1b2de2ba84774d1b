"""Numbers and pointers as DWARF and the LSB encode them (DWARF 5, 7.6; LSB Core 5.0, 10.5.1)."""

from __future__ import annotations

# DW_EH_PE_*: the low four bits are a format, the next three what it is relative to.
ABSPTR, ULEB128, UDATA2, UDATA4, UDATA8 = 0x00, 0x01, 0x02, 0x03, 0x04
SIGNED, SLEB128, SDATA2, SDATA4, SDATA8 = 0x08, 0x09, 0x0A, 0x0B, 0x0C
PCREL, TEXTREL, DATAREL, FUNCREL, ALIGNED = 0x10, 0x20, 0x30, 0x40, 0x50
INDIRECT, OMIT = 0x80, 0xFF
_FIXED = {UDATA2: 2, UDATA4: 4, UDATA8: 8, SDATA2: 2, SDATA4: 4, SDATA8: 8}


def uleb(value: int, pad: int = 0) -> bytes:
    """Unsigned LEB128, in at least `pad` bytes."""
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        more = value or len(out) + 1 < pad
        out.append(byte | (0x80 if more else 0))
        if not more:
            return bytes(out)


def sleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        done = (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40)
        out.append(byte if done else byte | 0x80)
        if done:
            return bytes(out)


class Bases:
    """What encoded pointers can be relative to."""

    def __init__(self, text: int = 0, data: int = 0, function: int = 0) -> None:
        self.text = text
        self.data = data
        self.function = function


def pointer(
    value: int, encoding: int, here: int, size: int = 8, bases: Bases | None = None
) -> bytes:
    """`value` in `encoding`, for a pointer that lies at address `here`.

    With DW_EH_PE_indirect, `value` is the address of the word that holds the target.
    """
    if encoding == OMIT:
        return b""
    bases = bases or Bases()
    if encoding == ALIGNED:
        return bytes(-here % size) + value.to_bytes(size, "little")
    relative = {
        0: 0, PCREL: here, TEXTREL: bases.text, DATAREL: bases.data, FUNCREL: bases.function,
    }[encoding & 0x70]  # fmt: skip
    return plain(value - relative, encoding & 0x0F, size)


def plain(value: int, form: int, size: int = 8) -> bytes:
    """A number in the format of an encoding's low four bits."""
    if form == ULEB128:
        return uleb(value & ((1 << 8 * size) - 1))
    if form == SLEB128:
        return sleb(value)
    width = _FIXED.get(form, size)
    limit = 1 << 8 * width
    low, high = (-limit >> 1, limit >> 1) if form & SIGNED else (0, limit)
    if width == size:
        value &= limit - 1  # addresses wrap around
    elif not low <= value < high:
        raise ValueError(f"0x{value:x} does not fit into encoding 0x{form:x}")
    return (value & (limit - 1)).to_bytes(width, "little")
