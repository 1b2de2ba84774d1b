"""Rows from DWARF call frame information: .eh_frame, with or without its search table,
and .debug_frame, of the file itself or of a separate debug file.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats import cfi_row
from unspool.model import Trust
from unspool.unwind import rows
from unspool.unwind.rows import Row
from unspool.unwind.step import Missed, TableStrategy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch
    from unspool.formats.cfi import CfiSection, Fde
    from unspool.formats.cfi_row import CfiRow
    from unspool.space import AddressSpace, AnyImage

_OTHER_KINDS = {
    cfi_row.UNDEFINED: rows.UNDEFINED,
    cfi_row.VAL_OFFSET: rows.VALUE_OFFSET,
    cfi_row.REGISTER: rows.IN_REGISTER,
    cfi_row.EXPRESSION: rows.AT_EXPRESSION,
    cfi_row.VAL_EXPRESSION: rows.VALUE_EXPRESSION,
}

# Bytes of instructions executed for one target. The distinct pcs of half a million frames
# take less than that; a hostile FDE of a megabyte would be run anew for each pc in it.
_MAX_WORK = 16 << 20


class DwarfCfi(TableStrategy):
    """Finds the FDE of a pc's module and decodes its row."""

    name = "dwarf_cfi"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.room = _MAX_WORK

    def row(self, pc: int, lookup_pc: int) -> Row | Missed:
        module = self.space.module_at(lookup_pc)
        if module is None:
            return Missed(f"0x{lookup_pc:x} is in no module")
        image = self.space.image(module)
        if image is None:
            return Missed(f"neither the file nor the memory of {module.name} is at hand")
        address = (lookup_pc - image.bias) & self.space.arch.mask
        try:
            found = find_fde(image, address)
            if found is None:
                return Missed(_why_none(image, module.name))
            section, fde = found
            self.room -= fde.instructions_end - fde.instructions
            if self.room < 0:
                return Missed("absurdly much unwind data; no more of it is read")
            decoded = cfi_row.row_at(section, fde, address)
            return to_row(self.space.arch, decoded, fde.start + image.bias)
        except FormatError as error:
            return Missed(f"broken unwind data in {module.name}: {error}")


def find_fde(image: AnyImage, address: int) -> tuple[CfiSection, Fde] | None:
    """The FDE that covers a file address. Raises `FormatError` for one that is broken."""
    hdr, section = image.eh_frame_at(address)
    if section is not None:
        if hdr is not None:
            at = hdr.find(address)
            fde = section.fde_at_address(at) if at is not None else None
        else:
            fde = section.find(address)
        if fde is not None and fde.start <= address < fde.end:
            return section, fde
    for section in image.debug_frames():
        fde = section.find(address)
        if fde is not None:
            return section, fde
    return None


def _why_none(image: AnyImage, name: str) -> str:
    _, section = image.eh_frame()
    if section is None and not image.debug_frames():
        problem = f" ({image.problems[0]})" if image.problems else ""
        missing = "" if image.file is not None else ", whose file was not found"
        return f"no unwind data for {name}{missing}{problem}"
    return f"{name} has unwind data, but none for this address"


def to_row(arch: Arch, decoded: CfiRow, function: int | None = None) -> Row:
    """A decoded CFI row as the unwinder's own, for code of the function at that address.

    Raises `FormatError` if it makes no sense.

    Registers that the unwinder does not keep (vector registers) are dropped. A register
    without a rule keeps its value: the ABI says so of callee-saved ones, and of the others
    nobody asks.
    """
    count = len(arch.register_names)
    ra = decoded.ra_column
    if ra >= count or (decoded.cfa_expression is None and decoded.cfa_register >= count):
        raise FormatError("CFI", "uses registers that this CPU does not have")
    saved = []
    other: list[rows.OtherRule] = []
    for register, (kind, argument) in decoded.rules.items():
        if register >= count or kind == cfi_row.SAME_VALUE:
            continue
        if kind == cfi_row.OFFSET:
            assert isinstance(argument, int)
            saved.append((register, argument))
        elif kind == cfi_row.REGISTER and not (isinstance(argument, int) and argument < count):
            raise FormatError("CFI", "uses registers that this CPU does not have")
        elif not (kind == cfi_row.UNDEFINED and register == ra):
            other.append((register, _OTHER_KINDS[kind], argument))
    return Row(
        DwarfCfi.name,
        Trust.CFI,
        arch,
        decoded.cfa_register,
        decoded.cfa_offset,
        saved,
        ra_column=ra,
        cfa_expression=decoded.cfa_expression,
        other=other,
        root=decoded.rules.get(ra, (None,))[0] == cfi_row.UNDEFINED,
        function=function,
    )
