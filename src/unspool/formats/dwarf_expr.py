"""DWARF expressions as call frame information uses them: a stack program over registers
and memory (DWARF 5, 2.5; 6.4.2 says which operations may not occur there).
"""

from __future__ import annotations

from unspool.cursor import Cursor
from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Expressions of real unwind data take a dozen steps, and every frame can ask for one.
_MAX_STEPS = 500
_MAX_STACK = 256


def evaluate(
    expression: bytes,
    registers: Sequence[int | None],
    read: Callable[[int, int], int],
    address_size: int,
    initial: int | None = None,
) -> int:
    """The value that `expression` leaves on top of its stack.

    `read(address, size)` reads an unsigned integer; `initial` is pushed first (the CFA,
    for register rules). Raises `FormatError` for an operation that makes no sense here,
    a stack that runs empty, an unknown register, or too many steps; whatever `read`
    raises passes through.
    """
    return _Machine(expression, registers, read, address_size).run(initial)


class _Machine:
    """The stack machine of one evaluation. Values are unsigned and of address size."""

    def __init__(
        self,
        expression: bytes,
        registers: Sequence[int | None],
        read: Callable[[int, int], int],
        address_size: int,
    ) -> None:
        self.code = Cursor(expression)
        self.registers = registers
        self.read = read
        self.address_size = address_size
        self.bits = address_size * 8
        self.mask = (1 << self.bits) - 1
        self.stack: list[int] = []

    def run(self, initial: int | None) -> int:
        if initial is not None:
            self.stack.append(initial)
        code = self.code
        for _ in range(_MAX_STEPS):
            if code.offset >= code.end:
                return self.pop()
            self.operation(code.u8())
            if len(self.stack) > _MAX_STACK:
                raise FormatError("DWARF expression", "stack too deep")
        raise FormatError("DWARF expression", "does not end")

    def pop(self) -> int:
        if not self.stack:
            raise FormatError("DWARF expression", "stack is empty")
        return self.stack.pop()

    def push(self, value: int) -> None:
        self.stack.append(value & self.mask)

    def signed(self, value: int) -> int:
        return value - (1 << self.bits) if value >> (self.bits - 1) & 1 else value

    def register(self, number: int) -> int:
        value = self.registers[number] if number < len(self.registers) else None
        if value is None:
            raise FormatError("DWARF expression", f"register {number} is not known")
        return value

    def operation(self, op: int) -> None:
        if 0x30 <= op <= 0x4F:  # DW_OP_lit0-31
            self.push(op - 0x30)
        elif 0x70 <= op <= 0x8F:  # DW_OP_breg0-31
            self.push(self.register(op - 0x70) + self.code.sleb())
        elif 0x50 <= op <= 0x6F:  # DW_OP_reg0-31: a location, but used as a value by some
            self.push(self.register(op - 0x50))
        elif op in _CONSTANTS:
            self.push(_CONSTANTS[op](self.code))
        elif op in _BINARY:
            second, first = self.pop(), self.pop()
            self.push(_BINARY[op](self, first, second))
        else:
            self.other(op)

    def other(self, op: int) -> None:
        code, stack = self.code, self.stack
        if op == 0x03:  # DW_OP_addr
            self.push(code.unsigned(self.address_size))
        elif op == 0x06:  # DW_OP_deref
            self.push(self.read(self.pop(), self.address_size))
        elif op == 0x94:  # DW_OP_deref_size
            size = code.u8()
            if size not in (1, 2, 4, 8) or size > self.address_size:
                raise FormatError("DWARF expression", f"reads {size} bytes")
            self.push(self.read(self.pop(), size))
        elif op in (0x12, 0x14, 0x15):  # DW_OP_dup, over, pick
            depth = 0 if op == 0x12 else 1 if op == 0x14 else code.u8()
            if depth >= len(stack):
                raise FormatError("DWARF expression", "stack is empty")
            stack.append(stack[-1 - depth])
        elif op == 0x13:  # DW_OP_drop
            self.pop()
        elif op == 0x16:  # DW_OP_swap
            second, first = self.pop(), self.pop()
            stack.extend((second, first))
        elif op == 0x17:  # DW_OP_rot: the top goes below the next two
            third, second, first = self.pop(), self.pop(), self.pop()
            stack.extend((third, first, second))
        elif op == 0x19:  # DW_OP_abs
            self.push(abs(self.signed(self.pop())))
        elif op == 0x1F:  # DW_OP_neg
            self.push(-self.pop())
        elif op == 0x20:  # DW_OP_not
            self.push(~self.pop())
        elif op == 0x23:  # DW_OP_plus_uconst
            self.push(self.pop() + code.uleb())
        elif op in (0x28, 0x2F):  # DW_OP_bra, DW_OP_skip
            self.jump(op == 0x28)
        elif op == 0x92:  # DW_OP_bregx
            number = code.uleb()
            self.push(self.register(number) + code.sleb())
        elif op == 0x90:  # DW_OP_regx
            self.push(self.register(code.uleb()))
        elif op != 0x96:  # DW_OP_nop
            raise FormatError("DWARF expression", f"operation 0x{op:02x} is not for unwinding")

    def jump(self, conditional: bool) -> None:
        distance = self.code.i16()
        if conditional and not self.pop():
            return
        target = self.code.offset + distance
        if not 0 <= target <= self.code.end:
            raise FormatError("DWARF expression", "jumps out of itself")
        self.code.offset = target


_CONSTANTS: dict[int, Callable[[Cursor], int]] = {
    0x08: Cursor.u8, 0x09: Cursor.i8, 0x0A: Cursor.u16, 0x0B: Cursor.i16, 0x0C: Cursor.u32,
    0x0D: Cursor.i32, 0x0E: Cursor.u64, 0x0F: Cursor.i64, 0x10: Cursor.uleb, 0x11: Cursor.sleb,
}  # fmt: skip


def _divide(machine: _Machine, first: int, second: int) -> int:
    dividend, divisor = machine.signed(first), machine.signed(second)
    if divisor == 0:
        raise FormatError("DWARF expression", "divides by zero")
    quotient = abs(dividend) // abs(divisor)  # DWARF's division truncates towards zero
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _modulo(machine: _Machine, first: int, second: int) -> int:
    if second == 0:
        raise FormatError("DWARF expression", "divides by zero")
    return first % second


def _shift_left(machine: _Machine, first: int, second: int) -> int:
    return first << second if second < machine.bits else 0


def _shift_arithmetic(machine: _Machine, first: int, second: int) -> int:
    return machine.signed(first) >> min(second, machine.bits)


_BINARY: dict[int, Callable[[_Machine, int, int], int]] = {
    0x1A: lambda m, a, b: a & b,
    0x1B: _divide,
    0x1C: lambda m, a, b: a - b,
    0x1D: _modulo,
    0x1E: lambda m, a, b: a * b,
    0x21: lambda m, a, b: a | b,
    0x22: lambda m, a, b: a + b,
    0x24: _shift_left,
    0x25: lambda m, a, b: a >> b if b < m.bits else 0,
    0x26: _shift_arithmetic,
    0x27: lambda m, a, b: a ^ b,
    # Comparisons are signed (DWARF 5, 2.5.1.5).
    0x29: lambda m, a, b: int(a == b),
    0x2A: lambda m, a, b: int(m.signed(a) >= m.signed(b)),
    0x2B: lambda m, a, b: int(m.signed(a) > m.signed(b)),
    0x2C: lambda m, a, b: int(m.signed(a) <= m.signed(b)),
    0x2D: lambda m, a, b: int(m.signed(a) < m.signed(b)),
    0x2E: lambda m, a, b: int(a != b),
}  # fmt: skip
