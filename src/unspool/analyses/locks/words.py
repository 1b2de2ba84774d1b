"""What lies at the address that a thread waits at: glibc's and musl's locks, word by word.

Which kind of lock it is, the exported functions on the stack say (pthread_mutex_lock), which a
stripped library has as well. Where not even they have names, the words themselves do: the id of
one of the process's threads where a lock keeps its owner's is no accident beside a lock word.
Layouts: glibc 2.25 to 2.40, sysdeps/nptl/bits (struct_mutex.h, struct_rwlock.h, thread-shared-
types.h); musl 1.2, src/internal/pthread_impl.h.
"""

from __future__ import annotations

from struct import unpack

from unspool.analyses.locks.records import Holder, Lock
from unspool.analyses.locks.syscalls import LOCK_PI
from unspool.write.sanitize import BLANK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.analyses.locks.syscalls import FutexWait
    from unspool.memory import Memory

    # The thread of an id, None if there is none: party and index.
    Owners = Callable[[int], tuple[int, int] | None]

WAITERS, OWNER_DIED, TID_MASK = 0x80000000, 0x40000000, 0x3FFFFFFF
_KINDS = ("normal", "recursive", "error-checking", "adaptive")
_ROBUST, _INHERIT, _PROTECT, _SHARED = 0x10, 0x20, 0x40, 0x80
# EBUSY in the lock word of musl's normal mutexes, which know no owner.
_MUSL_BUSY = 16
_READER_SHIFT = 3
_READERS_WAIT = 4
_RWLOCK_WAITS = _RWLOCK_PHASE, _RWLOCK_WRITERS = 8, 12
# Types, attributes, and what says about transactional memory: 0x200 is set where a program asks
# for PTHREAD_MUTEX_NORMAL itself, or for C11's mtx_plain (pthread_mutexattr_settype.c).
KIND_BITS = 0x3FF
# Above it, a mutex's word has the priority that its owner gets (PTHREAD_PRIO_PROTECT).
_CEILING = 1 << 19

PARKED = "parked "
# Functions by what their names hold, the inner ones first: a condition variable's wait ends
# with taking its mutex.
FUNCTIONS = (
    ("pthread_mutex", "mutex"), ("pthread_rwlock", "rwlock"), ("pthread_barrier", "barrier"),
    ("pthread_cond_", "condition"), ("cnd_wait", "condition"), ("cnd_timedwait", "condition"),
    ("mtx_lock", "mutex"), ("mtx_timedlock", "mutex"), ("pthread_join", "join"),
    ("pthread_timedjoin", "join"), ("pthread_clockjoin", "join"), ("thrd_join", "join"),
    ("sem_wait", "semaphore"), ("sem_timedwait", "semaphore"), ("sem_clockwait", "semaphore"),
    ("pthread_once", "once"), ("__cxa_guard_acquire", "once"),
    # Rust's, by both of its manglings: std::sys::sync::mutex::futex::Mutex::lock_contended
    ("sync::mutex::futex", "rust mutex"), ("futex_mutex::Mutex", "rust mutex"),
    ("sync::rwlock::futex", "rust rwlock"), ("futex_rwlock::RwLock", "rust rwlock"),
    ("sync::condvar::futex", "rust condition"), ("futex_condvar::Condvar", "rust condition"),
    ("sync::once::futex", "once"), ("once::futex::Once", "once"),
    ("thread_parking::", "event"), ("thread::Thread>::park", "event"),
    ("thread::Thread::park", "event"),
    # The crate parking_lot, whose own functions that wait are the innermost ones.
    ("parking_lot::raw_mutex::RawMutex", "parked mutex"),
    ("parking_lot::raw_rwlock::RawRwLock", "parked rwlock"),
    ("parking_lot::once::Once", "parked once"),
    ("parking_lot::condvar::Condvar", "parked condition"),
    ("parking_lot_core::", PARKED),
)  # fmt: skip


class Words:
    """Reads locks of one process. `word` is the size of a pointer there, 4 or 8."""

    def __init__(self, memory: Memory, word: int, party: int, owners: Owners) -> None:
        self.memory = memory
        self.word = word
        self.party = party
        self.owners = owners
        self.stranger = 0  # the id of an owner that was not found

    def ints(self, address: int, count: int) -> tuple[int, ...]:
        """32-bit words from an address on; those that cannot be read are missing.

        Sanitized dumps have a word of their own in place of what they leave out.
        """
        data = self.memory.read_available(address, 4 * count)
        words = unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
        return words[: words.index(BLANK)] if BLANK in words else words

    def lock(self, wait: FutexWait, kind: str | None) -> Lock:
        """The lock that a futex wait is part of; `kind` is what function names say."""
        if kind is not None and kind.startswith(_RUST):
            return self.rust(wait, kind.removeprefix(_RUST))
        if kind is not None and kind.startswith(PARKED):
            return self.parked(wait, kind.removeprefix(PARKED) or "futex")
        if kind == "condition" and (found := self.glibc_mutex(wait, sure=False)) is not None:
            # Who was signalled takes the mutex again, in a function that glibc does not export.
            return found
        if kind in ("mutex", None):
            found = self.glibc_mutex(wait, sure=kind is not None) or self.musl_mutex(wait, kind)
            if found is not None:
                return found
        if kind in ("rwlock", None):
            found = self.rwlock(wait, sure=kind is not None)
            if found is not None:
                return found
        found = self.musl_file(wait) if kind is None else None
        if found is not None:
            return found
        state = self.ints(wait.address, 1)
        if not state:
            return Lock(
                kind or "futex", self.party, wait.address, state=UNREADABLE, unknown=UNREADABLE
            )
        words = f"the word at 0x{wait.address:x} is 0x{state[0]:x}"
        made = Lock(kind or "futex", self.party, wait.address, state=words)
        if kind == "barrier":
            self.barrier(made)
        made.unknown = _NO_OWNER.get(made.kind, _PLAIN)
        if kind == "condition" and self.was_signalled(wait):
            made.unknown = _SIGNALLED
        if kind in ("mutex", "rwlock") and len(self.ints(wait.address, 5)) < 5:
            made.unknown = LEFT_OUT
        return made

    def was_signalled(self, wait: FutexWait) -> bool:
        """Whether a thread that waits for a condition variable of musl has had its signal.

        pthread_cond_timedwait.c: each waits for a word of its own, 2 meanwhile, behind a state.
        Of several that are woken each waits for the one before it, which takes the mutex first.
        """
        return wait.value == 2 and self.ints(wait.address - 4, 2) == (1, 2)

    def glibc_mutex(self, wait: FutexWait, sure: bool) -> Lock | None:
        """A mutex whose first word is waited for: lock 0, count 4, owner 8, kind 12 or 16."""
        words = self.ints(wait.address, 5)
        if len(words) < 5:
            return None
        lock, count, owner = words[:3]
        kind = words[4 if self.word == 8 else 3]
        if kind & ~KIND_BITS or (kind & 3 == 3 and kind & _PROTECT):
            return None
        by_kernel = wait.operation in LOCK_PI
        by_tid = bool(kind & (_ROBUST | _INHERIT)) or by_kernel
        tid = lock & TID_MASK if by_tid else owner
        holder = self.owners(tid) if tid else None
        if kind & _PROTECT:
            lock &= _CEILING - 1
        # What the word was when the wait began: 2, or an owner and that there are waiters.
        if not by_kernel and not (wait.value & WAITERS if by_tid else wait.value & 3 == 2):
            return None
        if not by_tid and lock not in (0, 1, 2):
            return None
        if holder is None and not (sure and (owner or count == 0)):
            return None
        if not sure and by_tid and owner != tid and not by_kernel:
            return None
        at = wait.address + (0 if by_tid else 8)
        flags = [_KINDS[kind & 3]]
        flags += [name for bit, name in _FLAGS if kind & bit]
        state = f"{', '.join(flags)}; lock 0x{lock:x}, count {count}, owner {owner}, kind {kind:#x}"
        made = Lock("mutex", self.party, wait.address, state=state)
        return self.owned(made, tid, at, holder, private=wait.private)

    def inheriting(self, address: int) -> Lock | None:
        """The priority-inheriting mutex at an address, if one that is held is there.

        Its holder is not known if processes share it, and that one is no target.
        """
        words = self.ints(address, 5)
        if len(words) < 5:
            return None
        kind, tid = words[4 if self.word == 8 else 3], words[0] & TID_MASK
        holder = self.owners(tid) if tid else None
        if kind & ~KIND_BITS or not kind & _INHERIT or not tid or words[2] != tid:
            return None
        if (holder is None or holder[0] != self.party) and not kind & _SHARED:
            return None
        state = f"priority-inheriting; lock 0x{words[0]:x}; the kernel refused it: EDEADLK"
        return self.owned(Lock("mutex", self.party, address, state=state), tid, address, holder)

    def owned(
        self, made: Lock, tid: int, at: int, holder: tuple[int, int] | None, what: str = "owner",
        *, private: bool = False,
    ) -> Lock:  # fmt: skip
        """The lock with its holder by an id that was read at an address.

        `private`: processes do not share it, so that its owner is of this one or none.
        """
        if holder is not None:
            made.holders = [Holder(*holder, f"the {what} at 0x{at:x} is thread id {tid}")]
        elif tid and private:
            made.gone = tid
            made.unknown = f"the {what} at 0x{at:x} is {tid}, {GONE}"
        elif tid:
            self.stranger = tid
            made.unknown = f"the {what} at 0x{at:x} is {tid}, {STRANGER}"
        else:
            made.unknown = f"the {what} at 0x{at:x} is 0: the lock is just changing hands"
        return made

    def musl_file(self, wait: FutexWait) -> Lock | None:
        """The lock of a FILE: its holder's id, with a bit that says that others wait."""
        word = next(iter(self.ints(wait.address, 1)), 0)
        tid = word & ~OWNER_DIED
        holder = self.owners(tid) if tid and word == wait.value and word & OWNER_DIED else None
        if holder is None:
            return None
        lock = Lock("low_level_lock", self.party, wait.address, state="of a FILE of musl")
        return self.owned(lock, tid, wait.address, holder, "lock word")

    def musl_mutex(self, wait: FutexWait, kind: str | None) -> Lock | None:
        """A mutex whose second word is waited for: type -4, lock 0, waiters 4."""
        words = self.ints(wait.address - 4, 3)
        if len(words) < 3:
            return None
        mutex, lock, waiters = words
        if mutex & ~0x8F or mutex & 3 == 3 or not 0 < waiters < 1 << 24 or not lock & WAITERS:
            return None
        tid = lock & TID_MASK
        state = f"musl, {_KINDS[mutex & 3]}; lock 0x{lock:x}, {waiters} waiters"
        made = Lock("mutex", self.party, wait.address - 4, state=state)
        if mutex & 15 == 0:
            if tid != _MUSL_BUSY:
                return None
            made.unknown = "musl's normal mutexes do not know who holds them"
            return made
        holder = self.owners(tid)
        if holder is None and kind is None:
            return None
        return self.owned(made, tid, wait.address, holder, "lock word", private=wait.private)

    def rwlock(self, wait: FutexWait, sure: bool) -> Lock | None:
        """readers 0, writers 4, two words to wait for at 8 and 12, cur_writer 24 or 28.

        Where writers come first, a reader waits for the first word: for the writer before it.
        """
        best = None
        for offset in (0, _RWLOCK_PHASE, _RWLOCK_WRITERS) if sure else _RWLOCK_WAITS:
            words = self.ints(wait.address - offset, 8)
            if len(words) < 8:
                continue
            readers, writers = words[:2]
            tid = words[6 if self.word == 8 else 7]
            number = readers >> _READER_SHIFT
            holder = self.owners(tid) if tid else None
            if number > 1 << 20 or writers > 1 << 20 or words[2] > 3 or words[3] > 3:
                continue
            if not offset and not wait.value & readers & _READERS_WAIT:
                continue
            state = f"{number} readers, writer {tid}; readers 0x{readers:x}, writers {writers}"
            made = Lock("rwlock", self.party, wait.address - offset, state=state)
            if holder is not None and readers & 2:
                at = wait.address - offset + (24 if self.word == 8 else 28)
                return self.owned(made, tid, at, holder, "writer")
            if sure and best is None and number and not readers & 1:
                who = "a thread holds" if number == 1 else f"{number} threads hold"
                made.unknown = f"{who} it for reading, and the lock does not say which"
                if not offset:
                    made.unknown += "; a writer that waits comes first"
                best = made
        return best or (self.musl_rwlock(wait) if sure else None)

    def musl_rwlock(self, wait: FutexWait) -> Lock | None:
        """lock 0, waiters 4; the lock is the number of readers, or all ones for a writer."""
        words = self.ints(wait.address, 2)
        if len(words) < 2 or not words[0] & WAITERS or not 0 < words[1] < 1 << 24:
            return None
        number = words[0] & ~WAITERS
        who = "a writer" if number == 0x7FFFFFFF else f"{number} readers"
        made = Lock("rwlock", self.party, wait.address, state=f"musl; {who}, {words[1]} waiters")
        made.unknown = "musl's read-write locks do not know who holds them"
        return made

    def rust(self, wait: FutexWait, kind: str) -> Lock:
        """A lock of Rust's library: a word, and of a RwLock a second one that writers wait for.

        std/src/sys/sync/rwlock/futex.rs: 30 bits count readers, all ones are a writer.
        """
        state = self.ints(wait.address, 1)
        made = Lock(kind, self.party, wait.address, state=UNREADABLE, unknown=_RUST_UNKNOWN)
        if state:
            made.state = f"the word at 0x{wait.address:x} is 0x{state[0]:x}"
        if kind == "condition":
            made.unknown = NO_HOLDER
        if kind == "rwlock" and state and not state[0] & _RUST_WAITING:
            made.address = wait.address - 4
            state = self.ints(made.address, 1)
        if kind == "rwlock" and state:
            readers = state[0] & TID_MASK
            who = "a writer holds it" if readers == TID_MASK else f"{readers} readers hold it"
            made.state = f"{who}; state 0x{state[0]:x}"
        return made

    def parked(self, wait: FutexWait, kind: str) -> Lock:
        """A lock of the crate parking_lot: a byte or a word, which does not say who holds it.

        Each thread waits for a word of its own, and notes before it the address of the lock
        (parking_lot_core 0.8 and 0.9, ThreadData, as Rust puts its fields in order). One more than
        that is where a writer waits for readers. A bit of the lock says that threads are parked.
        """
        noted = self.memory.maybe_uint(wait.address - 4 * self.word, self.word) or 0
        at = noted & -2 if kind == "rwlock" else noted
        state = self.memory.maybe_uint(at, self.word if kind == "rwlock" else 1)
        bits = _PARKED_BITS.get(kind, 0)
        if noted < _LOWEST or (state is not None and bits and not state & bits):
            at, state = wait.address, None
        made = Lock(kind, self.party, at, state="" if state is None else f"its word is 0x{state:x}")
        made.unknown = "parking_lot's locks do not know who holds them"
        if kind == "condition":
            made.state = ""
            made.unknown = f"{NO_HOLDER}; who was signalled waits here for the mutex as well"
        return made

    def barrier(self, made: Lock) -> None:
        """in 0, current_round 4, count 8, shared 12, out 16 (glibc): the second is waited for."""
        start = (made.address or 0) - 4
        words = self.ints(start, 5)
        if len(words) == 5 and 0 < words[2] < 1 << 20 and words[1] < words[0] < 1 << 30:
            made.address = start
            made.state = f"{words[0] - words[1]} of {words[2]} threads have come to it"


_FLAGS = ((_ROBUST, "robust"), (_INHERIT, "priority-inheriting"), (_PROTECT, "priority-protected"))
# RawMutex and Once of a byte: parked; RawRwLock of a word: parked, or a writer is.
_PARKED_BITS = {"mutex": 2, "rwlock": 3, "once": 8}
_LOWEST = 0x1000
_RUST, _RUST_WAITING = "rust ", 0xC0000000
_RUST_UNKNOWN = "Rust's locks do not know who holds them"
UNREADABLE = "its words cannot be read"
LEFT_OUT = "the dump has no more of it than the word that is waited for"
GONE = (
    "which is no thread of this process: it has ended while it held the lock, or held it in "
    "another process when this one was forked"
)
STRANGER = "which is no thread of the targets"
GONE_OR_OUTSIDE = (
    "which is no thread's id in this core: it has ended, or is of a container that the core was "
    "written from outside of, where ids are others; the process itself tells, or a core from inside"
)
NO_HOLDER = "condition variables have no holder: any thread may signal it"
_SIGNALLED = "it was signalled: the threads that were before it must get the mutex first"
_PLAIN = "a plain futex word: who will wake it up, the memory does not say"
_NO_OWNER = {
    "condition": NO_HOLDER,
    "barrier": "whoever has not come yet; the barrier does not say which threads those are",
    "event": "any thread may unpark it",
    "semaphore": "semaphores have no holder: any thread may post it",
    "once": "the thread that runs the initialisation; the word does not say which that is",
    "mutex": "its words make no sense as a mutex of glibc or musl",
    "rwlock": "its words make no sense as a lock of glibc",
}
