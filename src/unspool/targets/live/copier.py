"""Copies the used parts of stacks out of a process that is held.

Every microsecond here is one for which the process stands still: one system call copies
whatever can be copied at once, into memory that has been touched before.
"""

from __future__ import annotations

import os

from unspool.targets.live.procfs import parse_maps
from unspool.targets.live.stacks import Copied, Held, Planner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.targets.live.procfs import Process
    from unspool.targets.live.ptrace import Calls

# What is used of most threads' stacks, in bytes.
_USUAL_STACK = 4 << 10


class StackCopier:
    """Copies what a `Planner` asks for. `memory` is a descriptor of the process's memory."""

    def __init__(self, process: Process, calls: Calls, planner: Planner, memory: int) -> None:
        self.process = process
        self.calls = calls
        self.planner = planner
        self.memory = memory
        # Written to once, so that copying meets few page faults.
        self.buffer = bytearray(b"\xff") * (min(process.task_count(), 1024) * _USUAL_STACK)

    def copy_stacks(self, held: Sequence[Held]) -> list[Copied]:
        """The used parts of the threads' stacks, and of those that signals interrupted."""
        planner = self.planner
        result: list[Copied] = []
        ranges = planner.first(held)
        if planner.outdated:
            # After the mappings were read, a thread was made, a stack grew, a library was loaded.
            planner.maps = parse_maps(self.process.read("maps") or b"")
            ranges = planner.first(held)
        places = [(thread, thread.sp) for thread in held]
        for _ in range(planner.rounds):
            if not ranges:
                break
            copied = self.copy(held[0].tid, ranges)
            result.append(copied)
            ranges, places = planner.more(places, copied)
        return result

    def copy(self, tid: int, ranges: list[tuple[int, int]]) -> Copied:
        """Copies ranges of memory, by the id of any thread that lives."""
        size = sum([high - low for low, high in ranges])
        buffer = self.buffer if size <= len(self.buffer) else bytearray(size)
        self.buffer = bytearray()
        done = self.calls.read_memory(tid, ranges, buffer)
        if done < size:
            ranges = self.copy_one_by_one(ranges, buffer)
        return Copied(ranges, buffer)

    def copy_one_by_one(
        self, ranges: Sequence[tuple[int, int]], buffer: bytearray
    ) -> list[tuple[int, int]]:
        """The slower way, through /proc/PID/mem; gives the ranges that could be read."""
        view = memoryview(buffer)
        result = []
        offset = 0
        for low, high in ranges:
            try:
                done = os.preadv(self.memory, [view[offset : offset + high - low]], low)
            except OSError:
                continue
            if done > 0:
                result.append((low, low + done))
                offset += done
        return result
