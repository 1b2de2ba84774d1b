"""Holds all threads of a process for as long as it takes to copy registers and stacks.

1. Seize every thread (PTRACE_SEIZE does not stop it) and prepare whatever can be prepared.
2. Interrupt all of them, then collect their registers as they stop.
3. Copy the used parts of their stacks.
4. End the thread of ours that did this. The kernel then lets all of them go.

Letting go by ending is what makes it safe. It is what happens anyway when unspool is
killed at any moment, so there is no other way that could be wrong. No stop is ever
collected with wait, which leaves to each thread what it stopped with: a thread that stopped
for a signal instead of our interruption goes on and takes that signal, one of a stopped
process stays stopped (ptrace(2); kernel/signal.c, `ptrace_stop`: a stop's `exit_code` is what
the thread goes on with, and waiting for it clears it). And a thread that does not stop at all,
since it waits for its vfork child or for a disk, is let go like the others.
"""

from __future__ import annotations

import gc
import os
import threading
import time

from unspool.targets.live.copier import StackCopier
from unspool.targets.live.memory import memory_ended
from unspool.targets.live.ptrace import Calls
from unspool.targets.live.stacks import Copied, Held, Planner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.targets.live.procfs import Process

# For how many seconds to wait when no more thread stops: at most, and if all that are left
# are in uninterruptible waits, most of which last longer than this.
_PATIENCE = 1.0
_PATIENCE_DISK = 0.05
# How long to try to seize threads that have another tracer.
_PATIENCE_TRACER = 0.02
_FIRST_PAUSE, _LONGEST_PAUSE = 30e-6, 2e-3
# After this many seconds it is worth asking why no more thread stops; while there are few,
# whether they have ended is asked at once.
_ASK_AFTER = 5e-3
_FEW = 8
# How many are asked in vain before the CPU is left to them.
_FEW_STOPPED = 64

# New threads appear while others are seized, by threads not yet seized: each round leaves
# fewer of these.
_ROUNDS = 100
_UNFROZEN_ROUNDS = 3

# For how long a thread of ours that hangs in the kernel is waited for.
_GIVE_UP = 10.0
_LOOK_AGAIN = 0.02

_WALL = 0x40000000  # __WALL: wait for any kind of child


class Changed(Exception):
    """The process has become another program (execve) while it was being seized."""


class Snapshot:
    """What was copied: threads as (id, register words or None) and the bytes of stacks.

    `refused` maps threads that could not be seized to errnos; `unstopped` those that did not
    stop in time to their states; `exited` are those that ended meanwhile. `late` is set if
    there may be more threads than were seen. `floating` are the floating point registers of
    threads by their ids, if `calls` has room for these. `held` is for how many seconds threads were
    stopped, up to the moment in which letting them go began.
    """

    def __init__(self) -> None:
        self.threads: list[tuple[int, Sequence[int] | None]] = []
        self.stacks: list[Copied] = []
        self.refused: dict[int, int] = {}
        self.unstopped: dict[int, str] = {}
        self.exited: list[int] = []
        self.floating: dict[int, bytes] = {}
        self.late = False
        self.held = 0.0


def take_snapshot(process: Process, calls: Calls, planner: Planner, memory: int) -> Snapshot:
    """Stops the process, copies, and lets it go. `memory` is a descriptor of its memory.

    Raises `Changed`, or whatever went wrong in between; in any case nothing stays stopped.
    """
    work = _Work(process, calls, planner, memory)
    collecting = gc.isenabled()
    gc.disable()
    try:
        thread = threading.Thread(target=work.run, name="unspool-freeze", daemon=True)
        thread.start()
        try:
            _await(thread, work)
        except BaseException:
            work.cancelled = True
            thread.join(_PATIENCE)
            raise
    finally:
        if collecting:
            gc.enable()
    if work.error is not None:
        raise work.error
    return work.results()


def _await(thread: threading.Thread, work: _Work) -> None:
    """Waits until the freezing thread is gone, and its tracees with it free.

    An interrupt from the keyboard does not reach that thread: it ends by itself.
    """
    patience = time.monotonic() + _GIVE_UP
    thread.join(_LOOK_AGAIN)
    while thread.is_alive():
        if work.seizing:
            reap(work.seized, work.process.pid)
        thread.join(_LOOK_AGAIN)
        if time.monotonic() > patience:
            raise TimeoutError(f"process {work.process.pid} did not answer for {_GIVE_UP:.0f} s")
    # Python takes a thread for dead a little before the kernel does.
    while time.monotonic() < patience and os.path.exists(f"/proc/self/task/{work.tid}"):
        time.sleep(_FIRST_PAUSE)


def reap(tids: Sequence[int], pid: int) -> None:
    """Lets dead threads that we trace go away.

    Situation: one thread of the process calls execve while we seize them. The kernel ends
    the others and waits until they are gone; those that we trace are gone when we have waited
    for them. But we may just be seizing the next one, which in turn waits for the execve.
    Anybody of our process can wait in its place.
    """
    for tid in list(tids):
        _is_dead(tid, pid)


def _is_dead(tid: int, pid: int) -> bool:
    """Whether a seized thread has ended; a zombie that nobody else waits for is removed."""
    options = os.WEXITED | os.WNOHANG | _WALL
    try:
        ended = os.waitid(os.P_PID, tid, options | os.WNOWAIT)
        if ended is None or ended.si_code not in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
            return False
        # The first thread's end is the process's, which belongs to its parent (maybe us).
        if tid != pid:
            os.waitid(os.P_PID, tid, options)
    except ChildProcessError:
        pass
    return True


class _Work:
    """What the freezing thread does and what it finds."""

    def __init__(self, process: Process, calls: Calls, planner: Planner, memory: int) -> None:
        self.process = process
        self.calls = calls
        self.planner = planner
        self.memory = memory
        self.snapshot = Snapshot()
        self.error: BaseException | None = None
        self.cancelled = False
        self.seizing = True
        self.tid = 0
        # An ordered set: threads in the order in which they were found.
        self.known: dict[int, None] = {}
        self.seized: list[int] = []
        self.slots: dict[int, int] = {}
        self.used_slots = 0
        # Threads whose floating point registers were taken as well.
        self.floating: list[int] = []
        self.copier = StackCopier(process, calls, planner, memory)

    def run(self) -> None:
        self.tid = threading.get_native_id()
        try:
            self.seize_all()
            self.seizing = False
            if self.seized:
                self.hold()
        except BaseException as error:
            self.error = error

    # --- before anything stops ---------------------------------------------------------

    def seize_all(self) -> None:
        """Seizes all threads; does not stop any."""
        new = self.process.tasks()
        for _ in range(_UNFROZEN_ROUNDS):
            for tid in new:
                self.seize(tid)
            listed = self.process.tasks()
            new = [tid for tid in listed if tid not in self.known]
            if not new:
                break
        self.seize_refused()
        # A thread that ended may have left its id to one of another process.
        for tid in set(self.seized).difference(listed):
            self.seized.remove(tid)
            self.known.pop(tid, None)

    def seize_refused(self) -> None:
        """Tries those again that somebody else traces, which may be for a moment only.

        Wine's server does so whenever a program suspends one of its threads, to read debug
        registers that only a tracer can have.
        """
        until = time.monotonic() + _PATIENCE_TRACER
        while self.snapshot.refused and time.monotonic() < until and not self.cancelled:
            time.sleep(_LONGEST_PAUSE / 4)
            for tid in list(self.snapshot.refused):
                del self.snapshot.refused[tid]
                self.seize(tid)

    def seize(self, tid: int) -> None:
        if self.cancelled or len(self.seized) >= self.calls.capacity:
            return
        error = self.calls.seize(tid)
        if error == 0:
            self.seized.append(tid)
        elif error == 3:  # ESRCH: it is gone
            return
        else:
            self.snapshot.refused[tid] = error
        self.known[tid] = None

    # --- while threads are stopped -----------------------------------------------------

    def hold(self) -> None:
        _take_precedence(self.calls)
        if self.cancelled:
            return
        started = time.perf_counter()
        self.stop_all()
        held = self.held_threads()
        self.check_program(held)
        self.snapshot.stacks = self.copier.copy_stacks(held)
        # A thread that was in execve already cannot be stopped before it is done with that.
        # Then the registers are the old program's, and memory by a thread's id the new one's.
        self.check_program(held)
        if self.calls.floating:
            read = self.calls.read_floating
            self.floating = [tid for tid, slot in self.slots.items() if read(tid, slot)]
        self.snapshot.held = time.perf_counter() - started

    def stop_all(self) -> None:
        """Stops the seized threads, and those that appeared meanwhile."""
        batch = self.seized
        pause = _FIRST_PAUSE
        for _ in range(_ROUNDS):
            # The kernel lets go of tracees in the reverse of the order in which they were
            # seized. With the same order here, all are stopped for an equally long time.
            interrupt = self.calls.interrupt
            for tid in reversed(batch):
                interrupt(tid)
            self.collect(batch)
            if self.process.task_count() == len(self.known):
                return
            new = [tid for tid in self.process.tasks() if tid not in self.known]
            if not new:
                return
            before = len(self.seized)
            self.seizing = True
            for tid in new:
                self.seize(tid)
            self.seizing = False
            batch = [tid for tid in self.seized[before:] if self.process.has_task(tid)]
            if not batch:
                # What is listed is about to end, and needs the CPU for that: going round
                # without a pause would use all rounds up before it is gone.
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        self.snapshot.late = True

    def collect(self, tids: Sequence[int]) -> None:
        """Waits until all have stopped, ended, or run out of time; takes their registers."""
        waiting: Sequence[int] = tids[::-1]
        for tid in waiting:
            self.slots[tid] = self.used_slots
            self.used_slots += 1
        since = time.monotonic()  # the last time that one of them stopped
        before = len(waiting)
        pause = _FIRST_PAUSE
        while waiting := self.not_stopped(waiting):
            if len(waiting) < before:
                since, before = time.monotonic(), len(waiting)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            idle = time.monotonic() - since
            if len(waiting) <= _FEW or idle > _ASK_AFTER:
                waiting = self.without_dead(waiting)
            if idle > _ASK_AFTER:
                waiting = self.worth_waiting_for(waiting, idle)

    def not_stopped(self, waiting: Sequence[int]) -> list[int]:
        """Takes the registers of those that have stopped; the others, tried ones last.

        Gives up when few have: they need the CPU now that asking them would take.
        """
        read, slots = self.calls.read_registers, self.slots
        tried = []
        for index, tid in enumerate(waiting):
            if not read(tid, slots[tid]):
                tried.append(tid)
                if len(tried) > _FEW_STOPPED:
                    return [*waiting[index + 1 :], *tried]
        return tried

    def without_dead(self, waiting: Sequence[int]) -> list[int]:
        alive = []
        for tid in waiting:
            if _is_dead(tid, self.process.pid):
                self.forget(tid, tid == self.process.pid)
            else:
                alive.append(tid)
        return alive

    def worth_waiting_for(self, waiting: Sequence[int], idle: float) -> list[int]:
        """Which threads may still stop, when none has for `idle` seconds."""
        states = {}
        for tid in waiting:
            status = self.process.status(tid)
            state = status.get("State", "X")[0]
            # After an execve the first thread's id belongs to the thread that called it,
            # which may be none of those that we seized.
            if state in "ZX" or status.get("TracerPid") != str(self.tid):
                self.forget(tid, bool(status))
            else:
                states[tid] = state
        if idle < _PATIENCE_DISK or (idle < _PATIENCE and set(states.values()) != {"D"}):
            return list(states)
        self.snapshot.unstopped.update(states)
        for tid in states:
            del self.slots[tid]
        return []

    def forget(self, tid: int, still_listed: bool) -> None:
        """A seized thread has ended. As long as it is listed, it counts as one of the tasks."""
        del self.slots[tid]
        self.snapshot.exited.append(tid)
        if not still_listed:
            self.known.pop(tid, None)

    def held_threads(self) -> list[Held]:
        layout = self.calls.layout
        words = memoryview(self.calls.registers).cast(layout.code)
        narrow = self.planner.word == 4
        tls = layout.tls_32 if narrow else layout.tls
        size, pc, sp = layout.words, layout.pc, layout.sp
        result = []
        for tid, slot in self.slots.items():
            mine = words[slot * size : slot * size + size]
            result.append(Held(tid, mine[pc], mine[sp], mine[tls], mine))
        return result

    def check_program(self, held: Sequence[Held]) -> None:
        """Makes sure that the process still is the program that it was. Raises `Changed`.

        Our descriptor of its memory stays with that of the old program.
        """
        if held and memory_ended(self.memory):
            raise Changed

    def results(self) -> Snapshot:
        """The snapshot with its threads, in the order in which they were found."""
        words = memoryview(self.calls.registers).cast(self.calls.layout.code)
        size = self.calls.layout.words
        ended = set(self.snapshot.exited)
        for tid in self.known:
            if tid in ended:
                continue
            slot = self.slots.get(tid)
            taken = None if slot is None else words[slot * size : slot * size + size].tolist()
            self.snapshot.threads.append((tid, taken))
        size = self.calls.layout.floating
        for tid in self.floating:
            start = self.slots[tid] * size
            self.snapshot.floating[tid] = bytes(self.calls.floating[start : start + size])
        return self.snapshot


def _take_precedence(calls: Calls) -> None:
    """Keeps other programs from running in our place while the target waits for us.

    Allowed to root only; the others have to hope. It ends with the thread.
    """
    calls.be_punctual()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return
