"""Whether threads of a running process still wait where they did when their stacks were taken.

A lock is read after the stacks have been: the process runs again by then. What is read is true
of the moment of the stacks if its waiter has not moved from before the reading until after it;
and two locks whose waiters and holders all have waited meanwhile were held at the same time.

Taking the stacks has itself woken all threads: let go, each goes back to its call, for which it
needs a CPU. Where others want that too, it is not there yet when it is looked at first.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.targets.live.procfs import Process

# For how many seconds threads that run are given time to get back to their calls, all together.
_PATIENCE = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 200e-6, 10e-3
_RUNNING = b"running"


class Waiting:
    """What threads wait in: /proc/PID/task/TID/syscall, and how often each was switched from."""

    def __init__(self, process: Process, tids: Iterable[int]) -> None:
        self.process = process
        self.seen = {tid: self._look(tid) for tid in tids}
        self._await_return()

    def _await_return(self) -> None:
        """Looks again at threads that run, until each was seen in a call or time is up."""
        until = time.monotonic() + _PATIENCE
        pause = _FIRST_PAUSE
        while time.monotonic() < until:
            late = [tid for tid, (call, _) in self.seen.items() if call.startswith(_RUNNING)]
            if not late:
                return
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            for tid in late:
                self.seen[tid] = self._look(tid)

    def _look(self, tid: int) -> tuple[bytes, str]:
        call = self.process.read(f"task/{tid}/syscall") or b""
        status = self.process.status(tid) if call else {}
        return call, status.get("voluntary_ctxt_switches", "")

    def words(self, tid: int) -> list[int]:
        """The call's number, six arguments, stack pointer and pc; empty if it is in none."""
        try:
            return [int(word, 0) for word in self.seen.get(tid, (b"", ""))[0].split()]
        except ValueError:
            return []  # "running"

    def still(self, tid: int, sp: int | None) -> bool:
        """Whether the thread is where it was, and has not moved since.

        `sp` is the stack pointer that was taken with its stack, if one was.
        """
        if not self.seen[tid][0] or self.seen[tid] != self._look(tid):
            return False
        words = self.words(tid)
        return len(words) < 9 or sp is None or words[7] == sp


def inner_tids(process: Process, tids: Iterable[int]) -> dict[int, int]:
    """Threads' ids as they know them themselves, in their own pid namespace, to those we know."""
    if len(process.status().get("NSpid", "").split()) < 2:
        return {tid: tid for tid in tids}
    found = {}
    for tid in tids:
        inner = process.status(tid).get("NSpid", "").split()
        found[int(inner[-1]) if inner else tid] = tid
    return found


def is_thread(process: Process, tid: int) -> bool:
    """Whether the process has a thread now that knows itself by this id."""
    return tid in inner_tids(process, process.tasks())
