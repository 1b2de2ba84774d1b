"""States of a Java thread on aarch64, one for each instruction, and who had called whom in each.

What has been called is known from what instructions do: a call leaves its address in the link
register, and so does the interpreter where it enters a method; returns go there. Of the first state
it is taken from a walk, and every return proves a part of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from unspool.generated.hotspot.jvm import Jvm
from unspool.memory import Memory, Region
from unspool.model import Stack, Thread
from unspool.targets.base import Target
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

from .jvms import Said

LINK, SP, PC = 30, 31, 32
_ADDRESS = (1 << 48) - 1
_STATE = struct.Struct("<33Q2Q")


def told(text: str) -> tuple[Said, dict[str, int]]:
    """What Java said of its threads, and their ids: of what `java_recorder` has written."""
    lines = text.splitlines()
    said = Said()
    said.read(lines)
    ids = [line.split() for line in lines if line.startswith("tid ")]
    return said, {name: int(tid) for _, tid, name in ids}


@dataclass(frozen=True)
class State:
    """Registers x0 to x30, sp, pc; the stack from an address on; the callers, innermost first."""

    registers: tuple[int, ...]
    low: int
    stack: bytes
    callers: tuple[int, ...] = ()

    @property
    def pc(self) -> int:
        return self.registers[PC]


def read_states(data: bytes) -> Iterator[State]:
    """What `java_recorder` has written."""
    at = 0
    while at < len(data):
        *registers, low, size = _STATE.unpack_from(data, at)
        at += _STATE.size
        yield State(tuple(registers), low, data[at : at + size])
        at += size


def packed(states: Iterable[State]) -> bytes:
    """States with their callers."""
    found = bytearray()
    for each in states:
        found += _STATE.pack(*each.registers, each.low, len(each.stack)) + each.stack
        found += struct.pack(f"<Q{len(each.callers)}Q", len(each.callers), *each.callers)
    return bytes(found)


def unpacked(data: bytes) -> Iterator[State]:
    at = 0
    while at < len(data):
        *registers, low, size = _STATE.unpack_from(data, at)
        stack = data[at + _STATE.size : at + _STATE.size + size]
        at += _STATE.size + size
        (count,) = struct.unpack_from("<Q", data, at)
        callers = struct.unpack_from(f"<{count}Q", data, at + 8)
        at += 8 + 8 * count
        yield State(tuple(registers), low, stack, callers)


class Process:
    """A core whose crashed thread is put into other states."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.thread = next(thread for thread in target.threads if thread.crashed)
        self.regions = list(target.space.memory.regions)

    def walk(self, state: State) -> Stack:
        low, high = state.low, state.low + len(state.stack)
        others = [each for each in self.regions if each.end <= low or each.start >= high]
        loaded = (state.stack, 0, len(state.stack))
        space = self.target.space
        space.memory = Memory([*others, Region(low, high, lambda: loaded, writable=True)])
        registers: list[int | None] = [*state.registers]
        registers += [None] * (len(space.arch.register_names) - len(registers))
        stepper = default_stepper(space, None, lambda: self.target.generated)
        return walk(stepper, Thread(self.thread.index, self.thread.tid, registers))

    def jvm(self, pc: int) -> Jvm | None:
        module = self.target.space.module_at(pc)
        names = self.target.code_names(module) if module is not None else None
        return names if isinstance(names, Jvm) else None

    def part(self, pc: int) -> str:
        """The part of the JVM's code that a pc is in: a codelet of the interpreter, or a blob."""
        jvm = self.jvm(pc)
        blob = jvm.blob(pc) if jvm is not None else None
        if jvm is None or blob is None:
            return ""
        place = jvm.locate(pc) if blob.interpreter else None
        return place.function or "" if place is not None else blob.name

    def is_entry(self, pc: int) -> bool:
        """Whether a codelet begins there: nothing but zeros comes before."""
        jvm = self.jvm(pc)
        start = jvm.codelet(pc)[0] if jvm is not None else pc
        return not any(self.target.space.memory.read_available(start, pc - start))


@dataclass
class Calls:
    """Knows the callers in each state of a thread that is run step by step."""

    process: Process
    callers: tuple[int, ...]
    returns: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def after(self, before: State, now: State) -> None:
        """What an instruction has changed."""
        kind = self._kind(before, now)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if kind in ("call", "entry", "adapter"):
            self.callers = (now.registers[LINK] & _ADDRESS, *self.callers)
        elif kind == "return":
            assert now.pc == self.callers[0], f"{before.pc:#x} returns to {now.pc:#x}"
            self.callers = self.callers[1:]

    def _kind(self, before: State, now: State) -> str:
        (word,) = struct.unpack("<I", self.process.target.space.memory.read(before.pc, 4))
        is_jump = word & 0xFFFFFC1F in (0xD61F0000, 0xD65F0000)
        is_call = word >> 26 == 0b100101 or word & 0xFFFFFC1F == 0xD63F0000
        old, new = self.process.part(before.pc), self.process.part(now.pc)
        within = old.startswith("Interpreter") and new.startswith("Interpreter")
        if now.pc == before.pc:
            return "none"  # it was stopped at the end of a system call as well
        if within:
            if is_jump and "entry point (" in new and old != new and self.process.is_entry(now.pc):
                return "entry"
            # The interpreter's own subroutines have no frames.
            left = "return entry" in new and old != new
            return "return" if left and now.pc == self.callers[0] else "none"
        if is_call and now.pc != before.pc + 4:
            return "call"
        if word & 0xFFFFFC1F == 0xD65F0000:
            return "return"
        if old.startswith("Interpreter") and "adapters" in new:
            return "adapter"  # the interpreter loads where it goes on, and jumps
        return "none"
