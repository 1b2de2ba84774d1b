"""Functions of 32-bit Windows code: their STACK WIN records, and stacks of calls of them.

    game = Function(0x1000, 0x80, saved=("esi", "ebx"), locals=0x18, parameters=8)
    text = records([game])
    stack = Calls(0x10000000)
    stack.call(game, arguments=[1, 2], ebx=7)

`Calls` does to registers and memory what such functions do: pushes, a frame, more pushes. It
knows nothing of the records.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

WORD = 4
MASK = 0xFFFF_FFFF


class Function:
    """Code at RVA `start`: pushes `saved` registers, makes room for `locals`, and goes on.

    With `frame`, ebp is pushed first and points at its own place; `saved` does not list it.
    `fpo` makes its record one of FPO_DATA; as in the code of old compilers that have it, room
    is then made before registers are pushed, ebx and ebp first.
    """

    def __init__(
        self,
        start: int,
        size: int = 0x80,
        *,
        saved: Sequence[str] = (),
        locals: int = 0,
        parameters: int = 0,
        frame: bool = False,
        fpo: bool = False,
    ) -> None:
        self.start = start
        self.size = size
        self.saved = list(saved)
        self.locals = locals
        self.parameters = parameters
        self.frame = frame
        self.fpo = fpo

    @property
    def body(self) -> int:
        """Where the prologue is through: each push is one byte of code, a frame or room three."""
        return self.start + len(self.saved) + 3 * self.frame + 3 * bool(self.locals)

    def records(self) -> list[str]:
        if self.fpo:
            size = WORD * len(self.saved)
            uses_ebp = int("ebp" in self.saved)
            return [self._line(0, self.start, 0, size, self.locals, 0, str(uses_ebp))]
        lines = []
        at, pushed = self.start, list[str]()
        if self.frame:
            lines.append(self._frame_data(at, [], 0, False))
            at += 3
            pushed.append("ebp")
        for register in self.saved:
            lines.append(self._frame_data(at, pushed, 0, self.frame))
            at += 1
            pushed.append(register)
        lines.append(self._frame_data(at, pushed, 0, self.frame))
        if self.locals:
            lines.append(self._frame_data(at + 3, pushed, self.locals, self.frame))
        return lines

    def _frame_data(self, at: int, pushed: Sequence[str], locals: int, frame: bool) -> str:
        place = "$ebp 4 +" if frame else ".raSearch"
        program = f"$T0 {place} = $eip $T0 ^ = $esp $T0 4 + ="
        for index, register in enumerate(pushed):
            program += f" ${register} $T0 {WORD * (index + 1)} - ^ ="
        return self._line(4, at, self.body - at, WORD * len(pushed), locals, 1, program)

    def _line(
        self, kind: int, at: int, prologue: int, saved: int, locals: int, has: int, more: str
    ) -> str:
        size = self.start + self.size - at
        prologue = prologue or (self.body - at if self.fpo else 0)
        numbers = (kind, at, size, prologue, 0, self.parameters, saved, locals, 0, has)
        return "STACK WIN " + " ".join(f"{number:x}" for number in numbers) + " " + more


def records(functions: Sequence[Function]) -> bytes:
    """The text of a module's symbol file, with other lines around the records."""
    lines = ["MODULE windows x86 000000000000000000000000000000001 game.pdb"]
    for function in functions:
        lines.append(f"FUNC {function.start:x} {function.size:x} {function.parameters:x} name")
        lines += function.records()
    return ("\n".join(lines) + "\n").encode()


class Calls:
    """A stack that grows downwards from `top` as functions of the module at `base` are called."""

    def __init__(self, base: int, top: int = 0x7000_4000, **registers: int) -> None:
        self.base = base
        self.top = self.sp = top
        self.words: dict[int, int] = {}
        self.registers = {"ebx": 0x111, "esi": 0x222, "edi": 0x333, "ebp": 0x444, **registers}
        # (return address, stack pointer there, registers there), outermost first.
        self.frames: list[tuple[int, int, dict[str, int]]] = []

    def push(self, value: int) -> None:
        self.sp -= WORD
        self.words[self.sp] = value & MASK

    def call(
        self, function: Function, back: int, arguments: Sequence[int] = (), **registers: int
    ) -> None:
        """Calls `function` from before the address `back`, and gives registers new values there."""
        for value in reversed(arguments):
            self.push(value)
        self.frames.append((back, self.sp, dict(self.registers)))
        self.push(back)
        if function.frame:
            self.push(self.registers["ebp"])
            self.registers["ebp"] = self.sp
        if function.fpo:
            self.sp -= function.locals
        for name in function.saved:
            self.push(self.registers[name])
        if not function.fpo:
            self.sp -= function.locals
        self.registers |= {
            name: value
            for name, value in registers.items()
            if name in function.saved and not (name == "ebp" and function.frame)
        }

    def bytes(self) -> bytes:
        """The stack from `sp` on; words that nobody wrote are stale."""
        stale = self.base + 0x10
        return b"".join(
            struct.pack("<I", self.words.get(address, stale))
            for address in range(self.sp, self.top, WORD)
        )
