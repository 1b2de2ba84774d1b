"""An assembler of call frame information: .eh_frame, .debug_frame and .eh_frame_hdr.

    frames = FrameSection(address=0x5000)
    cie = frames.cie(augmentation="zR", initial=def_cfa(7, 8) + offset(16, 1))
    frames.fde(cie, 0x1000, 0x40, advance_loc(1) + def_cfa_offset(16))
    data = frames.build()

Instructions are functions that give bytes. Operands are the ones that are encoded:
offsets of `offset`, `advance_loc` and the like are factored, as in the specification
(DWARF 5, 6.4.2; LSB Core 5.0, 10.6 for .eh_frame).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

# All of them are part of this module as its users see it.
from tests.build.encoding import (  # noqa: F401
    ABSPTR,
    ALIGNED,
    DATAREL,
    FUNCREL,
    INDIRECT,
    OMIT,
    PCREL,
    SDATA2,
    SDATA4,
    SDATA8,
    SIGNED,
    SLEB128,
    TEXTREL,
    UDATA2,
    UDATA4,
    UDATA8,
    ULEB128,
    Bases,
    plain,
    pointer,
    sleb,
    uleb,
)


def block(data: bytes) -> bytes:
    return uleb(len(data)) + data


# --- call frame instructions ----------------------------------------------------------


def nop() -> bytes:
    return b"\x00"


def set_loc(encoded: bytes) -> bytes:
    """The operand is encoded as the FDE's pointers are: give it encoded."""
    return b"\x01" + encoded


def advance_loc(delta: int) -> bytes:
    """The six-bit form; `delta` is factored."""
    if not 0 <= delta < 64:
        raise ValueError(delta)
    return bytes([0x40 | delta])


def advance_loc1(delta: int) -> bytes:
    return struct.pack("<BB", 0x02, delta)


def advance_loc2(delta: int) -> bytes:
    return struct.pack("<BH", 0x03, delta)


def advance_loc4(delta: int) -> bytes:
    return struct.pack("<BI", 0x04, delta)


def mips_advance_loc8(delta: int) -> bytes:
    return struct.pack("<BQ", 0x1D, delta)


def advance(delta: int) -> bytes:
    """The shortest form."""
    if delta < 64:
        return advance_loc(delta)
    if delta < 0x100:
        return advance_loc1(delta)
    return advance_loc2(delta) if delta < 0x10000 else advance_loc4(delta)


def offset(register: int, factored: int) -> bytes:
    """The six-bit form."""
    if not 0 <= register < 64:
        raise ValueError(register)
    return bytes([0x80 | register]) + uleb(factored)


def offset_extended(register: int, factored: int) -> bytes:
    return b"\x05" + uleb(register) + uleb(factored)


def restore(register: int) -> bytes:
    if not 0 <= register < 64:
        raise ValueError(register)
    return bytes([0xC0 | register])


def restore_extended(register: int) -> bytes:
    return b"\x06" + uleb(register)


def undefined(register: int) -> bytes:
    return b"\x07" + uleb(register)


def same_value(register: int) -> bytes:
    return b"\x08" + uleb(register)


def register(number: int, holder: int) -> bytes:
    return b"\x09" + uleb(number) + uleb(holder)


def remember_state() -> bytes:
    return b"\x0a"


def restore_state() -> bytes:
    return b"\x0b"


def def_cfa(register: int, distance: int) -> bytes:
    return b"\x0c" + uleb(register) + uleb(distance)


def def_cfa_register(register: int) -> bytes:
    return b"\x0d" + uleb(register)


def def_cfa_offset(distance: int) -> bytes:
    return b"\x0e" + uleb(distance)


def def_cfa_expression(program: bytes) -> bytes:
    return b"\x0f" + block(program)


def expression(register: int, program: bytes) -> bytes:
    return b"\x10" + uleb(register) + block(program)


def offset_extended_sf(register: int, factored: int) -> bytes:
    return b"\x11" + uleb(register) + sleb(factored)


def def_cfa_sf(register: int, factored: int) -> bytes:
    return b"\x12" + uleb(register) + sleb(factored)


def def_cfa_offset_sf(factored: int) -> bytes:
    return b"\x13" + sleb(factored)


def val_offset(register: int, factored: int) -> bytes:
    return b"\x14" + uleb(register) + uleb(factored)


def val_offset_sf(register: int, factored: int) -> bytes:
    return b"\x15" + uleb(register) + sleb(factored)


def val_expression(register: int, program: bytes) -> bytes:
    return b"\x16" + uleb(register) + block(program)


def gnu_window_save() -> bytes:
    """On AArch64 the same opcode is DW_CFA_AARCH64_negate_ra_state."""
    return b"\x2d"


negate_ra_state = gnu_window_save


def negate_ra_state_with_pc() -> bytes:
    return b"\x2c"


def gnu_args_size(size: int) -> bytes:
    return b"\x2e" + uleb(size)


def gnu_negative_offset_extended(register: int, factored: int) -> bytes:
    return b"\x2f" + uleb(register) + uleb(factored)


# --- sections -------------------------------------------------------------------------


class Cie:
    def __init__(self, at: int, keywords: dict[str, object]) -> None:
        self.at = at
        self.augmentation = str(keywords["augmentation"])
        self.fde_encoding = int(keywords["fde_encoding"])  # type: ignore[call-overload]
        self.lsda_encoding = int(keywords["lsda_encoding"])  # type: ignore[call-overload]
        self.address_size = int(keywords["address_size"])  # type: ignore[call-overload]
        self.version = int(keywords["version"])  # type: ignore[call-overload]
        self.segment_size = int(keywords["segment_size"])  # type: ignore[call-overload]


class FrameSection:
    """A section of CIEs and FDEs at `address`; `kind` is "eh_frame" or "debug_frame".

    `dwarf64` entries have 64-bit lengths. In .eh_frame the CIE id stays four bytes wide
    even then (LSB), though readelf and libdw read eight: `id_size` chooses.
    """

    def __init__(
        self,
        kind: str = "eh_frame",
        address: int = 0,
        *,
        address_size: int = 8,
        dwarf64: bool = False,
        id_size: int | None = None,
        bases: Bases | None = None,
    ) -> None:
        self.eh = kind == "eh_frame"
        self.address = address
        self.address_size = address_size
        self.dwarf64 = dwarf64
        self.id_size = id_size or (8 if dwarf64 and not self.eh else 4)
        self.bases = bases or Bases()
        self.out = bytearray()
        self.table: list[tuple[int, int]] = []  # (function start, address of its FDE)

    def cie(
        self,
        *,
        version: int = 1,
        augmentation: str = "zR",
        code_align: int = 1,
        data_align: int = -8,
        return_register: int = 16,
        fde_encoding: int = PCREL | SDATA4,
        lsda_encoding: int = PCREL | SDATA4,
        personality: tuple[int, int] = (ABSPTR, 0),
        initial: bytes = b"",
        eh_pointer: int = 0,
        segment_size: int = 0,
        augmentation_extra: bytes = b"",
        **lies: int,
    ) -> Cie:
        """Adds a CIE. The letters of `augmentation` say which of the operands are written."""
        at = len(self.out)
        identity = 0 if self.eh else (1 << 8 * self.id_size) - 1
        head = bytes([version]) + augmentation.encode() + b"\0"
        if "eh" in augmentation:
            head += plain(eh_pointer, ABSPTR, self.address_size)
        if version >= 4:
            head += bytes([lies.get("address_size", self.address_size), segment_size])
        head += uleb(code_align) + sleb(data_align)
        head += bytes([return_register]) if version == 1 else uleb(return_register)
        if augmentation.startswith("z"):
            prefix = self._head_size() + len(head) + 1
            data = b""
            for letter in augmentation[1:]:
                if letter == "R":
                    data += bytes([fde_encoding])
                elif letter == "L":
                    data += bytes([lsda_encoding])
                elif letter == "P":
                    where = self.address + at + prefix + len(data) + 1
                    data += bytes([personality[0]])
                    data += pointer(
                        personality[1], personality[0], where, self.address_size, self.bases
                    )
            data += augmentation_extra
            head += uleb(lies.get("augmentation_size", len(data))) + data
        self._entry(lies.get("id", identity), head + initial, lies)
        names = ("augmentation", "fde_encoding", "lsda_encoding", "version", "segment_size")
        scope = locals()
        keywords: dict[str, object] = {name: scope[name] for name in names}
        keywords["address_size"] = lies.get("address_size", self.address_size)
        return Cie(at, keywords)

    def fde(
        self,
        cie: Cie | int,
        start: int,
        size: int,
        instructions: bytes = b"",
        *,
        lsda: int | None = None,
        encoding: int | None = None,
        **lies: int,
    ) -> int:
        """Adds an FDE and gives its offset. `cie` may be a raw offset (a lie)."""
        at = len(self.out)
        owner = cie if isinstance(cie, Cie) else None
        cie_at = owner.at if owner else int(cie)  # type: ignore[arg-type]
        width = owner.address_size if owner else self.address_size
        letters = owner.augmentation if owner else "zR"
        if encoding is None:
            encoding = owner.fde_encoding if owner and "R" in letters else ABSPTR
            encoding = encoding if owner else PCREL | SDATA4
        body = bytes(owner.segment_size if owner and owner.version >= 4 else 0)
        begin = self.address + at + self._head_size()
        body += pointer(start, encoding, begin + len(body), width, self.bases)
        body += plain(size, encoding & 0x0F, width)
        if letters.startswith("z"):
            data = b""
            if "L" in letters and owner:
                where = begin + len(body) + 1
                data = pointer(lsda or 0, owner.lsda_encoding, where, width, self.bases)
            body += uleb(lies.get("augmentation_size", len(data))) + data
        id_at = at + (12 if self.dwarf64 else 4)
        identity = id_at - cie_at if self.eh else cie_at
        self._entry(lies.get("id", identity), body + instructions, lies)
        self.table.append((start, self.address + at))
        return at

    def _head_size(self) -> int:
        return (12 if self.dwarf64 else 4) + self.id_size

    def _entry(self, identity: int, body: bytes, lies: dict[str, int]) -> None:
        body = (identity & ((1 << 8 * self.id_size) - 1)).to_bytes(self.id_size, "little") + body
        start = 12 if self.dwarf64 else 4
        # Entries are padded with DW_CFA_nop, which is 0, to the size of an address.
        body += bytes(-(start + len(body)) % self.address_size)
        length = lies.get("length", len(body))
        if self.dwarf64:
            self.out += struct.pack("<IQ", 0xFFFFFFFF, length) + body
        else:
            self.out += struct.pack("<I", length) + body

    def raw(self, data: bytes) -> None:
        self.out += data

    def build(self, terminator: bool | None = None) -> bytes:
        """The section; .eh_frame ends with a zero word unless told otherwise."""
        end = self.eh if terminator is None else terminator
        return bytes(self.out) + (bytes(4) if end else b"")


def eh_frame_header(
    frames: FrameSection,
    address: int,
    *,
    version: int = 1,
    pointer_encoding: int = PCREL | SDATA4,
    count_encoding: int = UDATA4,
    table_encoding: int = DATAREL | SDATA4,
    entries: Sequence[tuple[int, int]] | None = None,
    count: int | None = None,
    ordered: bool = True,
) -> bytes:
    """An .eh_frame_hdr at `address` for `frames`; table addresses relative to itself."""
    bases = Bases(data=address, text=frames.bases.text)
    size = frames.address_size
    out = bytes([version, pointer_encoding, count_encoding, table_encoding])
    out += pointer(frames.address, pointer_encoding, address + len(out), size, bases)
    if OMIT in (count_encoding, table_encoding):
        return out
    rows = list(frames.table if entries is None else entries)
    if ordered:
        rows.sort()
    total = len(rows) if count is None else count
    out += plain(total, count_encoding & 0x0F, size)
    for row in rows:
        for value in row:
            out += pointer(value, table_encoding, address + len(out), size, bases)
    return out
