"""Whether threads of a running process still wait where they did when their stacks were taken.

A lock is read after the stacks have been: the process runs again by then. What is read is true
of the moment of the stacks if its waiter has not moved from before the reading until after it;
and two locks whose waiters and holders all have waited meanwhile were held at the same time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.targets.procfs import Process


class Waiting:
    """What threads wait in: /proc/PID/task/TID/syscall, and how often each was switched from."""

    def __init__(self, process: Process, tids: Iterable[int]) -> None:
        self.process = process
        self.seen = {tid: self._look(tid) for tid in tids}

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

    def still(self, tid: int) -> bool:
        """Whether the thread is where it was, and has not moved since."""
        return bool(self.seen[tid][0]) and self.seen[tid] == self._look(tid)


def inner_tids(process: Process, tids: Iterable[int]) -> dict[int, int]:
    """Threads' ids as they know them themselves, in their own pid namespace, to those we know."""
    found = {}
    for tid in tids:
        inner = process.status(tid).get("NSpid", "").split()
        found[int(inner[-1]) if inner else tid] = tid
    return found
