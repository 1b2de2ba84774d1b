"""Locks that are found by more than the word that is waited for: a pointer, or the stack."""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.locks.ids import DESCRIPTION, tid_at
from unspool.analyses.locks.records import Holder, Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.locks.process import Examined
    from unspool.analyses.locks.syscalls import FutexWait
    from unspool.analyses.locks.words import Words
    from unspool.model import Thread
    from unspool.space import AddressSpace
    from unspool.targets.base import Target

# What glibc's functions that wait use of the stack, and some of their caller's.
_PAGE, _MOST_STACK = 0x1000, 0x180
_KIND_AT = {8: 16, 4: 12}  # of a mutex's words: which kind it is


def by_pointer(process: Examined, words: Words, wait: FutexWait, kind: str | None) -> Lock | None:
    """A lock inside of the C library, of a FILE: lock 0, count 4, owner's description 8."""
    ints = words.ints(wait.address, 4)
    if kind is not None or len(ints) < 4 or ints[0] not in (1, 2):
        return None
    owner = ints[2] | (ints[3] << 32 if words.word == 8 else 0)
    at = bisect_right(process.pointers, (owner, 1 << 62)) - 1
    holder = None
    if at >= 0 and process.pointers[at][0] == owner:
        holder = process.pointers[at][1]
    elif not process.pointers:
        holder = process.tids.get(tid_at(words.memory, words.word, owner))
    if holder is None:
        return None
    lock = Lock("low_level_lock", process.index, wait.address, state="of a FILE, say")
    how = f"the owner at 0x{wait.address + 8:x} is its thread pointer, 0x{owner:x}"
    lock.holders = [Holder(process.index, holder, how)]
    return lock


def owner_of_file(words: Words, wait: FutexWait) -> list[tuple[int, int]]:
    """Where the lock of a FILE and its owner's description have what `by_pointer` reads."""
    ints = words.ints(wait.address, 4)
    if len(ints) < 4 or ints[0] != 2:
        return []
    owner = ints[2] | (ints[3] << 32 if words.word == 8 else 0)
    tid = tid_at(words.memory, words.word, owner)
    if not tid or words.owners(tid) is None:
        return []
    itself, at = DESCRIPTION[words.word]
    return [(wait.address, 16), (owner + itself, words.word), (owner + at, 4)]


def is_own_stack(target: Target, thread: Thread, address: int) -> bool:
    region = target.space.memory.region(address)
    sp = thread.registers[target.arch.sp] if thread.registers else None
    return region is not None and sp is not None and region.mapping[0] <= sp < region.mapping[1]


def refused(
    target: Target, thread: Thread, wait: FutexWait, words: Words, named: bool
) -> Lock | None:
    """The priority-inheriting mutex that the kernel refused, since that is a deadlock.

    Situation: FUTEX_LOCK_PI says EDEADLK, and glibc lets the thread wait for ever, for a word
    of its own stack (pthread_mutex_lock.c, "Delay the thread indefinitely"). What the function
    keeps in registers points at the mutex, or at its kind. Without a function's name it is only
    possible: others wait for words of their own stacks, too.
    """
    space = target.space
    sp = thread.registers[space.arch.sp] if thread.registers is not None else None
    if sp is None or not is_own_stack(target, thread, wait.address):
        return None
    own = None
    found = list(_stack_words(space, sp).values())
    for words_of, certain in ((thread.registers or (), named), (found, False)):
        for value in dict.fromkeys(filter(None, words_of)):
            for address in (value, value - _KIND_AT[space.arch.pointer_size]):
                lock = words.inheriting(address) if address >= _PAGE else None
                if lock is None:
                    continue
                if not lock.holders:
                    return lock
                # What the stack holds can be left of a mutex that was taken before.
                mine = lock.holders[0].key == (words.party, thread.index)
                lock.holders[0].certain = certain and not mine
                if not mine:
                    return lock
                own = own or lock
    return own


def _stack_words(space: AddressSpace, sp: int) -> dict[int, int]:
    """The words above a stack pointer, by their addresses."""
    data = space.memory.read_available(sp, _MOST_STACK)
    step = space.arch.pointer_size
    return {
        sp + at: int.from_bytes(data[at : at + step], "little") for at in range(0, len(data), step)
    }


def pointers_to(target: Target, thread: Thread, mutex: int) -> tuple[list[int], list[int]]:
    """Where a thread has the pointers to a mutex that `refused` goes by: stack and registers."""
    space = target.space
    registers = thread.registers or []
    wanted = mutex, mutex + _KIND_AT[space.arch.pointer_size]
    words = _stack_words(space, registers[space.arch.sp] or 0) if registers else {}
    on_stack = [at for at, word in words.items() if word in wanted]
    return on_stack, [number for number, word in enumerate(registers) if word in wanted]
