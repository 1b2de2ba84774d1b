"""Runs an FDE's instructions: the rules that hold at one address (DWARF 5, 6.4.2)."""

from __future__ import annotations

from unspool.cursor import Cursor
from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.cfi import CfiSection, Fde

    # kind and argument: an offset, a register, or an expression's bytes
    Rule = tuple[int, int | bytes]

# Register rules (DWARF 5, 6.4.1).
UNDEFINED, SAME_VALUE, OFFSET, VAL_OFFSET, REGISTER, EXPRESSION, VAL_EXPRESSION = range(7)

_MAX_REMEMBERED = 1000
_MAX_EXPRESSION = 4096
# No supported CPU has a register above this (AADWARF64 ends at 127, x86-64 at 125).
# A remembered state is a copy of all rules: 1 MB of CFI could ask for gigabytes of them.
_MAX_REGISTER = 255
# The largest FDEs of compiled code have some ten thousand bytes.
_MAX_INSTRUCTIONS = 1 << 20


class CfiRow:
    """The rules at one address. The CFA is register + offset, or an expression.

    `rules` has only the registers that the function says something of.
    """

    __slots__ = (
        "cfa_expression", "cfa_offset", "cfa_register", "ra_column", "rules", "signal_frame",
    )  # fmt: skip

    def __init__(self, ra_column: int, signal_frame: bool) -> None:
        self.cfa_register = 0
        self.cfa_offset = 0
        self.cfa_expression: bytes | None = None
        self.rules: dict[int, Rule] = {}
        self.ra_column = ra_column
        self.signal_frame = signal_frame


def row_at(section: CfiSection, fde: Fde, address: int) -> CfiRow:
    """The row of `fde` at a file address inside it. Raises `FormatError`."""
    cie = fde.cie
    row = CfiRow(cie.ra_column, cie.signal_frame)
    machine = _Machine(section, row, cie.code_align, cie.data_align, cie.encoding)
    machine.address_size = cie.address_size
    size = cie.end - cie.instructions + fde.instructions_end - fde.instructions
    if size > _MAX_INSTRUCTIONS:
        raise FormatError("CFI", f"{size} bytes of instructions")
    machine.run(cie.instructions, cie.end, fde.start, address)
    machine.initial = dict(row.rules)
    machine.run(fde.instructions, fde.instructions_end, fde.start, address)
    return row


class _Machine:
    """Executes call frame instructions into a row.

    The frequent instructions are decoded in `run` itself: this is what a walk spends its
    time on for every pc that it has not seen before.
    """

    __slots__ = (
        "address_size", "code_align", "data_align", "encoding", "initial", "remembered", "row",
        "section",
    )  # fmt: skip

    def __init__(
        self, section: CfiSection, row: CfiRow, code_align: int, data_align: int, encoding: int
    ) -> None:
        self.section = section
        self.row = row
        self.code_align = code_align
        self.data_align = data_align
        self.encoding = encoding
        self.address_size = section.address_size
        self.initial: dict[int, Rule] = {}
        self.remembered: list[tuple[int, int, bytes | None, dict[int, Rule]]] = []

    def run(self, start: int, end: int, location: int, address: int) -> None:
        """Executes `[start, end)` until an advance goes past `address`."""
        row = self.row
        rules = row.rules
        code_align, data_align = self.code_align, self.data_align
        cursor = Cursor(self.section.buffer, start, end)
        u8, uleb = cursor.u8, cursor.uleb
        while cursor.offset < end:
            op = u8()
            high = op & 0xC0
            if high == 0x40:  # DW_CFA_advance_loc
                location += (op & 0x3F) * code_align
            elif high == 0x80:  # DW_CFA_offset
                rules[op & 0x3F] = (OFFSET, uleb() * data_align)
                continue
            elif op == 0x0E:  # DW_CFA_def_cfa_offset
                row.cfa_offset = uleb()
                continue
            elif op == 0x00:  # DW_CFA_nop
                continue
            elif op in (0x02, 0x03, 0x04, 0x1D):  # DW_CFA_advance_loc1, 2, 4, MIPS_advance_loc8
                delta = u8() if op == 2 else cursor.unsigned(_ADVANCE_SIZES[op])
                location += delta * code_align
            elif op == 0x01:  # DW_CFA_set_loc
                location = self.section.read_encoded(cursor, self.encoding, self.address_size)
            else:
                self.other(op, cursor)
                rules = row.rules
                continue
            if location > address:
                return

    def other(self, op: int, cursor: Cursor) -> None:
        """Any instruction that moves no location and is not decoded in `run`."""
        if op & 0xC0 == 0xC0:  # DW_CFA_restore
            self.restore(op & 0x3F)
        elif op in (0x0C, 0x12, 0x0D, 0x13, 0x0F):
            self.define_cfa(op, cursor)
        elif op == 0x0A:  # DW_CFA_remember_state
            self.remember()
        elif op == 0x0B:  # DW_CFA_restore_state
            self.restore_state()
        elif op == 0x2E:  # DW_CFA_GNU_args_size
            cursor.uleb()
        elif op in (0x2C, 0x2D):
            # DW_CFA_AARCH64_negate_ra_state (with_pc): return addresses are authenticated
            # from here on. We strip the code from every return address, so nothing to do.
            # On SPARC 0x2d is DW_CFA_GNU_window_save; no SPARC gets here.
            pass
        else:
            self.register_rule(op, cursor)

    def define_cfa(self, op: int, cursor: Cursor) -> None:
        row = self.row
        if op == 0x0F:  # DW_CFA_def_cfa_expression
            row.cfa_expression = self.expression(cursor)
            return
        row.cfa_expression = None
        if op in (0x0C, 0x12, 0x0D):  # DW_CFA_def_cfa, def_cfa_sf, def_cfa_register
            row.cfa_register = cursor.uleb()
        if op == 0x0C:
            row.cfa_offset = cursor.uleb()
        elif op in (0x12, 0x13):  # DW_CFA_def_cfa_sf, def_cfa_offset_sf
            row.cfa_offset = cursor.sleb() * self.data_align

    def register_rule(self, op: int, cursor: Cursor) -> None:
        rules = self.row.rules
        data_align = self.data_align
        if op not in _REGISTER_RULES:
            raise FormatError("CFI", f"unknown instruction 0x{op:02x}")
        number = cursor.uleb()
        if number > _MAX_REGISTER:
            raise FormatError("CFI", f"rule for register {number}")
        if op == 0x05:  # DW_CFA_offset_extended
            rules[number] = (OFFSET, cursor.uleb() * data_align)
        elif op == 0x06:  # DW_CFA_restore_extended
            self.restore(number)
        elif op == 0x07:  # DW_CFA_undefined
            rules[number] = (UNDEFINED, 0)
        elif op == 0x08:  # DW_CFA_same_value
            rules[number] = (SAME_VALUE, 0)
        elif op == 0x09:  # DW_CFA_register
            rules[number] = (REGISTER, cursor.uleb())
        elif op == 0x10:  # DW_CFA_expression
            rules[number] = (EXPRESSION, self.expression(cursor))
        elif op == 0x11:  # DW_CFA_offset_extended_sf
            rules[number] = (OFFSET, cursor.sleb() * data_align)
        elif op == 0x14:  # DW_CFA_val_offset
            rules[number] = (VAL_OFFSET, cursor.uleb() * data_align)
        elif op == 0x15:  # DW_CFA_val_offset_sf
            rules[number] = (VAL_OFFSET, cursor.sleb() * data_align)
        elif op == 0x16:  # DW_CFA_val_expression
            rules[number] = (VAL_EXPRESSION, self.expression(cursor))
        elif op == 0x2F:  # DW_CFA_GNU_negative_offset_extended
            rules[number] = (OFFSET, -cursor.uleb() * data_align)

    def expression(self, cursor: Cursor) -> bytes:
        size = cursor.uleb()
        if size > _MAX_EXPRESSION:
            raise FormatError("CFI", f"expression of {size} bytes")
        return cursor.take(size)

    def restore(self, number: int) -> None:
        if number in self.initial:
            self.row.rules[number] = self.initial[number]
        else:
            self.row.rules.pop(number, None)

    def remember(self) -> None:
        row = self.row
        if len(self.remembered) >= _MAX_REMEMBERED:
            raise FormatError("CFI", "too many remembered states")
        state = (row.cfa_register, row.cfa_offset, row.cfa_expression, dict(row.rules))
        self.remembered.append(state)

    def restore_state(self) -> None:
        row = self.row
        if not self.remembered:
            raise FormatError("CFI", "restores a state that was never remembered")
        # The CFA is part of the state, although the standard's text says it only of the
        # register rules: GCC, LLVM and every unwinder agree on it.
        row.cfa_register, row.cfa_offset, row.cfa_expression, row.rules = self.remembered.pop()


_ADVANCE_SIZES = {0x03: 2, 0x04: 4, 0x1D: 8}
_REGISTER_RULES = frozenset((5, 6, 7, 8, 9, 0x10, 0x11, 0x14, 0x15, 0x16, 0x2F))
