"""Locks that are found by more than the word that is waited for: a pointer, or the stack."""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.locks.records import Holder, Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.locks.process import Examined
    from unspool.analyses.locks.syscalls import FutexWait
    from unspool.analyses.locks.words import Words
    from unspool.model import Thread

# What glibc's functions that wait use of the stack, and some of their caller's.
_PAGE, _MOST_STACK = 0x1000, 0x180


def by_pointer(process: Examined, words: Words, wait: FutexWait, kind: str | None) -> Lock | None:
    """A lock inside of the C library, of a FILE: lock 0, count 4, owner's description 8."""
    ints = words.ints(wait.address, 4)
    if kind is not None or len(ints) < 4 or ints[0] not in (1, 2):
        return None
    owner = ints[2] | (ints[3] << 32 if words.word == 8 else 0)
    at = bisect_right(process.pointers, (owner, 1 << 62)) - 1
    if at < 0 or process.pointers[at][0] != owner:
        return None
    lock = Lock("low_level_lock", process.index, wait.address, state="of a FILE, say")
    how = f"the owner at 0x{wait.address + 8:x} is its thread pointer, 0x{owner:x}"
    lock.holders = [Holder(process.index, process.pointers[at][1], how)]
    return lock


def is_own_stack(process: Examined, thread: Thread, address: int) -> bool:
    region = process.target.space.memory.region(address)
    sp = thread.registers[process.target.arch.sp] if thread.registers else None
    return region is not None and sp is not None and region.mapping[0] <= sp < region.mapping[1]


def refused(
    process: Examined, thread: Thread, wait: FutexWait, words: Words, named: bool
) -> Lock | None:
    """The priority-inheriting mutex that the kernel refused, since that is a deadlock.

    Situation: FUTEX_LOCK_PI says EDEADLK, and glibc lets the thread wait for ever, for a word
    of its own stack (pthread_mutex_lock.c, "Delay the thread indefinitely"). What the function
    keeps in registers points at the mutex, or at its kind. Without a function's name it is only
    possible: others wait for words of their own stacks, too.
    """
    space = process.target.space
    sp = thread.registers[space.arch.sp] if thread.registers is not None else None
    if sp is None or not is_own_stack(process, thread, wait.address):
        return None
    data = space.memory.read_available(sp, _MOST_STACK)
    step = space.arch.pointer_size
    found = [int.from_bytes(data[at : at + step], "little") for at in range(0, len(data), step)]
    kind_at = 16 if step == 8 else 12
    own = None
    for words_of, certain in ((thread.registers or (), named), (found, False)):
        for value in dict.fromkeys(filter(None, words_of)):
            for address in (value, value - kind_at):
                lock = words.inheriting(address) if address >= _PAGE else None
                if lock is None:
                    continue
                # What the stack holds can be left of a mutex that was taken before.
                mine = lock.holders[0].key == (process.index, thread.index)
                lock.holders[0].certain = certain and not mine
                if not mine:
                    return lock
                own = own or lock
    return own
