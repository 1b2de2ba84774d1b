"""What A64 code does until it returns: instructions ahead of a pc carried out.

The counterpart of `x86_ahead`. All instructions have four bytes, and what they write stands in the
same places: a register that is written in a way that is not followed has no value from there on.
Encodings are those of the Arm Architecture Reference Manual for A-profile, C4.1.

Registers have the numbers of their encoding: x0 to x30, and 31 for sp.
"""

from __future__ import annotations

from unspool.arch import ways

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.cursor import Buffer

    Registers = list[int | None]

LINK, SP = 30, 31
_MASK = (1 << 64) - 1
# x0 to x18 and the link register belong to who is called (AAPCS64, 6.1.1).
_CLOBBERED = (*range(19), LINK)
_NOP, _BRK = 0xD503201F, 0xD4200000
# Where BTI is in use a jump to a function's start goes through one of these (C6.2.40, BR).
_TAIL_REGISTERS = (16, 17)


class Return:
    """A return that code leads to: its `address`, and the `registers` there.

    `calls` counts those on the way; they were passed over, as if each came back. The stack pointer
    may be unknown, where arguments are popped by their number; it was `above` before that.
    `restored` says that the address was on the stack, `tail` that another function returns.
    """

    __slots__ = ("above", "address", "calls", "registers", "restored", "tail")

    def __init__(self, way: _Way, address: int, *, tail: bool) -> None:
        self.tail = tail
        self.registers = way.registers
        self.address = address
        self.calls = way.calls
        self.above = way.above
        self.restored = way.restored


class CodeAhead:
    """Follows the code in `code`, whose first byte is at `base`, from an address on.

    `read` gives the word at an address, None where there is none. With `tails` jumps that seem to
    lead to other functions are returns as well.
    """

    def __init__(
        self, code: Buffer, base: int, read: Callable[[int], int | None], *, tails: bool = False
    ) -> None:
        self.tails = tails
        self.base = base
        self.words = memoryview(bytes(code[: len(code) // 4 * 4])).cast("I")
        self.read = read

    def returns(self, pc: int, registers: Registers) -> Iterator[Return]:
        """Returns that ways from `pc` lead to, the straightest way first."""
        if (pc - self.base) % 4 == 0:
            yield from ways.returns(self._way(pc, registers))

    def ending(self, pc: int, registers: Registers) -> Return | None:
        """The return that follows at once, if it does: nothing branches or calls before it."""
        return ways.ending(self._way(pc, registers)) if (pc - self.base) % 4 == 0 else None

    def _way(self, pc: int, registers: Registers) -> _Way:
        return _Way(self, (pc - self.base) // 4, list(registers))


class _Way:
    """One way through the code, as far as it is known; `at` counts instructions."""

    __slots__ = (
        "above", "ahead", "at", "branches", "calls", "places", "registers", "restored", "shadow",
    )  # fmt: skip

    def __init__(self, ahead: CodeAhead, at: int, registers: Registers) -> None:
        self.ahead = ahead
        self.at = at
        self.registers = registers
        self.above = registers[SP]
        self.calls = 0
        self.restored = False
        self.branches: list[_Way] = []
        # Registers with places in code that were added up: a switch jumps to one. What was stored.
        self.places: set[int] = set()
        self.shadow: dict[int, int | None] = {}

    def run(self, steps: int) -> Return | None:
        words, count = self.ahead.words, len(self.ahead.words)
        for _ in range(steps):
            if not 0 <= self.at < count:
                return None
            word = words[self.at]
            self.at += 1
            if _is_return(word):
                return self._return(word >> 5 & 31 if word & 0x800 == 0 else LINK)
            if word >> 25 & 0b1110 == 0b1010:
                if not self._branch(word):
                    tail = self.ahead.tails and self._is_tail(word)
                    return self._return(LINK, tail=True) if tail else None
            elif not self._other(word):
                return None
        return None

    def _return(self, register: int, *, tail: bool = False) -> Return | None:
        address = self.registers[register] if register != 31 else None
        return Return(self, address, tail=tail) if address is not None else None

    # --- branches -----------------------------------------------------------------------------

    def _branch(self, word: int) -> bool:
        """Follows a branch; false if the way ends there."""
        at = self.at - 1
        if _is_call(word):
            return self._call()
        if word >> 26 == 0b000101:  # B
            self.at = at + _signed(word, 26)
            return 0 <= self.at < len(self.ahead.words) or not self.ahead.tails
        if word >> 24 == 0x54 or word & 0x7E000000 == 0x34000000:  # B.cond, CBZ, CBNZ
            self._fork(at + _signed(word >> 5, 19))
        elif word & 0x7E000000 == 0x36000000:  # TBZ, TBNZ
            self._fork(at + _signed(word >> 5, 14))
        elif word & 0xFFE0001F == 0xD4000001:  # SVC
            self.registers[0] = None
        elif word >> 21 == 0x6A9:  # MRS, SYSL
            self._set(word & 31, None)
        else:
            return word >> 24 == 0xD5  # others of the system, hints; else BR and exceptions
        return True

    def _call(self) -> bool:
        """Passes over a call; false if nothing comes back from it, by what lies behind it."""
        self.calls += 1
        for number in _CLOBBERED:
            self._set(number, None)
        words = self.ahead.words
        follows = words[self.at] if self.at < len(words) else 0
        padded = follows in (0, _NOP) or follows & 0xFFE0001F == _BRK
        return not padded and self.calls <= ways.MOST_CALLS

    def _fork(self, target: int) -> None:
        other = _Way(self.ahead, target, list(self.registers))
        other.above, other.calls, other.restored = self.above, self.calls, self.restored
        other.places, other.shadow = set(self.places), dict(self.shadow)
        self.branches.append(other)

    def _is_tail(self, word: int) -> bool:
        """Whether a branch that ends the way seems to lead to another function."""
        if word >> 26 == 0b000101:
            return True
        register = word >> 5 & 31
        is_jump = word & 0xFFFFFC1F == 0xD61F0000 or word & 0xFEFFF800 == 0xD61F0800
        return is_jump and register in _TAIL_REGISTERS and register not in self.places

    # --- all others ---------------------------------------------------------------------------

    def _other(self, word: int) -> bool:
        """Carries an instruction out; false if it is none that is known."""
        group = word >> 25 & 0xF
        target = word & 31
        if group & 0b0101 == 0b0100:
            self._memory(word)
        elif group & 0b1110 == 0b1000:
            self._immediate(word, target)
        elif group & 0b0111 == 0b0101:
            self._register(word, target)
        elif group & 0b0111 == 0b0111:
            # FMOV, FCVT and the like, which may go to general registers; UMOV, SMOV.
            converts = word & 0x7F20FC00 == 0x1E200000 or word & 0x7F200000 == 0x1E000000
            if converts or word & 0xBFE0EC00 == 0x0E002C00:
                self._set(target, None)
        elif group == 0b0010 and word >> 31 == 0:
            # SVE has its counts and vector lengths added to general registers, and to sp.
            adds = word & 0xFFA0F000 == 0x04205000  # ADDVL, ADDPL
            (self._set_or_sp if adds else self._set)(target, None)
        else:
            return False
        return True

    def _immediate(self, word: int, target: int) -> None:
        """Data processing with an immediate."""
        source, value = word >> 5 & 31, None
        sets_flags = word >> 29 & 1
        if word & 0x1F800000 == 0x11000000:  # ADD, SUB
            base = self.registers[source]
            if word >> 31 and base is not None:
                amount = (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
                value = base + (-amount if word >> 30 & 1 else amount) & _MASK
        elif word & 0xFFFFFC00 == 0x927CEC00:  # AND with -16
            base = self.registers[source] if source != 31 else None
            value = base & -16 if base is not None else None
        elif word & 0x1F800000 == 0x12000000:  # other AND, ORR, EOR; ANDS
            sets_flags = word >> 29 & 3 == 3
        elif word & 0x1F800000 != 0x11800000:  # but for ADDG, SUBG
            sets_flags = True  # 31 is the zero register: ADR, moves, bit fields
        place = word & 0x1F000000 == 0x10000000 or source in self.places
        if sets_flags:
            self._set(target, value, place=place)
        else:
            self._set_or_sp(target, value, place=place)

    def _register(self, word: int, target: int) -> None:
        """Data processing of registers."""
        one, other = word >> 5 & 31, word >> 16 & 31
        value = self.registers[other] if other != 31 else 0
        if word & 0xFFE0FFE0 == 0xAA0003E0:  # MOV
            self._set(target, value, place=other in self.places)
        elif word & 0x3FE00000 == 0x0B200000 and target == SP:  # ADD, SUB (extended register)
            base = self.registers[one]
            if base is not None and value is not None and word & 0x8000E000 == 0x80006000:
                by = value << (word >> 10 & 7)
                self._set_or_sp(SP, base + (-by if word >> 30 & 1 else by) & _MASK)
            else:
                self._set_or_sp(SP, None)
        elif word & 0x1FE00000 != 0x1A400000:  # but for CCMP
            self._set(target, None, place=one in self.places or other in self.places)

    def _set(self, target: int, value: int | None, *, place: bool = False) -> None:
        """Sets a register; 31 is the zero register."""
        if target == 31:
            return
        self.registers[target] = value
        if target == LINK:
            self.restored = False
        (self.places.add if place else self.places.discard)(target)

    def _set_or_sp(self, target: int, value: int | None, *, place: bool = False) -> None:
        """The same where 31 is the stack pointer."""
        if target != SP:
            self._set(target, value, place=place)
            return
        self.registers[SP] = value
        if value is not None:
            self.above = value

    # --- memory -------------------------------------------------------------------------------

    def _memory(self, word: int) -> None:
        if word & 0x3A000000 == 0x28000000:
            self._pair(word)
        elif word & 0x3A000000 == 0x38000000:
            self._single(word)
        elif word & 0x3B000000 == 0x18000000:  # literals
            self._load(word & 31, None, 8, word >> 26 & 1)
        elif word & 0x3F000000 == 0x08000000 or word & 0x3F000000 == 0x19000000:
            # Exclusive and ordered loads and stores, tags, MOPS: all that they may write.
            for number in (word, word >> 5, word >> 10, word >> 16):
                self._set(number & 31, None)
            if word >> 24 == 0xD9 and word & 0x7E0 == 0x7E0:  # tags of the stack, with write-back
                self._set_or_sp(SP, None)
        elif word >> 23 & 1:  # structures of vectors, post-indexed
            self._set_or_sp(word >> 5 & 31, None)

    def _pair(self, word: int) -> None:
        base, opc, vector, loads = word >> 5 & 31, word >> 30, word >> 26 & 1, word >> 22 & 1
        tagged = opc == 1 and not vector and not loads  # STGP
        size = 4 << opc if vector else 8 if opc == 2 or tagged else 4
        offset = _signed(word >> 15, 7) * (16 if tagged else size)
        mode = word >> 23 & 3
        start = self.registers[base]
        address = None if start is None else start + (offset if mode != 1 else 0) & _MASK
        for number, at in ((word & 31, 0), (word >> 10 & 31, size)):
            place = None if address is None else address + at
            if loads:
                self._load(number, place, size, vector)
            else:
                self._store(number, place, size, vector)
        if mode & 1:
            self._set_or_sp(base, None if start is None else start + offset & _MASK)

    def _single(self, word: int) -> None:
        base, opc, vector = word >> 5 & 31, word >> 22 & 3, word >> 26 & 1
        size = 1 << (word >> 30 | (opc & 2) << 1 if vector else word >> 30)
        mode = word >> 10 & 3
        if not word >> 24 & 1 and word >> 21 & 1:
            self._single_elsewhere(word, base, mode)
            return
        start = self.registers[base]
        offset = _signed(word >> 12, 9)
        if word >> 24 & 1:
            offset, mode = (word >> 10 & 0xFFF) * size, 0
        address = None if start is None else start + (offset if mode != 1 else 0) & _MASK
        if not (opc & 1 if vector else opc):
            self._store(word & 31, address, size, vector)
        elif size != 8 or opc != 2 or vector:  # no prefetch
            self._load(word & 31, address, size, vector)
        if mode & 1:
            self._set_or_sp(base, None if start is None else start + offset & _MASK)

    def _single_elsewhere(self, word: int, base: int, mode: int) -> None:
        """With an index in a register; atomic ones; those of pointers with codes (LDRAA)."""
        vector, opc = word >> 26 & 1, word >> 22 & 3
        if mode == 2 and (vector or opc == 0 or (opc == 2 and word >> 30 == 3)):
            return  # a store, or a prefetch
        if not vector:
            self._set(word & 31, None, place=mode == 2 and base in self.places)
        if mode == 3:
            self._set_or_sp(base, None)

    def _load(self, target: int, address: int | None, size: int, vector: int) -> None:
        if vector or target == 31:
            return
        value = None
        if address is not None and size == 8:
            known = address in self.shadow
            value = self.shadow[address] if known else self.ahead.read(address)
        self._set(target, value)
        if target == LINK:
            self.restored = True

    def _store(self, source: int, address: int | None, size: int, vector: int) -> None:
        if address is None:
            return
        value = self.registers[source] if size == 8 and not vector and source != 31 else None
        first = address & ~7
        for place in range(first, address + size, 8):
            self.shadow[place] = value if size == 8 and place == address else None


def _is_return(word: int) -> bool:
    """RET; RETAA, RETAB."""
    return word & 0xFFFFFC1F == 0xD65F0000 or word & 0xFFFFFBFF == 0xD65F0BFF


def _is_call(word: int) -> bool:
    """BL; BLR and its forms with authentication."""
    if word >> 26 == 0b100101:
        return True
    return word & 0xFFFFFC1F == 0xD63F0000 or word & 0xFEFFF800 == 0xD63F0800


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)
