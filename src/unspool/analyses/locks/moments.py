"""Whether what was read of locks is of the moment that the stacks are of."""

from __future__ import annotations

from unspool.analyses.locks.ids import are_own
from unspool.analyses.locks.verdicts import gone_name
from unspool.analyses.locks.words import GONE, GONE_OR_OUTSIDE
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unspool.analyses.locks.process import Examined
    from unspool.analyses.locks.records import Lock, Wait
    from unspool.analyses.locks.syscalls import Syscall


def watch(processes: Sequence[Examined], calls: Sequence[dict[int, Syscall]]) -> None:
    """Notes where the threads of running processes wait, before any lock is read."""
    for process, known in zip(processes, calls, strict=True):
        live = process.target.live_process()
        if live is None:
            continue
        from unspool.targets.live.waits import Waiting

        threads = process.target.threads
        tids = [threads[index].tid for index in known]
        if process.windows is not None:
            tids = [thread.tid for thread in threads]
        process.waiting = Waiting(live, tids)


def that_stayed(
    processes: Sequence[Examined], locks: Sequence[Lock], waits: Iterable[Wait]
) -> tuple[list[Wait], list[Finding]]:
    """The waits of threads that have not moved since their stacks were taken; which others have."""
    kept, moved = [], {}
    for wait in waits:
        process = processes[wait.party]
        if _stays(process, wait, locks):
            kept.append(wait)
        elif wait.key not in moved:
            tid = process.target.threads[wait.thread].tid
            title = f"thread {tid} went on while locks were read: its wait is left out"
            moved[wait.key] = Finding("moved", title, threads=[wait.thread])
    return kept, list(moved.values())


def _stays(process: Examined, wait: Wait, locks: Sequence[Lock]) -> bool:
    thread = process.target.threads[wait.thread]
    taken = None if thread.registers is None else thread.registers[process.target.arch.sp]
    if process.waiting is None or process.waiting.still(thread.tid, taken):
        return True
    return locks[wait.lock].kind == "java_monitor" and process.java.still(wait.thread)


def doubt_ends(processes: Sequence[Examined], locks: Sequence[Lock]) -> None:
    """Takes back that owners have ended where they may have started since, or have other ids here.

    Of a core whose threads' own ids are not known, one owner that is a thread of it tells that
    the ids are those.
    """
    told = {each.party for lock in locks for each in lock.holders if each.certain}
    for lock in locks:
        if lock.gone is None:
            continue
        process, is_section = processes[lock.party], lock.kind == "critical_section"
        if _may_have_started(process, lock.gone, is_section=is_section):
            lock.unknown = f"its owner, {gone_name(lock)}, may have started since"
            lock.gone = None
        elif not (is_section or lock.party in told or are_own(process.target)):
            # A section's owner is known by Windows' ids, which are the same everywhere.
            lock.unknown = (lock.unknown or "").replace(GONE, GONE_OR_OUTSIDE)
            lock.gone = None


def _may_have_started(process: Examined, owner: int, *, is_section: bool) -> bool:
    """Whether an owner that is no thread of the target is one of the running process by now."""
    live = process.target.live_process()
    if live is None:
        return False
    from unspool.targets.live.waits import is_thread

    if is_section:  # Windows ids of new threads are not known
        return not {each.tid for each in process.target.threads}.issuperset(live.tasks())
    return is_thread(live, owner)
