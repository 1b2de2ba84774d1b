"""Who may hold a lock that does not say who holds it: readers of glibc's, all of Rust's.

None of this is certain, and all of it is only asked of locks without a known holder.
"""

from __future__ import annotations

from itertools import pairwise
from struct import unpack

from unspool.analyses.locks.records import Holder
from unspool.analyses.locks.verdicts import ENDS, OWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.analyses.locks.process import Examined
    from unspool.analyses.locks.records import Lock, ThreadKey, Wait
    from unspool.model import Stack

# How likely a guess is: the smaller the likelier.
_BY_STACK, _WAITS, _ITSELF, _JOINS = 1, 2, 3, 4
# Of so many threads that may be a lock's reader nobody learns anything.
_MOST_READERS = 64
# Whose guards, which lie on the stack of who holds them, point at the lock.
_GUARDED = ("mutex", "rwlock", "once", "srw_lock")
_MOST_FRAMES = 64
_MOST_FRAME = 1 << 12
_GUARD = "__cxa_guard_acquire"


def guess_holders(
    processes: Sequence[Examined], locks: Sequence[Lock], waits: Sequence[Wait]
) -> None:
    """Adds holders that are not certain to the locks that have none."""
    unknown = {
        number
        for number, lock in enumerate(locks)
        if not lock.holders and lock.gone is None and lock.kind in _GUARDED
    }
    if not unknown:
        return
    waiting: dict[ThreadKey, list[Wait]] = {}
    for wait in waits:
        waiting.setdefault(wait.key, []).append(wait)
    stuck = {process.index for process in processes if _is_stuck(process, locks, waiting)}
    for process in processes:
        own = {number for number in unknown if locks[number].party == process.index}
        if own:
            _by_stacks(process, locks, own, waiting, stuck)
            _by_initialiser(process, locks, own, waiting)
    for number in sorted(unknown):
        if locks[number].kind == "rwlock":
            _readers(stuck, locks, number, waits)


def _is_stuck(
    process: Examined, locks: Sequence[Lock], waiting: dict[ThreadKey, list[Wait]]
) -> bool:
    """Whether all its threads wait for locks: who waits for a signal may hold one as well."""
    return all(
        any(locks[wait.lock].kind in OWN for wait in waiting.get((process.index, stack.index), ()))
        for stack in process.report.stacks
    )


def _by_stacks(
    process: Examined, locks: Sequence[Lock], numbers: set[int],
    waiting: dict[ThreadKey, list[Wait]], stuck: set[int],
) -> None:  # fmt: skip
    """Who has a lock's address in a frame of the program, if that is one thread alone.

    Rust's guards, C++'s and pthread_once keep it there while the lock is held. So may others, and
    what is left of an earlier call.
    """
    wanted = {locks[number].address or 0: number for number in numbers}
    found: dict[int, list[Holder]] = {}
    for stack in process.report.stacks:
        own = waiting.get((process.index, stack.index), ())
        ends = any(locks[wait.lock].kind in ENDS for wait in own)
        if ends and process.index not in stuck:
            continue  # who made a lock and waits for those who use it has its address, too
        first = own[0].frame if own else 0
        mine = {wait.lock for wait in own}
        seen = set()
        for at, word, frame in _words(process, stack, first):
            number = wanted.get(word)
            if number is None or number in mine or number in seen:
                continue
            seen.add(number)
            how = f"the lock's address is at 0x{at:x}, in frame #{frame} of its stack"
            found.setdefault(number, []).append(
                Holder(process.index, stack.index, how, certain=False, guess=_BY_STACK)
            )
    for number, holders in found.items():
        if len(holders) == 1:
            locks[number].holders = holders


def _words(process: Examined, stack: Stack, first: int) -> Iterator[tuple[int, int, int]]:
    """Aligned words of a stack's frames: where, which, and the frame's index."""
    step = process.target.arch.pointer_size
    read = process.target.space.memory.read_available
    frames = stack.frames[first : first + _MOST_FRAMES]
    for index, (frame, caller) in enumerate(pairwise(frames), first):
        low, high = frame.sp, caller.sp
        if low is None or high is None or not 0 < high - low <= _MOST_FRAME or low % step:
            continue
        data = read(low, high - low)
        count = len(data) // step
        words = unpack(f"<{count}{'Q' if step == 8 else 'I'}", data[: count * step])
        for at, word in enumerate(words):
            yield low + at * step, word, index


def _by_initialiser(
    process: Examined, locks: Sequence[Lock], numbers: Iterable[int],
    waiting: dict[ThreadKey, list[Wait]],
) -> None:  # fmt: skip
    """Who is in the function whose static variable another thread waits to be initialised."""
    firsts: dict[int, Wait] = {}
    same: dict[int, set[int]] = {}
    for wait in [each for own in waiting.values() for each in own]:
        if wait.lock in numbers and wait.party == process.index:
            firsts.setdefault(wait.lock, wait)
            same.setdefault(wait.lock, set()).add(wait.thread)
    for number, wait in firsts.items():
        lock = locks[number]
        names = process.names_of(process.report.stacks[wait.thread])
        if _GUARD not in names.functions:
            continue
        at = names.functions.index(_GUARD) + 1
        function = names.functions[at] if at < len(names.functions) else ""
        if not function or lock.holders:
            continue
        inside = [
            stack.index
            for stack in process.report.stacks
            if stack.index not in same[number] and function in process.names_of(stack).functions[1:]
        ]
        if len(inside) == 1:
            how = f"it is in {function} as well, whose variable is being initialised"
            lock.holders = [Holder(process.index, inside[0], how, certain=False, guess=_BY_STACK)]


def _readers(
    stuck: set[int], locks: Sequence[Lock], number: int, waits: Sequence[Wait]
) -> None:
    """Which threads may hold a lock for reading: those that wait themselves.

    Others close no chain. Who waits for the same lock, or for a thread's end, is only one of them
    if no thread of the process does anything else: else that one holds it, as likely as not.
    """
    lock = locks[number]
    known = {holder.key for holder in lock.holders}
    found = []
    for wait in waits:
        if wait.party != lock.party and not lock.shared:
            continue
        other = locks[wait.lock]
        is_end, is_same = other.kind in ENDS, wait.lock == number
        if wait.key in known or ((is_end or is_same) and wait.party not in stuck):
            continue
        if not is_same and not any(holder.certain for holder in other.holders):
            continue
        how = "the lock does not say who holds it; this thread waits for another one"
        if is_same:
            how = "the lock does not say who holds it, and all threads of the process wait"
        guess = _ITSELF if is_same else _JOINS if is_end else _WAITS
        found.append(Holder(*wait.key, how, certain=False, guess=guess))
    if len(found) <= _MOST_READERS:
        lock.holders += found
