"""Wasm code stopped at every instruction: prologues, epilogues, tail calls, signed returns.

Hosts of both CPUs were run step by step (tests/programs/wasm_steps.c), and what had called what
was seen: the callers at each step are known whatever a function does to its stack.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest

import unspool
from tests.programs.wasm_hosts import Step, read_steps
from unspool.memory import Region
from unspool.model import Thread
from unspool.targets.base import Target
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

HERE = Path(__file__).parent / "wasm"
NAMES = sorted(path.name.removesuffix(".steps.xz") for path in HERE.glob("*.steps.xz"))


class Process:
    """A core whose crashed thread can be put into an earlier state."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.thread = next(thread for thread in target.threads if thread.crashed)
        space = target.space
        registers = self.thread.registers
        assert registers is not None
        region = space.memory.region(registers[space.arch.sp] or 0)
        assert region is not None
        self.low, self.high = region.mapping
        self.true = bytes(self.high - self.low)
        for start, _, piece in space.memory.pieces(self.low, self.high):
            at = start - self.low
            self.true = self.true[:at] + bytes(piece) + self.true[at + len(piece) :]
        self.stack = bytearray(self.true)
        others = [each for each in space.memory.regions if each.mapping != region.mapping]
        loaded = (self.stack, 0, len(self.stack))
        own = Region(self.low, self.high, lambda: loaded, writable=True)
        space.memory.set_regions([*others, own])

    def state(self, step: Step) -> list[int | None]:
        """The registers of a step, whose stack is put into the memory."""
        at = step.sp - self.low
        self.stack[:] = self.true
        self.stack[at : at + len(step.stack)] = step.stack
        arch = self.target.space.arch
        registers: list[int | None] = [None] * len(self.thread.registers or ())
        registers[arch.pc], registers[arch.sp], registers[arch.fp] = step.pc, step.sp, step.fp
        if arch.link is not None:
            registers[arch.link] = step.link
        return registers

    def callers(self, step: Step) -> list[int]:
        """Where the walk says that the thread's frames return to, as many as there are calls."""
        registers = self.state(step)
        thread = Thread(self.thread.index, self.thread.tid, registers)
        stepper = default_stepper(self.target.space, None, lambda: self.target.generated)
        stack = walk(stepper, thread)
        return [frame.pc for frame in stack.frames[1 : 1 + len(step.callers)]]


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Process, list[Step]]]:
    steps = list(read_steps(lzma.decompress((HERE / f"{request.param}.steps.xz").read_bytes())))
    with unspool.open(str(HERE / f"{request.param}.core.xz")) as target:
        yield Process(target), steps


def test_the_callers_are_those_that_called(case: tuple[Process, list[Step]]) -> None:
    process, steps = case
    assert len({step.pc for step in steps}) > 300
    wrong = {hex(step.pc): step for step in steps if process.callers(step) != list(step.callers)}
    assert not wrong, sorted(wrong)


def test_steps_are_of_all_kinds(case: tuple[Process, list[Step]]) -> None:
    """What makes the test above worth its name."""
    process, steps = case
    memory = process.target.space.memory
    depths = [len(step.callers) for step in steps]
    assert max(depths) - min(depths) >= 4
    code = {memory.read(step.pc, 4) for step in steps}
    if process.target.space.arch.name == "x86-64":
        beginnings = {each[:1] for each in code}
        assert beginnings >= {b"\x55", b"\x5d", b"\xc3", b"\xc2", b"\xe8", b"\xe9"}
        return
    words = {int.from_bytes(each, "little") for each in code}
    assert words >= {0xA9BF7BFD, 0xA8C17BFD, 0xD65F03C0, 0x910103FF}  # stp, ldp, ret, add sp
    assert any(word >> 26 == 0b000101 for word in words)  # b
