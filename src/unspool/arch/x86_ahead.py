"""What x86 code does until it returns: instructions ahead of a pc carried out on its stack.

A function takes its frame down before it returns, and its last instructions say where the
return address is, from wherever it was stopped. Of all others nothing is carried out: what a
function changes that belongs to its caller it restores.

Registers have the numbers of their encoding: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
"""

from __future__ import annotations

from unspool.arch import ways
from unspool.arch.x86_length import instruction_length, instruction_length_64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.cursor import Buffer

    Registers = list[int | None]

SP, FP = 4, 5
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))
_ENDS = frozenset((0xCC, 0xF4, 0xCF, 0xCB, 0xCA, 0xEA))


class Return:
    """A return that code leads to: the `registers` there, sp at the word with the return address.

    `calls` counts those on the way; they were passed over, as if each came back.
    """

    __slots__ = ("calls", "registers")

    def __init__(self, registers: Registers, calls: int) -> None:
        self.registers = registers
        self.calls = calls


class CodeAhead:
    """Follows the code in `code`, whose first byte is at `base`, from an address on.

    `word` is 4 or 8; `read` gives the word at an address of the stack, None where there is none.
    With `tails` jumps that seem to lead to other functions are returns as well.
    """

    def __init__(
        self,
        code: Buffer,
        base: int,
        word: int,
        read: Callable[[int], int | None],
        *,
        tails: bool = False,
    ) -> None:
        self.tails = tails
        self.code = code
        self.base = base
        self.word = word
        self.read = read
        self.length = instruction_length_64 if word == 8 else instruction_length

    def returns(self, pc: int, registers: Registers) -> Iterator[Return]:
        """Returns that ways from `pc` lead to, the straightest way first."""
        return ways.returns(_Way(self, pc - self.base, list(registers), 0))

    def ending(self, pc: int, registers: Registers) -> Return | None:
        """The return that follows at once, if it does: nothing branches or calls before it."""
        return ways.ending(_Way(self, pc - self.base, list(registers), 0))


class _Way:
    """One way through the code, as far as it is known."""

    __slots__ = ("ahead", "at", "branches", "calls", "pointers", "registers", "shadow")

    def __init__(self, ahead: CodeAhead, at: int, registers: Registers, calls: int) -> None:
        self.ahead = ahead
        self.at = at
        self.registers = registers
        self.calls = calls
        self.branches: list[_Way] = []
        # Registers that were set to a place of the stack on the way; what was pushed.
        self.pointers: set[int] = {SP, FP}
        self.shadow: dict[int, int | None] = {}

    def run(self, steps: int) -> Return | None:
        code, length = self.ahead.code, self.ahead.length
        size = len(code)
        for _ in range(steps):
            at = self.at
            if not 0 <= at < size:
                return None
            count = length(code, at)
            if not count:
                return None
            end = at + count
            self.at = end
            rex = 0
            while at < end - 1 and code[at] in _PREFIXES:
                at += 1
            if self.ahead.word == 8 and 0x40 <= code[at] < 0x50:
                rex, at = code[at], at + 1
            op = code[at]
            if op in (0xC3, 0xC2):
                return Return(self.registers, self.calls) if self.registers[SP] else None
            tails = self.ahead.tails and self.registers[SP]
            if tails and op == 0xFF and _is_tail_jump(code, at + 1, end, rex):
                return Return(self.registers, self.calls)
            if op in _ENDS or not self._step(op, rex, at, end):
                return None
            if tails and op == 0xE9 and not 0 <= self.at < size:
                return Return(self.registers, self.calls)
        return None

    def _step(self, op: int, rex: int, at: int, end: int) -> bool:
        """Carries one instruction out; false if the way ends there."""
        code = self.ahead.code
        modrm = code[at + 1] if at + 1 < end else 0
        if op == 0xE8 or (op == 0xFF and modrm & 0x38 == 0x10):
            return self._call(end)
        if op in (0xE9, 0xEB):
            self.at = end + _signed(code, at + 1, end)
        elif 0x70 <= op < 0x80 or (op == 0x0F and 0x80 <= modrm < 0x90):
            self._branch(end + _signed(code, at + 1 + (op == 0x0F), end))
        elif op == 0xFF and modrm & 0x38 in (0x20, 0x28):
            return False  # a jump to a place that is computed
        elif op == 0x0F and modrm == 0x0B:
            return False  # ud2
        elif 0x50 <= op < 0x58:
            self._push(self.registers[op - 0x50 | (rex & 1) << 3])
        elif 0x58 <= op < 0x60:
            self._load(op - 0x58 | (rex & 1) << 3, self.registers[SP])
            self._move(self.ahead.word)
        elif op in (0x68, 0x6A, 0x9C) or (op == 0xFF and modrm & 0x38 == 0x30):
            self._push(None)
        elif op in (0x9D, 0x8F):
            self._move(self.ahead.word)
        elif op == 0xC9:
            self.registers[SP] = self.registers[FP]
            self._load(FP, self.registers[SP])
            self._move(self.ahead.word)
        else:
            self._other(op, rex, at, end, modrm)
        return True

    def _other(self, op: int, rex: int, at: int, end: int, modrm: int) -> None:
        """Instructions that move the stack pointer, or fetch what was saved."""
        direct = modrm >> 6 == 3
        register, operand = modrm >> 3 & 7 | (rex & 4) << 1, modrm & 7 | (rex & 1) << 3
        if op in (0x81, 0x83) and direct and operand == SP:
            value = _signed(self.ahead.code, at + 2, end)
            if register & 7 in (0, 5):
                self._move(value if register & 7 == 0 else -value)
            elif register & 7 != 7:
                self.registers[SP] = None
        elif op in (0x89, 0x8B) and direct:
            source, target = (register, operand) if op == 0x89 else (operand, register)
            if source in self.pointers:
                self._point(target, self.registers[source])
            elif target == SP:
                self.registers[SP] = None
        elif op == 0x8D:
            self._point(register, self._address(at + 1, end, rex))
        elif op == 0x8B:
            self._load(register, self._address(at + 1, end, rex))
        elif op in (0x01, 0x03, 0x29, 0x2B, 0x21, 0x23) and direct:
            target = operand if op & 2 == 0 else register
            if target == SP:
                self.registers[SP] = None

    def _call(self, end: int) -> bool:
        """Passes over a call; false if nothing comes back from it, by what lies behind it."""
        code = self.ahead.code
        self.calls += 1
        if self.ahead.word == 4:
            # What it took off the stack is known where the frame pointer puts that back.
            self.registers[SP] = None
        follows = bytes(code[end : end + 2])
        padded = follows[:1] in (b"\xcc", b"\x90", b"\xf4", b"") or follows in _PADDING
        return not padded and self.calls <= ways.MOST_CALLS

    def _branch(self, target: int) -> None:
        other = _Way(self.ahead, target, list(self.registers), self.calls)
        other.pointers = set(self.pointers)
        other.shadow = dict(self.shadow)
        self.branches.append(other)

    def _push(self, value: int | None) -> None:
        self._move(-self.ahead.word)
        sp = self.registers[SP]
        if sp is not None:
            self.shadow[sp] = value

    def _move(self, distance: int) -> None:
        sp = self.registers[SP]
        if sp is not None:
            self.registers[SP] = sp + distance & (1 << 8 * self.ahead.word) - 1

    def _load(self, register: int, address: int | None) -> None:
        value = None
        if address is not None:
            known = address in self.shadow
            value = self.shadow[address] if known else self.ahead.read(address)
        self.registers[register] = value
        if register not in (SP, FP):
            self.pointers.discard(register)

    def _point(self, register: int, address: int | None) -> None:
        """Sets a register to an address; None if that is of no stack."""
        if address is not None or register in (SP, FP):
            self.registers[register] = address
            self.pointers.add(register)

    def _address(self, at: int, end: int, rex: int) -> int | None:
        """The address that a ModRM operand means, where it is one of the stack."""
        code = self.ahead.code
        modrm = code[at]
        mode, base = modrm >> 6, modrm & 7
        at += 1
        if mode == 3 or (mode == 0 and base == FP):
            return None
        if base == SP:
            if at >= end or code[at] & 0x38 != 0x20 or rex & 2:
                return None  # with an index
            base = code[at] & 7
            at += 1
            if mode == 0 and base == FP:
                return None
        base |= (rex & 1) << 3
        value = self.registers[base] if base in self.pointers else None
        size = (0, 1, 4)[mode]
        if value is None or at + size > end:
            return None
        return value + _signed(code, at, at + size) & (1 << 8 * self.ahead.word) - 1


def _is_tail_jump(code: Buffer, at: int, end: int, rex: int) -> bool:
    """Whether a jump through a register, or through a table that r13 points at, is what follows.

    V8's handlers of bytecodes end with the one, its builtins with the other: r13 is where it
    keeps the addresses of all builtins. A switch jumps through a table by an index.
    """
    modrm = code[at] if at < end else 0
    return modrm & 0xF8 == 0xE0 or (modrm in (0x65, 0xA5) and rex & 1 == 1)


# nop of two and more bytes, as assemblers and compilers fill the room between functions with.
_PADDING = (
    b"\x66\x90", b"\x0f\x1f", b"\x66\x0f", b"\x66\x66", b"\x66\x2e", b"\x8d\x76", b"\x8d\xb6",
)  # fmt: skip


def _signed(code: Buffer, start: int, end: int) -> int:
    return int.from_bytes(bytes(code[start:end]), "little", signed=True)
