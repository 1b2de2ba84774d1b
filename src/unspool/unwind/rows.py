"""Rows: the small, memory-independent rules that every table format decodes to, and the
one function that applies them.

A row says where the caller's registers are, relative to the CFA. It is looked up by pc
and cached, so a thousand threads parked in one function cost one look-up.
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from unspool.arch.base import Arch, SignalFrame
    from unspool.cursor import Buffer
    from unspool.memory import Memory, Window

    # register, kind (below), and an offset, a register number or an expression
    OtherRule = tuple[int, int, int | bytes]

    # A row in the form that the hot loop takes apart with one instruction: the CFA's register
    # and offset; where, from that register's value, the saved words begin and end; what
    # unpacks them; their registers; which of them is the return address; the trust.
    Quick = tuple[
        int, int, int, int, Callable[[Buffer, int], tuple[int, ...]], tuple[int, ...], int, str
    ]

# Kinds of rules besides "saved at CFA + n".
SAME, UNDEFINED, VALUE_OFFSET, IN_REGISTER, AT_EXPRESSION, VALUE_EXPRESSION = range(6)

# Saved registers further apart than this are read one by one.
_MAX_SPAN = 1 << 16


class Unusable(Exception):
    """A row that cannot be applied to these registers, and why."""


class Row:
    """How to get from a frame's registers to its caller's.

    The CFA is `cfa_register` + `cfa_offset`, or the value of `cfa_expression`. `saved`
    lists (register, offset from the CFA). `other` holds every further rule. The caller's
    stack pointer is the CFA unless a rule says otherwise; its pc is `ra_column` of the
    caller's registers. `root` marks a function that has no caller; `signal` the frame that
    a signal handler returns to, whose caller's pc is exact, as it is where the caller was
    `interrupted` otherwise. `function` is the address of the function's first instruction,
    where the table says it. `quick` is the row ready for use, if it is one of the simple
    ones, as nearly all are.
    """

    __slots__ = (
        "cfa_expression", "cfa_offset", "cfa_register", "function", "interrupted", "other",
        "quick", "ra_column", "root", "saved", "signal", "strategy", "trust",
    )  # fmt: skip

    def __init__(
        self,
        strategy: str,
        trust: str,
        arch: Arch,
        cfa_register: int,
        cfa_offset: int,
        saved: Iterable[tuple[int, int]],
        *,
        ra_column: int | None = None,
        cfa_expression: bytes | None = None,
        other: Sequence[OtherRule] = (),
        root: bool = False,
        signal: SignalFrame | None = None,
        function: int | None = None,
        interrupted: bool = False,
    ) -> None:
        self.strategy = strategy
        self.trust = trust
        self.cfa_register = cfa_register
        self.cfa_offset = cfa_offset
        self.saved = sorted(saved, key=_offset)
        self.ra_column = arch.ra_column if ra_column is None else ra_column
        self.cfa_expression = cfa_expression
        self.other = tuple(other)
        self.root = root
        self.signal = signal
        self.function = function
        self.interrupted = interrupted
        self.quick = self._compile(arch)

    def _compile(self, arch: Arch) -> Quick | None:
        """One unpack call for all saved registers, the gaps between them included.

        None if the row asks for more than that, or does not say where the caller's pc is saved.
        """
        word = arch.pointer_size
        saved = self.saved
        fields = tuple(register for register, _ in saved)
        if (
            self.cfa_expression is not None or self.other or self.root or self.signal
            or self.ra_column not in fields
            # Whoever uses the quick form takes the CFA for the caller's stack pointer, and
            # the caller's pc for a return address.
            or arch.sp in fields or self.interrupted
        ):  # fmt: skip
            return None
        first = at = saved[0][1]
        code = "Q" if word == 8 else "I"
        parts = ["<"]
        for _, offset in saved:
            if offset < at or offset - first > _MAX_SPAN:
                return None  # two registers in one place, or far apart: read them one by one
            if offset > at:
                parts.append(f"{offset - at}x")
            parts.append(code)
            at = offset + word
        return (
            self.cfa_register, self.cfa_offset, self.cfa_offset + first, self.cfa_offset + at,
            Struct("".join(parts)).unpack_from, fields, fields.index(self.ra_column), self.trust,
        )  # fmt: skip

    def describe(self, arch: Arch) -> str:
        """The row in words, as `--explain` prints it."""
        names = arch.register_names
        if self.root:
            return "the function has no caller"
        cfa = "an expression"
        if self.cfa_expression is None:
            cfa = f"{names[self.cfa_register]}{self.cfa_offset:+d}"
        saved = ", ".join(f"{names[register]} at CFA{offset:+d}" for register, offset in self.saved)
        more = f", {len(self.other)} further rules" if self.other else ""
        return f"CFA is {cfa}; {saved or 'nothing saved'}{more}"


def apply(
    row: Row, registers: Sequence[int | None], stack: Window | None, memory: Memory, arch: Arch
) -> list[int | None]:
    """The caller's registers, its pc among them.

    `stack` is the window that the thread's stack lies in: where the row's words are inside
    it, they are read with one call. Raises `Fault` if the return address cannot be read and
    `Unusable` if the row needs a register that is not known. A saved register that cannot
    be read, other than these, becomes unknown.
    """
    if row.quick is not None and stack is not None:
        cfa_register, cfa_offset, first, end, unpack, fields, ra_index, _ = row.quick
        base = registers[cfa_register]
        if base is not None and stack.low <= base + first and base + end <= stack.high:
            values = unpack(stack.buffer, base + first - stack.base)
            caller = list(registers)
            caller[arch.sp] = base + cfa_offset
            for register, value in zip(fields, values, strict=True):
                caller[register] = value
            caller[arch.pc] = values[ra_index] & arch.code_address_mask
            return caller
    return _apply_slowly(row, registers, memory, arch)


def _apply_slowly(
    row: Row, registers: Sequence[int | None], memory: Memory, arch: Arch
) -> list[int | None]:
    cfa = _cfa(row, registers, memory, arch)
    caller = list(registers)
    caller[arch.sp] = cfa
    for register, offset in row.saved:
        try:
            value = memory.read_uint((cfa + offset) & arch.mask, arch.pointer_size)
        except Fault:
            if register in (row.ra_column, arch.pc):
                raise
            caller[register] = None
        else:
            caller[register] = value
    for register, kind, argument in row.other:
        try:
            caller[register] = _evaluate(kind, argument, cfa, registers, memory, arch)
        except (Fault, Unusable):
            if register in (row.ra_column, arch.pc, arch.sp):
                raise
            caller[register] = None
    pc = caller[row.ra_column]
    if pc is None:
        raise Unusable("the return address is not known")
    pc &= arch.code_address_mask
    # Without a rule the return address is in the register where a call leaves it, which is
    # right for a leaf of a CPU that has such a register. Anywhere else the function would
    # be its own caller, for ever.
    if pc == registers[arch.pc] and not _has_rule(row, row.ra_column):
        raise Unusable("the unwind data does not say where the return address is")
    caller[arch.pc] = pc
    return caller


def _has_rule(row: Row, register: int) -> bool:
    return any(rule[0] == register for rule in (*row.saved, *row.other))


def _cfa(row: Row, registers: Sequence[int | None], memory: Memory, arch: Arch) -> int:
    if row.cfa_expression is not None:
        return _expression(row.cfa_expression, registers, memory, arch, None)
    base = registers[row.cfa_register]
    if base is None:
        raise Unusable(f"{arch.register_names[row.cfa_register]} is not known")
    return (base + row.cfa_offset) & arch.mask


def _evaluate(
    kind: int,
    argument: int | bytes,
    cfa: int,
    registers: Sequence[int | None],
    memory: Memory,
    arch: Arch,
) -> int | None:
    """A register by one of the rarer rules. All read the callee's registers."""
    if kind == UNDEFINED:
        return None
    if isinstance(argument, bytes):
        value = _expression(argument, registers, memory, arch, cfa)
        if kind == VALUE_EXPRESSION:
            return value
        return memory.read_uint(value, arch.pointer_size)
    if kind == VALUE_OFFSET:
        return (cfa + argument) & arch.mask
    return registers[argument]


def _expression(
    code: bytes,
    registers: Sequence[int | None],
    memory: Memory,
    arch: Arch,
    initial: int | None,
) -> int:
    from unspool.formats.dwarf_expr import evaluate

    try:
        return evaluate(code, registers, memory.read_uint, arch.pointer_size, initial)
    except FormatError as error:
        raise Unusable(str(error)) from None


def _offset(saved: tuple[int, int]) -> int:
    return saved[1]
