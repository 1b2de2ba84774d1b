"""What i386 instructions do to the stack, one after the other: where the return address is.

`StackState` follows esp, ebp and what functions save, as far as they are known distances from
the word that holds the return address. Registers have the numbers of their encoding, which
are the DWARF numbers of `x86.py`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

    # A place: what it is counted from, and the distance in bytes.
    Place = tuple[int, int]

_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_KEPT = frozenset((_EBX, _EBP, _ESI, _EDI))
_LOST_IN_CALLS = frozenset((_EAX, _ECX, _EDX))
_WORD = 4

# What places are counted from: the word with the return address; the stack pointer after it
# was rounded down, by a number of bytes that nobody knows; nothing known.
ENTRY, ALIGNED, UNKNOWN = 0, 1, 2

_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0xF0, 0xF2, 0xF3))
# Opcodes whose register operand (bits 3 to 5 of ModRM) is written; the same behind 0F. None of
# bytes: their numbers 4 to 7 are parts of other registers.
_WRITES_REGISTER = frozenset((0x03, 0x0B, 0x13, 0x1B, 0x23, 0x2B, 0x33, 0x69, 0x6B, 0x87))
_WRITES_REGISTER_0F = frozenset(
    (0x02, 0x03, 0x2C, 0x2D, *range(0x40, 0x51), 0xAF, 0xB6, 0xB7, 0xB8, 0xBC, 0xBD, 0xBE, 0xBF,
     0xC5, 0xD7)
)  # fmt: skip
# Opcodes whose other operand is written, where that is a register.
_WRITES_OPERAND = frozenset(
    (0x01, 0x09, 0x11, 0x19, 0x21, 0x29, 0x31, 0x81, 0x83, 0x87, 0xC1, 0xC7, 0xD1, 0xD3, 0xF7,
     0xFF)
)  # fmt: skip
_COMPARE, _TEST = 7, (0, 1)


class StackState:
    """What is known at one instruction. Immutable but for whoever has just made the copy.

    `esp` and `ebp` are places, ebp None where it is no frame pointer. `saved` are places of
    the caller's registers, by number. `anchors` are places that hold an address: they lead
    from a realigned frame to the return address. `pointers` are other registers that hold
    one. `pushed` counts bytes since the last call, which are likely to be arguments. `exact`
    is false once a guess went into `esp`. `constant` is the value of eax, if it was just set.
    `broken`: a frame was left that nobody had made, or the return address overwritten.
    """

    __slots__ = (
        "anchors", "broken", "constant", "ebp", "esp", "exact", "pointers", "pushed", "saved",
    )  # fmt: skip

    def __init__(self) -> None:
        self.esp: Place = (ENTRY, 0)
        self.ebp: Place | None = None
        self.saved: dict[int, Place] = {}
        self.anchors: dict[Place, Place] = {}
        self.pointers: dict[int, Place] = {}
        self.pushed = 0
        self.exact = True
        self.broken = False
        self.constant: int | None = None

    def copy(self) -> StackState:
        other = StackState.__new__(StackState)
        for name in StackState.__slots__:
            setattr(other, name, getattr(self, name))
        other.saved = dict(self.saved)
        other.anchors = dict(self.anchors)
        other.pointers = dict(self.pointers)
        return other

    # --- instructions ------------------------------------------------------------------

    def execute(self, code: Buffer, at: int, length: int) -> None:
        """Any instruction but calls, jumps and returns."""
        end = at + length
        while at < end - 1 and code[at] in _PREFIXES:
            at += 1
        op = code[at]
        modrm = code[at + 1] if at + 1 < end else 0
        constant, self.constant = self.constant, None
        if 0x50 <= op < 0x58:
            self._push(op - 0x50)
        elif 0x58 <= op < 0x60:
            self._pop(op - 0x58)
        elif op in (0x68, 0x6A, 0x9C, 0x06, 0x0E, 0x16, 0x1E) or (
            op == 0xFF and modrm & 0x38 == 0x30
        ):
            self._push(None)
        elif op in (0x9D, 0x07, 0x17, 0x1F, 0x8F):
            self._move(_WORD)
        elif op == 0x0F and modrm in (0xA0, 0xA8, 0xA1, 0xA9):
            self._move(_WORD if modrm & 1 else -_WORD)
        elif op in (0x60, 0x61):
            self._move(-8 * _WORD if op == 0x60 else 8 * _WORD)
        elif op == 0xC9:
            self._leave()
        elif op == 0xC8:  # enter
            self._push(_EBP)
            self.ebp = self.esp
            self._move(-int.from_bytes(bytes(code[at + 1 : at + 3]), "little"))
        elif op == 0xB8:
            self.constant = _signed(code, at + 1, 4)
            self._write(_EAX)
        elif op in (0x81, 0x83) and modrm >> 6 == 3 and modrm & 7 == _ESP:
            self._calculate(modrm >> 3 & 7, _signed(code, at + 2, 1 if op == 0x83 else 4))
        elif (op, modrm) in ((0x29, 0xC4), (0x2B, 0xE0)):  # sub %eax,%esp
            if constant is None:
                self.esp = (UNKNOWN, 0)
            else:
                self._move(-constant)
        else:
            self._other(code, at, end, op, modrm)

    def _other(self, code: Buffer, at: int, end: int, op: int, modrm: int) -> None:
        """Instructions that do not move the stack pointer but by chance."""
        register, operand, direct = modrm >> 3 & 7, modrm & 7, modrm >> 6 == 3
        if op in (0x89, 0x8B) and direct:
            source, target = (register, operand) if op == 0x89 else (operand, register)
            self._assign(target, self._value(source))
        elif op == 0x8D:
            self._assign(register, self._address(code, at + 1, end))
        elif op == 0x8B:
            place = self._address(code, at + 1, end)
            self._assign(register, self.anchors.get(place) if place is not None else None)
        elif op == 0x89:
            self._store(code, at, end, register)
        elif op == 0xC7 and not direct:
            self.broken = self.broken or self._address(code, at + 1, end) == (ENTRY, 0)
        elif op == 0x0F:
            if modrm in _WRITES_REGISTER_0F and at + 2 < end:
                self._write(code[at + 2] >> 3 & 7)
        elif 0x90 < op < 0x98:
            self._write(op - 0x90)
            self._write(_EAX)
        elif 0xB8 <= op < 0xC0 or 0x40 <= op < 0x50:
            self._write(op & 7)
        else:
            if op in _WRITES_REGISTER:
                self._write(register)
            only_looks = (op in (0x81, 0x83) and register == _COMPARE) or (
                op == 0xF7 and register in _TEST
            )
            if op in _WRITES_OPERAND and direct and not only_looks:
                self._write(operand)

    def call(self, popped: int, guessed: bool) -> None:
        """A call whose callee takes `popped` bytes off the stack besides its return address."""
        self._move(popped)
        self.exact = self.exact and not guessed
        self._forget()

    def call_making_frame(self) -> None:
        """A call of a helper that makes a frame for its caller (MSVC's __SEH_prolog4).

        It puts ebp where the first word was pushed, or its own return address lies, and makes
        that the frame; room that it was told in a register.
        """
        self._forget()
        self.ebp = (ENTRY, -_WORD)
        self.saved = {_EBP: (ENTRY, -_WORD)}
        self.esp = (UNKNOWN, 0)

    def _forget(self) -> None:
        self.pushed = 0
        self.constant = None
        for register in _LOST_IN_CALLS:
            self.pointers.pop(register, None)

    # --- effects -----------------------------------------------------------------------

    def _move(self, distance: int) -> None:
        base, offset = self.esp
        self.esp = (base, offset + distance)

    def _push(self, register: int | None) -> None:
        value = self._value(register) if register is not None else None
        self._move(-_WORD)
        self.pushed += _WORD
        if value is not None and value[0] == ENTRY and self.esp[0] != ENTRY:
            self.anchors[self.esp] = value
        elif register in _KEPT and register not in self.saved and value is None:
            self.saved[register] = self.esp
            self.pushed = 0

    def _pop(self, register: int) -> None:
        if self.saved.get(register) == self.esp:
            del self.saved[register]  # it is the caller's again, and may be saved once more
        self.pushed = max(0, self.pushed - _WORD)
        value = self.anchors.get(self.esp)
        self._move(_WORD)
        self._assign(register, value)

    def _leave(self) -> None:
        self.broken = self.broken or self.ebp is None
        self.esp = self.ebp or (UNKNOWN, 0)
        self._pop(_EBP)

    def _calculate(self, operation: int, value: int) -> None:
        if operation == 4:  # and
            self.esp = (ALIGNED if self.esp[0] == ENTRY else UNKNOWN, 0)
        elif operation in (0, 5):
            self._move(value if operation == 0 else -value)
            self.pushed = max(0, self.pushed - value) if operation == 0 else 0
        elif operation != 7:
            self.esp = (UNKNOWN, 0)

    def _store(self, code: Buffer, at: int, end: int, register: int) -> None:
        """mov of a register to memory: GCC can save that way, and keeps its argument pointer so."""
        place = self._address(code, at + 1, end)
        value = self._value(register)
        if place is None:
            return
        self.broken = self.broken or place == (ENTRY, 0)
        if value is not None and value[0] == ENTRY and place[0] != ENTRY:
            self.anchors[place] = value
        elif register in _KEPT and register not in self.saved and value is None:
            self.saved[register] = place

    def _value(self, register: int) -> Place | None:
        if register == _ESP:
            return self.esp
        if register == _EBP:
            return self.ebp
        return self.pointers.get(register)

    def _assign(self, register: int, value: Place | None) -> None:
        if value is not None and value[0] == UNKNOWN:
            value = None
        if register == _ESP:
            self.broken = self.broken or (value is None and self.ebp is None)
            self.esp = value or (UNKNOWN, 0)
        elif register == _EBP:
            self.ebp = value
        elif value is None:
            self._write(register)
        else:
            self.pointers[register] = value

    def _write(self, register: int) -> None:
        if register == _ESP:
            self.esp = (UNKNOWN, 0)
        elif register == _EBP:
            self.ebp = None
        else:
            self.pointers.pop(register, None)

    def _address(self, code: Buffer, at: int, end: int) -> Place | None:
        """The place that a ModRM operand means: n(%reg), n(%esp)."""
        modrm = code[at]
        mode, base = modrm >> 6, modrm & 7
        at += 1
        if mode == 3 or (mode == 0 and base == _EBP):
            return None
        if base == _ESP:
            if at >= end or code[at] != 0x24:
                return None  # with an index
            at += 1
        value = self._value(base)
        if value is None:
            return None
        size = (0, 1, 4)[mode]
        return (value[0], value[1] + (_signed(code, at, size) if size else 0))


def _signed(code: Buffer, at: int, size: int) -> int:
    return int.from_bytes(bytes(code[at : at + size]), "little", signed=True)
