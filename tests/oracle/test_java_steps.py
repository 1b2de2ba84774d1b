"""Java code executed one instruction at a time: at each of them the whole stack must be found.

What a frame is made of and taken down by is a few instructions, where no sample ever stops a
thread. Here it stops at all of them.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import unspool
from tests.programs.jvms import EACH_JDK, Jdk, running_java, thread_named
from unspool.generated.hotspot.jvm import Jvm
from unspool.memory import Memory, Region
from unspool.model import Report, Stack, StopReason, Thread, Trust
from unspool.symbols.symbolicate import symbolicate
from unspool.targets.base import Options, Target
from unspool.unwind.step import Stepper
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

from . import stepping

# The interpreter takes some hundred instructions from one call to the next.
LEAST, MOST, CALLS = 800, 6000, 8
_READ = 1 << 16
_THREAD, _SIZE_OF_THREAD = 15, 4096
_RED_ZONE = 128

# From the outermost frame inwards.
_PATH = re.compile(
    r"(Busy\$1\.run )(Busy\$[ABC]\.go ){0,13}(Busy\.leaf )?(Busy\.tiny )?((java|jdk|sun)\.\S+ )*"
)
MODES = {
    "interpreter": ("-Xint",),
    "c1": ("-XX:TieredStopAtLevel=1", "-Xbatch"),
    "c1-profiled": ("-XX:TieredStopAtLevel=3", "-Xbatch"),
    "c2": ("-XX:-TieredCompilation", "-Xbatch"),
    "frame-pointers": ("-XX:+PreserveFramePointer", "-XX:-TieredCompilation", "-Xbatch"),
}


class Now(Memory):
    """Memory of which what was read is remembered, but for what the JVM keeps of a thread."""

    def __init__(self, regions: list[Region], memory: stepping.LiveMemory, thread: int) -> None:
        super().__init__(regions)
        self._memory = memory
        self._thread = thread

    def read_uint(self, address: int, size: int) -> int:
        if self._thread <= address < self._thread + _SIZE_OF_THREAD:
            return self._memory.read_uint(address, size)
        return super().read_uint(address, size)


class Stepped:
    """Walks a thread that is held, with its stack as it is now."""

    def __init__(self, target: Target, tid: int) -> None:
        self.target = target
        self.tid = tid
        self.stepper: Stepper = default_stepper(target.space, None, lambda: target.generated)
        self.regions = target.space.memory.regions
        assert target.info.pid is not None
        self.memory = stepping.LiveMemory(target.info.pid, lambda address: False)
        maps = Path(f"/proc/{target.info.pid}/maps").read_text().splitlines()
        spans = [line.split()[0].split("-") for line in maps]
        self.spans = [(int(low, 16), int(high, 16)) for low, high in spans]

    def stack(self, registers: list[int | None]) -> Stack:
        sp = registers[stepping.RSP]
        assert sp is not None
        low = sp - 1024 & ~4095
        high = min(next(high for start, high in self.spans if start <= sp < high), low + _READ)
        data = self.memory.read_available(low, high - low)
        others = [each for each in self.regions if each.end <= low or each.start >= high]
        own = Region(low, high, lambda: (data, 0, len(data)), writable=True)
        thread = registers[_THREAD]
        assert thread is not None
        self.target.space.memory = Now([*others, own], self.memory, thread)
        return walk(self.stepper, Thread(0, self.tid, registers))

    def part(self, pc: int) -> str:
        """The part of the JVM's code that a pc is in: a codelet of the interpreter, or a blob."""
        module = self.target.space.module_at(pc)
        names = self.target.code_names(module) if module is not None else None
        if not isinstance(names, Jvm):
            return ""
        blob = names.blob(pc)
        if blob is None or not blob.interpreter:
            return blob.name if blob is not None else ""
        place = names.locate(pc)
        assert place is not None
        assert place.function is not None
        return place.function

    def at_start(self, pc: int) -> bool:
        """Whether a part of the interpreter begins there: methods are entered at their start."""
        module = self.target.space.module_at(pc)
        names = self.target.code_names(module) if module is not None else None
        return isinstance(names, Jvm) and names.codelet(pc)[0] == pc

    def expected(
        self,
        before: list[int | None],
        callers: list[int],
        part_before: str,
        pc: int,
        sp: int,
        part: str,
    ) -> list[int]:
        """The callers after an instruction, by what it has done."""
        old_pc, old_sp = before[stepping.RIP], before[stepping.RSP]
        assert old_pc is not None
        assert old_sp is not None
        word = self.memory.word(sp)
        entered = "entry point (" in part and part != part_before and self.at_start(pc)
        left = "return entry" in part and part != part_before
        if part.startswith("Interpreter") and part_before.startswith("Interpreter"):
            if entered:
                return [word, *callers]
            if not left or ("entry point (" in part_before and pc != callers[0]):
                return callers  # its own subroutines have no frames
        if sp == old_sp - 8 and 0 < word - old_pc <= 15 and not old_pc < pc <= word:
            return [word, *callers]
        if self.memory.read_available(old_pc, 1) in (b"\xc3", b"\xc2"):
            assert pc == callers[0], "a return leads to the caller"
            return callers[1:]
        if part_before.startswith("Interpreter") and "adapters" in part:
            return [word, *callers]  # the interpreter pushes where it goes on, and jumps
        if left:
            assert pc == callers[0], "the interpreter returns to the caller"
            return callers[1:]
        return callers

    def names(self, stack: Stack) -> list[str]:
        """Java's methods on the stack, outermost first."""
        target = self.target
        report = Report(target.info, target.modules, [stack])
        report = symbolicate(
            report, lambda module: None, Options(), code_names=target.code_names, lines=False
        )
        found: list[str] = []
        for index in range(len(stack.frames)):
            place = report.location(stack, index)
            if place is None or place.module is None or place.function is None:
                continue
            if target.modules[place.module].kind == "jit" and place.file is not None:
                found += [call.function for call in place.inlines] + [place.function]
        return found[::-1]


@pytest.mark.parametrize("mode", MODES)
@EACH_JDK
def test_the_stack_is_found_at_every_instruction(
    jdk: Jdk, mode: str, programs_root: Path
) -> None:
    running = running_java(jdk, programs_root, "Busy", 1, 20_000, options=MODES[mode])
    with running as (process, _), contextlib.ExitStack() as after:
        if mode == "c1":
            after.enter_context(asked_for_its_stacks(jdk, process.pid))
        tid = thread_named(process.pid, "busy-0")
        with unspool.open(process.pid) as target:
            follow(target, tid)


@contextlib.contextmanager
def asked_for_its_stacks(jdk: Jdk, pid: int) -> Iterator[None]:
    """Has the JVM stop its threads at some moment."""
    command = [jdk.tool("jcmd"), str(pid), "Thread.print"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield


def follow(target: Target, tid: int) -> None:
    stepped = Stepped(target, tid)
    calls = returns = 0
    before: tuple[list[int | None], list[int], str] | None = None
    with contextlib.closing(stepped.memory), stepping.Thread(tid) as thread:
        for number in range(MOST):
            if number >= LEAST and min(calls, returns) >= CALLS:
                break
            registers = thread.registers()
            stack = stepped.stack(registers)
            names = stepped.names(stack)
            check(stack, names, f"step {number}")
            callers = [frame.pc for frame in stack.frames[1:]]
            pc, sp = stack.frames[0].pc, stack.frames[0].sp or 0
            part = stepped.part(pc)
            if before is not None:
                expected = stepped.expected(*before, pc, sp, part)
                shown = [f"{each:#x}" for each in callers[:3]]
                wanted = [f"{each:#x}" for each in expected[:3]]
                assert callers == expected, (number, hex(pc), part, before[2], shown, wanted)
                calls += len(expected) > len(before[1])
                returns += len(expected) < len(before[1])
            before = registers, callers, part
            if thread.step():
                leave_handler(thread, sp)
                before = None
    assert min(calls, returns) >= CALLS, (calls, returns)


def leave_handler(thread: stepping.Thread, sp: int) -> None:
    """Threads are stopped by faults, and null pointers found by them: any step may be one."""
    for _ in range(1_000_000):
        now = thread.registers()[stepping.RSP]
        assert now is not None
        if now >= sp - _RED_ZONE:
            return
        thread.step()
    raise AssertionError("a handler without end")


def check(stack: Stack, names: Sequence[str], where: str) -> None:
    shown = "\n".join([where, *names[::-1], *map(repr, stack.frames[:4]), stack.stop.detail])
    assert stack.stop.reason == StopReason.ROOT, shown
    assert not stack.gaps, shown
    assert not any(frame.trust == Trust.SCAN for frame in stack.frames), shown
    assert _PATH.fullmatch("".join(f"{name} " for name in names)), shown
