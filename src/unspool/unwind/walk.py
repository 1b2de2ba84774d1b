"""A thread's whole stack: step until a rule says stop. Every stopping rule is here.

- the root: unwind data or a strategy says so, or a null return address ends the chain
- no strategy: nobody knows the caller
- fault: the caller is known to be somewhere that cannot be read
- no progress: the stack pointer did not move towards older frames *within a segment*
- cycle: a switch of segments leads back to where the walk has been
- depth: the limit on frames
- missing context: the target holds no registers for the thread

A stack is a list of segments. A switch to another one (a signal handler's alternate
stack, a coroutine's) is allowed to move the stack pointer anywhere, once.
"""

from __future__ import annotations

from unspool.memory import Fault
from unspool.model import Attempt, Frame, Gap, Segment, Stack, Stop, StopReason, Trust
from unspool.unwind.step import Ended, Found, Missed, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Window
    from unspool.model import Thread
    from unspool.unwind.rows import Quick, Row
    from unspool.unwind.step import Stepper, Switch

# More frames than a stack of 32 MB can hold: what remains is a lying dump.
SAFETY_LIMIT = 2_000_000

# Frames that are exact since their code was stopped or interrupted, or waits in a stub of Wine's.
_STOPPED = (Trust.CONTEXT, Trust.SIGNAL, Trust.SEGMENT_SWITCH, Trust.UNWIND_INFO)

# Nested signals and coroutines make a handful. A window procedure of a Windows program that
# sends messages to itself until its stacks are full makes a thousand.
_MAX_SEGMENTS = 10_000


def walk(
    stepper: Stepper,
    thread: Thread,
    max_frames: int = 0,
    explain: bool = False,
    *,
    called: bool = False,
) -> Stack:
    """Walks one thread. `max_frames` of 0 means all. Never raises for what the dump holds.

    `called` means that the registers are those of code that has called something, as where a
    coroutine waits: none of it was stopped at an instruction.
    """
    walker = _Walk(stepper, thread, min(max_frames or SAFETY_LIMIT, SAFETY_LIMIT), explain)
    walker.called = called
    stop = walker.run()
    return Stack(
        thread.index, thread.tid, walker.frames, walker.segments, stop,
        name=thread.name, crashed=thread.crashed, gaps=tuple(walker.gaps),
        windows_tid=thread.windows_tid, subjects=walker.subjects,
    )  # fmt: skip


class _Walk:
    """The state of one walk."""

    def __init__(self, stepper: Stepper, thread: Thread, limit: int, explain: bool) -> None:
        self.stepper = stepper
        self.space = stepper.space
        self.registers = thread.registers
        self.thread = thread.index
        self.limit = limit
        self.explain = explain
        self.called = False
        self.frames: list[Frame] = []
        self.gaps: list[Gap] = []
        self.subjects: dict[int, int] = {}
        self.segments: list[Segment] = []
        self.stack: Window | None = None
        self.pending: list[Found] = []
        self.switches: set[tuple[int, int]] = set()

    def run(self) -> Stop:
        arch = self.space.arch
        registers = self.registers
        pc = registers[arch.pc] if registers is not None else None
        if registers is None or pc is None:
            return Stop(StopReason.MISSING_CONTEXT, "the target holds no registers for it")
        sp = registers[arch.sp]
        self.enter_segment("unix", sp)
        trust = Trust.SEGMENT_SWITCH if self.called else Trust.CONTEXT
        self.frames.append(Frame(pc, sp, trust, exact=not self.called))
        stop = None
        while stop is None:
            if not self.explain:
                registers = self.fast(registers)
            if len(self.frames) >= self.limit:
                self.note_subject(registers)
                return Stop(StopReason.DEPTH, f"the limit of {self.limit} frames")
            answer = self.slow(registers)
            if isinstance(answer, Stop):
                stop = answer
            else:
                registers = answer
        return stop

    def fast(self, registers: list[int | None]) -> list[int | None]:
        """Walks on for as long as frames have cached, simple rows and stay in the segment.

        This is the hot loop: `apply`, `check_progress` and `accept` in one, for the case that
        nearly every frame is. It stops before a step that is anything else and leaves it to
        `slow`.
        """
        stack = self.stack
        last = self.frames[-1]
        row = self.stepper.rows.get(last.lookup_pc)
        if row is None or row.quick is None or stack is None:
            return registers
        if last.exact and self.stepper.early:
            return registers  # the same code can need another answer on another stack
        arch = self.space.arch
        find, append = self.stepper.rows.get, self.frames.append
        low, high, buffer, origin = stack.low, stack.high, stack.buffer, stack.base
        mask, sp_number = arch.code_address_mask, arch.sp
        segment = len(self.segments) - 1
        pc, sp = last.pc, last.sp or 0
        quick: Quick | None = row.quick
        registers = registers.copy()
        for _ in range(self.limit - len(self.frames)):
            if quick is None:
                break
            cfa_register, cfa_offset, first, end, unpack, fields, ra_index, trust = quick
            base = registers[cfa_register]
            if base is None:
                break
            at, older = base + first, base + cfa_offset
            if at < low or base + end > high or older <= sp:
                break
            values = unpack(buffer, at - origin)
            caller = values[ra_index] & mask
            # A return address with a row of its own has been checked when that was made.
            row = find(caller - 1)
            if row is None:
                break
            for register, value in zip(fields, values):  # noqa: B905 - a keyword costs 0.1 µs
                registers[register] = value
            registers[sp_number] = sp = older
            pc = caller
            append(Frame(pc, sp, trust, False, segment))
            quick = row.quick
        registers[arch.pc] = pc
        return registers

    def slow(self, registers: list[int | None]) -> list[int | None] | Stop:
        """One step with every check: the caller's registers, or why there are none."""
        frame = self.frames[-1]
        trail: list[Attempt] = []
        answer = self.ask(frame, registers, trail)
        if self.explain:
            frame.trail = trail
        if self.pending and not isinstance(answer, Found):
            # The root of 32-bit code, say, that 64-bit code runs: that has callers.
            if isinstance(answer, Missed):
                self.gaps.append(Gap(len(self.frames), answer.why))
            return self.accept(frame, self.pending.pop())
        if isinstance(answer, Ended):
            reason = StopReason.NO_STRATEGY if answer.of_a_part else StopReason.ROOT
            return Stop(reason, answer.why)
        if isinstance(answer, Missed):
            return Stop(StopReason.FAULT if answer.fault else StopReason.NO_STRATEGY, answer.why)
        return self.accept(frame, answer)

    def note_subject(self, registers: list[int | None]) -> None:
        """What the last frame's code works on, where nobody asks for its caller any more."""
        if self.stepper.early:
            answer = self.ask(self.frames[-1], registers, [])
            if isinstance(answer, Found) and answer.subject is not None:
                self.subjects[len(self.frames) - 1] = answer.subject

    def ask(
        self, frame: Frame, registers: list[int | None], trail: list[Attempt]
    ) -> Found | Missed | Ended:
        planted = frame.exact and (
            frame.trust not in _STOPPED
            # On Windows alone such data lead to code that was stopped.
            or (frame.trust == Trust.UNWIND_INFO and self.space.arch.name == "arm")
        )
        query = Query(
            frame.pc, frame.exact, registers, self.stack, planted, frame.sp, self.thread
        )  # fmt: skip
        return self.stepper.step(query, trail)

    def accept(self, frame: Frame, found: Found) -> list[int | None] | Stop:
        """Appends the caller's frame, in the same segment or in a new one."""
        if found.begins is not None:
            self.begin_at(frame, found.begins)
        if found.subject is not None:
            self.subjects[len(self.frames) - 1] = found.subject
        if found.resume is not None:
            self.pending.append(found.resume)
        if found.stepper is not None:
            self.stepper = found.stepper
            self.space = found.stepper.space
        arch = self.space.arch
        pc, sp = found.registers[arch.pc], found.registers[arch.sp]
        assert pc is not None
        if sp is None:
            sp = found.above
        if sp is None:
            return Stop(StopReason.NO_STRATEGY, "the caller's stack pointer is not known")
        if found.row is not None and found.row.signal is not None:
            # Nothing called the trampoline: its address belongs to itself, not to the
            # function that happens to lie before it.
            frame.exact = True
            stop = self.leave_signal_handler(frame, found.row, sp)
        elif found.switch is not None:
            stop = self.switch(found.switch.kind, sp, pc, found.switch.words)
            if stop is None and found.switch.bounds is not None:
                segment = self.segments[-1]
                segment.kind = found.switch.kind
                segment.low, segment.high = found.switch.bounds
        else:
            stop = self.check_progress(frame, found, pc, sp)
        if stop is not None:
            return stop
        if found.gap:
            self.gaps.append(Gap(len(self.frames), found.gap))
        if found.run and not self.append_run(found):
            return Stop(StopReason.DEPTH, f"the limit of {self.limit} frames")
        self.frames.append(Frame(pc, sp, found.trust, found.exact, len(self.segments) - 1))
        if self.stack is None or not self.stack.low <= sp < self.stack.high:
            self.stack = self.space.memory.window(sp)
            self.complete_bounds(sp)
        return found.registers

    def begin_at(self, frame: Frame, switch: Switch) -> None:
        """Makes the last frame the first one of a segment."""
        before = self.frames[-2] if len(self.frames) > 1 else None
        if before is not None and before.segment == frame.segment < _MAX_SEGMENTS:
            self.segments.append(Segment(switch.kind, None, None, switch.words))
            frame.segment = len(self.segments) - 1
        segment = self.segments[frame.segment]
        segment.kind = switch.kind
        if switch.bounds is not None:
            segment.low, segment.high = switch.bounds

    def append_run(self, found: Found) -> bool:
        """Appends what a strategy has walked by itself; False if the limit has no room for more."""
        segment, trail = len(self.segments) - 1, self.frames[-1].trail
        append, trust = self.frames.append, found.trust
        for pc, sp in found.run[: self.limit - len(self.frames)]:
            append(Frame(pc, sp, trust, False, segment, trail))
        return len(self.frames) < self.limit

    def check_progress(self, frame: Frame, found: Found, pc: int, sp: int) -> Stop | None:
        old = frame.sp or 0
        if sp > old:
            # Unwind data that finds everything in registers could go on for ever.
            if self.stack is None and self.space.memory.window(sp) is None:
                return Stop(StopReason.FAULT, f"no stack can be read at 0x{old:x} or 0x{sp:x}")
            if found.trust == Trust.CFI and self.in_a_mapping_apart(old, sp):
                return self.switch("other", sp, pc, "unwind data leads to another stack")
            return None
        # A leaf function of a CPU with a link register returns with the stack as it was. So do
        # Wine's dispatcher and a JVM's interpreter, which take return addresses off the stack.
        if sp == old and frame.exact and pc != frame.pc and (
            self.space.arch.link is not None or found.trust in (Trust.SEGMENT_SWITCH, Trust.LEAF)
        ):  # fmt: skip
            return None
        # Unwind data of code that switches stacks (coroutines, a runtime's system stack)
        # says where the other one is.
        if found.trust == Trust.CFI and self.in_another_mapping(old, sp):
            return self.switch("other", sp, pc, "unwind data leads to another stack")
        return Stop(
            StopReason.NO_PROGRESS, f"the caller's stack pointer 0x{sp:x} is not above 0x{old:x}"
        )

    def leave_signal_handler(self, frame: Frame, row: Row, sp: int) -> Stop | None:
        """Opens a new segment if the handler ran on a stack of its own."""
        old = frame.sp or 0
        bounds = self.alternate_stack(row, old)
        if bounds is not None and bounds[0] <= old < bounds[1] and not bounds[0] <= sp < bounds[1]:
            handler = self.segments[-1]
            handler.kind, (handler.low, handler.high) = "signal", bounds
        elif bounds is None and (sp <= old or self.in_another_mapping(old, sp)):
            # The older sigframe of i386 does not record the alternate stack. That may lie
            # anywhere, in an older frame of the thread's own stack even.
            self.segments[-1].kind = "signal"
        elif sp > old:
            return None
        elif self.in_another_mapping(old, sp):
            self.segments[-1].kind = "signal"
        else:
            return Stop(
                StopReason.NO_PROGRESS,
                f"the interrupted stack pointer 0x{sp:x} is not above 0x{old:x}",
            )
        return self.switch("unix", sp, frame.pc, f"signal frame at 0x{old:x}")

    def alternate_stack(self, row: Row, sp: int) -> tuple[int, int] | None:
        """The bounds of the alternate stack from `uc_stack`: ss_sp, ss_flags, ss_size.

        They are empty if there is none; the answer is None if the frame does not say.
        """
        assert row.signal is not None
        if row.signal.alt_stack is None:
            return None
        word = self.space.arch.pointer_size
        try:
            data = self.space.memory.read(sp + row.signal.alt_stack, 3 * word)
        except Fault:
            return None
        low = int.from_bytes(data[:word], "little")
        size = int.from_bytes(data[2 * word :], "little")
        return low, low + size

    def in_another_mapping(self, old: int, new: int) -> bool:
        memory = self.space.memory
        region, other = memory.region(old), memory.region(new)
        known, goal = self.space.stack_at(old), self.space.stack_at(new)
        if other is not None and goal is not None and other.writable:
            return goal is not known
        if other is None or not other.writable:
            return False
        return region is None or other.mapping != region.mapping

    def in_a_mapping_apart(self, old: int, new: int) -> bool:
        """Whether a stack pointer above has left its stack: something lies between the two.

        A stack may be several mappings one above the other.
        """
        region, other = self.space.memory.region(old), self.space.memory.region(new)
        if region is None or other is None or region is other:
            return False
        return region.mapping[1] < other.mapping[0] and self.in_another_mapping(old, new)

    def switch(self, kind: str, sp: int, pc: int, how: str) -> Stop | None:
        """Enters another segment, unless the walk has been at that very switch before."""
        if len(self.segments) >= _MAX_SEGMENTS:
            return Stop(StopReason.DEPTH, f"the limit of {_MAX_SEGMENTS:,} switches of stacks")
        if (pc, sp) in self.switches:
            return Stop(StopReason.CYCLE, f"stacks switch in a circle at 0x{sp:x}")
        self.switches.add((pc, sp))
        self.enter_segment(kind, sp, how)
        return None

    def complete_bounds(self, sp: int) -> None:
        """Sets the bounds of a segment that began in unmapped memory: a stack overflow."""
        segment = self.segments[-1]
        region = self.space.memory.region(sp)
        if segment.low is None and region is not None:
            segment.low, segment.high = region.mapping

    def enter_segment(self, kind: str, sp: int | None, how: str | None = None) -> None:
        region = self.space.memory.region(sp) if sp is not None else None
        low, high = region.mapping if region else (None, None)
        known = self.space.stack_at(sp) if sp is not None else None
        if known is not None:
            kind, low, high = known.kind, known.low, known.high
        self.segments.append(Segment(kind, low, high, how))
        self.stack = self.space.memory.window(sp) if sp is not None else None
