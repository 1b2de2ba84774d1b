"""Which words a minidump must keep so that its reader finds the locks that threads wait for.

No names are looked up for that: a futex's address is in a register, a critical section's in
ntdll's list of waiting threads, whose entries lie on their stacks. Around such an address as much
is kept as the largest lock takes; of a sanitized dump only what proves to be a lock's own words.
"""

from __future__ import annotations

from unspool.analyses.locks.beside import owner_of_file, pointers_to, refused
from unspool.analyses.locks.ids import own_ids
from unspool.analyses.locks.java import java_waits
from unspool.analyses.locks.syscalls import VECTOR_ENTRY, futex_waits, syscall_of
from unspool.analyses.locks.words import KIND_BITS, WAITERS, Words
from unspool.errors import FormatError
from unspool.memory import Fault
from unspool.write.more import More
from unspool.write.ranges import joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.analyses.locks.syscalls import FutexWait, Syscall
    from unspool.memory import Memory
    from unspool.model import Report, Thread
    from unspool.targets.base import Target
    from unspool.targets.live.waits import Waiting

    Range = tuple[int, int]

# The word that is waited for is at most 12 bytes into a lock, or 32 behind what leads to one, and
# the longest lock has 56.
_BEFORE, _BEHIND = 32, 56
_WORD = 4
# What a lock's words take, from its address on.
_SIZES = {"mutex": 24, "rwlock": 32, "low_level_lock": 16}
# PID_MAX_LIMIT of 64-bit kernels; a mutex's kinds whose word has the owner: robust, inheriting.
_HIGHEST_ID, _BY_ID = 1 << 22, 0x30
_MOST_THREADS = 4096
# What a JVM tells is in so many small places that a minidump takes them only if the near ones are
# joined: it has a few thousand blocks.
_NEAR = 1024
# Of a futex call's arguments: the address, the operation, the value.
_TELLING = 3
_FILE_AND_COMMAND = 2


def lock_words(target: Target, report: Report, reads: list[Range]) -> More:
    """What locks hold that the target's threads wait for. `report` need not have names.

    Of a running process they are read now; those of a thread that has gone on since are left out.
    To `reads`, which remembers what is read of the target, they are added, and nothing that
    was looked at on the way to them.
    """
    walked = len(reads)
    kept = _Keeper(target).run(report)
    reads[walked:] = [(start, len(data)) for start, data in kept.pieces]
    return kept


class _Keeper:
    """Collects what says of a target's locks, in `kept`."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.memory = target.memory_now()
        self.kept = More()
        self.calls = [
            (thread, call)
            for thread in target.threads[:_MOST_THREADS]
            if (call := syscall_of(target.space, thread)) is not None
        ]
        self.stays = self._watched()
        own = own_ids(target)
        noted = {thread.index: thread.tid for thread in target.threads}
        if any(noted[index] != tid for tid, index in own.items()):
            by_index = {index: tid for tid, index in own.items()}
            self.kept.own_ids = [by_index.get(each.index, 0) for each in target.threads]
        self.words = Words(
            self.memory, target.arch.pointer_size, 0,
            lambda tid: (0, own[tid]) if tid in own else None,
        )  # fmt: skip

    def run(self, report: Report) -> More:
        for thread, call in self.calls:
            self._keep_call(thread, call)
        self._keep_ranges(_java(self.target, self.memory))
        if self.target.wine is not None:
            _add_windows(self.kept, self.target, report, self.memory, self.stays)
        return self.kept

    def _watched(self) -> _Stays:
        """Notes where a running process's threads wait, before any lock is read."""
        target, live = self.target, self.target.live_process()
        if live is None:
            return _Stays(target, None)
        from unspool.targets.live.waits import Waiting

        all_wait = target.threads if target.wine is not None else [each for each, _ in self.calls]
        return _Stays(target, Waiting(live, [thread.tid for thread in all_wait]))

    def _keep_call(self, thread: Thread, call: Syscall) -> None:
        """What says what a thread waits for: locks, and the arguments that lead to them."""
        kept = self.kept
        if call.name in ("fcntl", "flock") and self.stays(thread):
            kept.registers[thread.index] = call.registers[:_FILE_AND_COMMAND]
        waits = futex_waits(call, self.memory)
        if call.name == "futex_waitv":
            kept.facts.append((call.arguments[0], call.arguments[0] + VECTOR_ENTRY * len(waits)))
        for wait in waits:
            self._keep_lock(thread, call, wait)

    def _keep_lock(self, thread: Thread, call: Syscall, wait: FutexWait) -> None:
        """The words of a lock, and what says who holds it, if the thread still waits for it."""
        kept = self.kept
        start = wait.address - _BEFORE
        data = self.memory.read_available(start, _BEFORE + _BEHIND)
        if not data:  # at the beginning of a mapping
            start, data = wait.address, self.memory.read_available(wait.address, _BEHIND)
        known = _known(self.words, wait)
        if not data or not self.stays(thread):
            return
        kept.pieces.append((start, data))
        kept.facts.append(known)
        places, numbers = _beside(self.target, thread, wait, self.words)
        kept.registers[thread.index] = (*call.registers[:_TELLING], *numbers)
        self._keep_ranges((at, at + size) for at, size in places)
        kept.facts += ((at, at + size) for at, size in places)

    def _keep_ranges(self, ranges: Iterable[Range]) -> None:
        read = self.memory.read_available
        self.kept.pieces += ((at, read(at, end - at)) for at, end in ranges)


def _java(target: Target, memory: Memory) -> list[Range]:
    """What a JVM has of its monitors and of who owns them; of sanitized dumps it is blanked."""
    try:
        return joined(java_waits(target, memory)[2], _NEAR)
    except (FormatError, Fault, UnicodeError):
        return []


class _Stays:
    """Whether a thread still waits where its stack says; that of a file always does."""

    def __init__(self, target: Target, waiting: Waiting | None) -> None:
        self.waiting = waiting
        self.sp = target.arch.sp

    def __call__(self, thread: Thread) -> bool:
        if self.waiting is None:
            return True
        taken = None if thread.registers is None else thread.registers[self.sp]
        return self.waiting.still(thread.tid, taken)


def _add_windows(kept: More, target: Target, report: Report, memory: Memory, stays: _Stays) -> None:
    from unspool.analyses.locks.frames import StackNames
    from unspool.analyses.locks.windows import WindowsWaits

    windows = WindowsWaits(target, memory, 0)
    for stack in report.stacks[:_MOST_THREADS]:
        for address, size, is_fact in windows.kept(stack, StackNames(report, stack)):
            data = memory.read_available(address, size)
            if data and stays(target.threads[stack.index]):
                kept.pieces.append((address, data))
                if is_fact:
                    kept.facts.append((address, address + size))


def _beside(
    target: Target, thread: Thread, wait: FutexWait, words: Words
) -> tuple[list[Range], tuple[int, ...]]:
    """What says who holds a lock, and is not where the thread waits: memory, and registers."""
    places = owner_of_file(words, wait)
    if wait.value or wait.timed:
        return places, ()
    anybody = Words(words.memory, words.word, 0, lambda tid: words.owners(tid) or (1, 0))
    lock = refused(target, thread, wait, anybody, named=False)
    if lock is None or lock.address is None:
        return places, ()
    on_stack, numbers = pointers_to(target, thread, lock.address)
    places.append((lock.address, _SIZES["mutex"]))
    places += ((at, words.word) for at in on_stack)
    return places, tuple(numbers)


def _is_mutex(words: Words, wait: FutexWait) -> bool:
    """Whether a mutex of glibc lies there whose owner is no thread of this process.

    It is of another one, or has ended. All words must be what they are while one is held.
    """
    found = words.ints(wait.address, 5)
    if len(found) < 5:
        return False
    lock, count, owner = found[:3]
    users, kind = (found[3], found[4]) if words.word == 8 else (found[4], found[3])
    if users != 1 or not 0 < owner <= _HIGHEST_ID or kind & ~KIND_BITS:
        return False
    if kind & _BY_ID:
        return lock == owner | WAITERS
    return (lock, wait.value) == (2, 2) and (kind & 3 == 1 or not count)


def _known(words: Words, wait: FutexWait) -> Range:
    """The words of a lock that prove to be one; else the one that is waited for."""
    lock = words.lock(wait, None)
    size = _SIZES.get("mutex" if _is_mutex(words, wait) else lock.kind)
    if size is None or lock.address is None:
        return wait.address, wait.address + _WORD
    return lock.address, lock.address + size
