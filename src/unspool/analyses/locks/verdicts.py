"""What a person should know of the graph, as findings: deadlocks, and waits in a loader."""

from __future__ import annotations

from unspool.analyses.locks.frames import is_standard
from unspool.analyses.locks.words import LEFT_OUT, UNREADABLE
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.analyses.locks.records import Deadlock, Lock, LockReport, Wait

# What the threads of a process release themselves, and nothing from outside.
OWN = ("mutex", "rwlock", "once", "join", "low_level_lock", "critical_section", "srw_lock")
# The same, as long as the memory is the process's own; a handler of signals may post a semaphore.
_SIGNALLED = {"condition": "condition variables", "barrier": "barriers"}
# What nobody holds, so that no holder is missed.
_NOT_HELD = ("condition", "barrier", "semaphore", "event", "timer", "join", "process")
_MOST_NAMES = 10
_MOST_LINKS = 25


def verdicts(report: LockReport) -> Iterator[Finding]:
    """What there is to say of locks, the worst first.

    `threads` are indexes in the first process that is concerned.
    """
    yield from _deadlocks(report)
    yield from _gone(report)
    yield from _all_wait(report)
    yield from _lost(report)
    yield from _loading(report)


def _deadlocks(report: LockReport) -> Iterator[Finding]:
    for deadlock in report.deadlocks:
        chain = [report.waits[index] for index in deadlock.chain]
        named = [thread_name(report, wait) for wait in chain[:_MOST_NAMES]]
        if len(chain) > _MOST_NAMES:
            named.append(f"{len(chain) - _MOST_NAMES:,} more")
        names = " → ".join([*named, named[0]])
        word = "deadlock" if deadlock.certain else "possible deadlock"
        yield Finding(
            "deadlock" if deadlock.certain else "possible_deadlock",
            f"{word} of {len(chain)} thread{'s' if len(chain) > 1 else ''}: {names}",
            threads=[wait.thread for wait in chain if wait.party == chain[0].party],
            detail="\n".join(_links(report, deadlock)),
        )


def _lost(report: LockReport) -> Iterator[Finding]:
    """Locks whose memory is not there."""
    lost = [
        number
        for number, lock in enumerate(report.locks)
        if lock.state == UNREADABLE or (lock.unknown == LEFT_OUT and lock.kind == "mutex")
    ]
    if lost:
        names = lock_name(report, lost[0]) + (f" and {len(lost) - 1} more" if lost[1:] else "")
        yield Finding(
            "locks_missing",
            f"the memory of {len(lost)} lock{'s' if lost[1:] else ''} cannot be read: {names}",
            detail="others' minidumps hold little but stacks; a core holds what its filter lets "
            "in: no shared memory of files, unless /proc/PID/coredump_filter has bit 3",
            incomplete=True,
        )


def _loading(report: LockReport) -> Iterator[Finding]:
    """Threads that load while they hold a lock."""
    held: dict[tuple[int, int], list[int]] = {}
    for number, lock in enumerate(report.locks):
        for holder in lock.holders:
            if holder.certain and lock.kind not in ENDS:
                held.setdefault(holder.key, []).append(number)
    for wait in report.waits:
        own = held.get(wait.key)
        if wait.loader is not None and own:
            names = " and ".join(lock_name(report, number) for number in own)
            yield Finding(
                "loading_with_lock",
                f"{thread_name(report, wait)} waits in {wait.loader} while it holds {names}",
                threads=[wait.thread],
                detail=f"it waits for {lock_name(report, wait.lock)}; what loads takes locks of "
                "its own, in an order that the program does not choose",
            )


def _gone(report: LockReport) -> Iterator[Finding]:
    """Locks whose owners are no threads any more, and who waits for them."""
    waiting: dict[int, list[Wait]] = {}
    for wait in report.waits:
        waiting.setdefault(wait.lock, []).append(wait)
    for number, waits in sorted(waiting.items()):
        lock = report.locks[number]
        if lock.gone is not None:
            yield Finding(
                "holder_gone",
                f"nobody is left to release {lock_name(report, number)}: "
                f"its owner, {gone_name(lock)}, is no thread of the process",
                threads=[wait.thread for wait in waits if wait.party == waits[0].party],
                detail=lock.unknown,
            )


def gone_name(lock: Lock) -> str:
    """What an owner that is not there is called: Windows' ids are its own."""
    if lock.kind == "critical_section":
        return f"Windows thread 0x{lock.gone:x}"
    return f"thread {lock.gone}"


def _all_wait(report: LockReport) -> Iterator[Finding]:
    """Processes that hang whoever it is that holds the locks: no thread does anything else."""
    known = {
        report.waits[index].key
        for each in report.deadlocks
        if each.certain
        for index in (*each.chain, *each.behind)
    }
    for party in report.parties:
        waits = [wait for wait in report.waits if wait.party == party.index]
        keys = {wait.key for wait in waits}
        if len(keys) < len(party.report.stacks) or not keys - known:
            continue
        own = [report.locks[wait.lock] for wait in waits]
        if any(wait.timed or wait.any for wait in waits) or any(
            each.shared or each.kind not in (*OWN, *_SIGNALLED) for each in own
        ):
            continue
        kinds = {each.kind for each in own}
        what = ["locks", *(words for kind, words in _SIGNALLED.items() if kind in kinds)]
        detail = "whoever holds these locks, it is one that waits, or that has ended"
        if what[1:]:
            detail += "; whoever could signal, too, but for a handler of signals that does"
        yield Finding(
            "all_wait",
            f"all threads of {party_name(report, party.index)} wait for {' and '.join(what)} of "
            "its own or for each other's ends: none of them goes on",
            threads=[wait.thread for wait in waits],
            detail=detail,
        )


def unknown_holders(report: LockReport) -> int:
    """How many locks there are that somebody holds, and nothing says for sure who that is."""
    return sum(
        not any(holder.certain for holder in lock.holders)
        and lock.gone is None
        and lock.kind not in _NOT_HELD
        for lock in report.locks
    )


def _links(report: LockReport, deadlock: Deadlock) -> Iterator[str]:
    """The chain, a line for each thread, with what proves it; then who waits behind it."""
    chain = [report.waits[index] for index in deadlock.chain]
    for wait, after in list(zip(chain, [*chain[1:], chain[0]], strict=True))[:_MOST_LINKS]:
        lock = report.locks[wait.lock]
        how = next((each for each in lock.holders if each.key == after.key), None)
        verb = held_by(lock, certain=how is not None and how.certain)
        state = f" ({lock.state})" if lock.state and lock.kind not in ENDS else ""
        where = f"#{wait.frame} {place(report, *wait.key, wait.frame)}"
        yield (
            f"{thread_name(report, wait)} waits {where} "
            f"for {lock_name(report, wait.lock)}{state}, {verb} {thread_name(report, after)}"
            + (f": {how.evidence}" if how is not None else "")
        )
    if len(chain) > _MOST_LINKS:
        yield f"and {len(chain) - _MOST_LINKS:,} more threads of the chain"
    if deadlock.behind:
        names = [thread_name(report, report.waits[index]) for index in deadlock.behind]
        more = f" and {len(names) - _MOST_NAMES:,} more" if names[_MOST_NAMES:] else ""
        yield f"behind it: {', '.join(names[:_MOST_NAMES])}{more}"
    if deadlock.timed:
        yield "one of the waits has a timeout, and ends by itself"


def place(
    report: LockReport, party: int, thread: int, index: int, shorten: Callable[[str], str] = str
) -> str:
    """A frame in words: `in worker, ring.c:12`. `shorten` is applied to the function's name."""
    own = report.parties[party].report
    stack = own.stacks[thread]
    if index >= len(stack.frames):
        return "at an unknown place"
    frame, found = stack.frames[index], own.location(stack, index)
    if found is None or (found.function is None and found.module is None):
        return f"at 0x{frame.pc:x}"
    own_calls = (call for call in found.inlines if not is_standard(call.function, call.file))
    inner = next(own_calls, None)
    name = inner.function if inner is not None else found.function
    words = f"in {shorten(name) if name else f'0x{frame.pc:x}'}"
    file, line = (inner.file, inner.line) if inner is not None else (found.file, found.line)
    if file:
        return f"{words}, {file.rpartition('/')[2]}" + (f":{line}" if line else "")
    if found.module is not None:
        return f"{words}, {own.modules[found.module].name}"
    return words


def thread_name(report: LockReport, wait: Wait) -> str:
    """A thread for a sentence: its id, with the process if there are several."""
    return key_name(report, wait.party, wait.thread)


def key_name(report: LockReport, party: int, thread: int) -> str:
    stack = report.parties[party].stack(thread)
    name = f"thread {stack.tid}"
    if stack.windows_tid is not None:
        name += f" (Windows 0x{stack.windows_tid:x})"
    if len(report.parties) == 1:
        return name
    return f"{party_name(report, party)} {name}"


def party_name(report: LockReport, party: int) -> str:
    """A process for a sentence: its name, with its id where another one has the same."""
    own = report.parties[party]
    pid = own.report.target.pid
    if pid is not None and sum(each.name == own.name for each in report.parties) > 1:
        return f"{own.name} {pid}"
    return own.name


WORDS = {
    "mutex": "mutex", "rwlock": "read-write lock", "condition": "condition variable",
    "barrier": "barrier", "semaphore": "semaphore", "join": "the end of a thread",
    "futex": "futex word", "low_level_lock": "lock of the C library", "file_lock": "file lock",
    "critical_section": "critical section", "srw_lock": "SRW lock",
    "wait_on_address": "address", "handle": "object", "mutant": "mutant",
    "event": "event", "timer": "timer", "process": "the end of a process",
    "debug_event": "debug event",
    "once": "one-time initialisation", "java_monitor": "Java monitor", "java_lock": "Java lock",
}  # fmt: skip


# What is waited for is an end, which nobody holds.
ENDS = ("join", "process")


def held_by(lock: Lock, *, certain: bool) -> str:
    """The words between a lock and its holder."""
    if lock.kind in ENDS:
        return "that is" if certain else "which may be up to"
    if lock.kind == "debug_event":
        return "to be continued by"
    return "held by" if certain else "may be held by"


def lock_name(report: LockReport, number: int) -> str:
    """A lock for a sentence: what it is, where, and its name."""
    lock = report.locks[number]
    if lock.kind in ENDS:
        return lock.state or WORDS[lock.kind]
    words = WORDS.get(lock.kind, lock.kind)
    if lock.address is not None:
        words += f" 0x{lock.address:x}"
    name = lock.shared or lock.name
    return f"{words} ({name})" if name else words
