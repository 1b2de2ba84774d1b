"""Rows from 32-bit Arm's exception index: .ARM.exidx and .ARM.extab, of file or memory.

Its instructions hold where a function calls others, after its prologue. A thread that was
stopped anywhere is looked up in DWARF call frame information first, which holds everywhere;
devices rarely have any, and then `arm_edges.py` looks at the code.
"""

from __future__ import annotations

from struct import pack

from unspool.errors import FormatError
from unspool.formats import exidx, exidx_row
from unspool.model import Trust
from unspool.unwind import rows
from unspool.unwind.rows import Row
from unspool.unwind.step import Missed, TableStrategy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch
    from unspool.formats.exidx import Entry
    from unspool.formats.exidx_row import ExidxRow, Place
    from unspool.image import Image
    from unspool.space import AddressSpace
    from unspool.unwind.strategies.dwarf_cfi import DwarfCfi

_OP_DEREF, _OP_CONST4S, _OP_PLUS, _OP_BREG0 = 0x06, 0x0D, 0x22, 0x70


class ArmExidx(TableStrategy):
    """Finds the index entry of a pc's module and runs its instructions."""

    name = "arm_exidx"

    def __init__(self, space: AddressSpace, cfi: DwarfCfi) -> None:
        self.space = space
        self.cfi = cfi

    def row(self, pc: int, lookup_pc: int) -> Row | Missed:
        if pc == lookup_pc:
            row = self.cfi.row(pc, lookup_pc)
            if isinstance(row, Row):
                return row
        module = self.space.module_at(lookup_pc)
        if module is None:
            return Missed(f"0x{lookup_pc:x} is in no module")
        try:
            decoded = self.decoded(lookup_pc)
        except FormatError as error:
            return Missed(f"broken unwind data in {module.name}: {error}")
        if decoded is None:
            return Missed(f"{module.name} has no exception index")
        entry, row_of_entry = decoded
        if row_of_entry is None:
            return Missed("the exception index says that the function cannot be unwound")
        bias = self.image(lookup_pc).bias  # type: ignore[union-attr]
        return to_row(self.space.arch, row_of_entry, entry.start + bias)

    def is_barred(self, pc: int) -> bool:
        """Whether the exception index says that the code at an address cannot be unwound."""
        try:
            decoded = self.decoded(pc)
        except FormatError:
            return False
        return decoded is not None and decoded[1] is None

    def decoded(self, lookup_pc: int) -> tuple[Entry, ExidxRow | None] | None:
        """The index entry of an address and what its instructions say, if it has any.

        None if there is no entry. Raises `FormatError` for one that is broken.
        """
        image = self.image(lookup_pc)
        table = image.exidx() if image is not None else None
        if image is None or table is None:
            return None
        entry = table.find((lookup_pc - image.bias) & self.space.arch.mask)
        if entry is None or entry.cantunwind:
            return (entry, None) if entry is not None else None
        instructions = entry.instructions
        if instructions is None:
            assert entry.table is not None
            located = image.bytes_at(entry.table)
            if located is None:
                raise FormatError(f".ARM.extab entry 0x{entry.table:x}", "is not at hand")
            instructions = exidx.table_instructions(*located)
        return entry, exidx_row.run(instructions)

    def image(self, address: int) -> Image | None:
        from unspool.image import Image

        module = self.space.module_at(address)
        image = self.space.image(module) if module is not None else None
        return image if isinstance(image, Image) else None


def to_row(arch: Arch, decoded: ExidxRow, function: int | None = None) -> Row:
    """A decoded entry as the unwinder's own row, for the function at that address."""
    cfa = decoded.cfa
    saved: list[tuple[int, int]] = []
    other: list[rows.OtherRule] = []
    for register, place in decoded.saved.items():
        if place.origin is cfa.origin:
            saved.append((register, place.offset - cfa.offset))
        else:
            # The place has nothing to do with the CFA: the function moved its stack.
            other.append((register, rows.AT_EXPRESSION, expression(place)))
    simple = isinstance(cfa.origin, int)
    return Row(
        ArmExidx.name,
        Trust.UNWIND_INFO,
        arch,
        cfa.origin if isinstance(cfa.origin, int) else arch.sp,
        cfa.offset,
        saved,
        ra_column=decoded.ra_column,
        cfa_expression=None if simple else expression(cfa),
        other=other,
        function=function,
    )


def expression(place: Place) -> bytes:
    """A place as a DWARF expression of the callee's registers."""
    offsets = [place.offset]
    origin = place.origin
    while not isinstance(origin, int):
        offsets.append(origin.offset)
        origin = origin.origin
    parts = [bytes((_OP_BREG0 + origin, 0))]
    for depth, offset in enumerate(reversed(offsets)):
        if depth:
            parts.append(bytes((_OP_DEREF,)))
        parts.append(pack("<BiB", _OP_CONST4S, offset, _OP_PLUS))
    return b"".join(parts)
