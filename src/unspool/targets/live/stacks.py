"""Which bytes of which stacks to copy while a process is held.

A stack's used part goes from the stack pointer to the stack's end. Where that is depends:

- the main thread's stack is a mapping of its own, `[stack]`;
- another thread's mapping can go on beyond its stack, since the kernel joins neighbours of
  equal protection. But C libraries put the thread's control block at the upper end of its
  stack, and the thread pointer register (fs on x86-64) points to that;
- a stack pointer anywhere else is on a *foreign* stack: an alternate signal stack in .bss,
  a coroutine's, a goroutine's in an arena of 64 MB. There is no telling where it ends.

A thread on a foreign stack has frames on another one as well if a signal interrupted it
there. The stack pointer of the interrupted code is in the signal frame, which has constant
bytes to be found by.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from re import Pattern

    from unspool.arch.base import Arch
    from unspool.targets.live.procfs import Mapping, Maps

    Range = tuple[int, int]
    Place = tuple["Held", int]

# All stacks together, and what each thread gets at least, however many there are.
_BUDGET = 64 << 20
_LEAST = 256 << 10
_MOST = 1 << 30
# What to take of a stack whose end is not known.
_FOREIGN = 256 << 10

# System V ABI, AMD64 supplement, 3.2.2: a leaf function may use 128 bytes below the stack
# pointer; Windows and the other architectures' ABIs have nothing of the kind.
_RED_ZONE = 128

# Where to look for signal frames: a handler is rarely this deep in calls. All stacks of most
# processes are smaller than the second bound and are searched at one go.
_SEARCHED = 16 << 10
_SEARCHED_AT_ONCE = 512 << 10
_MAX_NESTED = 8
# Where to look for a way back to a thread's own stack, and words to look at for all threads.
_POINTERS_SEARCHED = 32 << 10
_MAX_POINTERS = 1 << 20
# Go's arenas, in bytes; addresses from here on, in units of 1 << 40, are the kernel's choice.
_ARENA, _ARENA_GROWS = 64 << 20, 4 << 20
_MAPPED_BY_KERNEL = 0x2A

# Constant bytes of `struct sigcontext` and how far from them the saved stack pointer is.
_SIGNAL_FRAMES = {
    # cs 0x33, gs 0, fs 0, ss 0x2b, three words after sp
    "x86-64": (b"\x33\0\0\0\0\0\x2b\0", -24),
    # es 0x2b, ds 0x2b with their padding, five words before sp
    "i386": (b"\x2b\0\0\0\x2b\0\0\0", 20),
    # FPSIMD_MAGIC and its size 0x210 begin `__reserved`, four words after sp
    "aarch64": (b"\x01\x80\x50\x46\x10\x02\0\0", -32),
    # VFP_MAGIC and its size 0x120 begin `uc_regspace`, 148 bytes after sp
    "arm": (b"\x01\x50\x46\x56\x20\x01\0\0", -148),
}


class Held:
    """A thread as it is held: id, pc, stack pointer, and thread pointer (0 if there is none).

    `registers` are all of its registers, in any order.
    """

    __slots__ = ("pc", "registers", "sp", "tid", "tls")

    def __init__(
        self, tid: int, pc: int, sp: int, tls: int, registers: Sequence[int] = ()
    ) -> None:
        self.tid = tid
        self.pc = pc
        self.sp = sp
        self.tls = tls
        self.registers = registers


class Copied:
    """Disjoint ranges of memory in ascending order, and the buffer that they were copied to."""

    __slots__ = ("_lows", "buffer", "offsets", "ranges", "size")

    def __init__(self, ranges: Sequence[Range], buffer: bytearray) -> None:
        self.ranges = ranges
        self.buffer = buffer
        self.offsets = []
        self._lows = [low for low, _ in ranges]
        self.size = 0
        for low, high in ranges:
            self.offsets.append(self.size)
            self.size += high - low

    def index(self, address: int) -> int | None:
        """Which range contains an address."""
        index = bisect_right(self._lows, address) - 1
        return index if index >= 0 and address < self.ranges[index][1] else None

    def window(self, address: int, size: int) -> tuple[int, int]:
        """Where up to `size` bytes at an address are in the buffer, as start and end."""
        index = self.index(address)
        if index is None:
            return 0, 0
        low, high = self.ranges[index]
        start = self.offsets[index] + address - low
        return start, start + min(size, high - address)


class Planner:
    """Decides what to copy. Everything that can be prepared is, before the threads stop.

    `cut` lists the ids of threads whose stack is copied in part. `outdated` is set if a
    thread's pc or stack pointer is in no mapping.
    """

    # How many times to copy: foreign stacks that signals interrupted, which signals interrupted …
    rounds = 4

    def __init__(self, pid: int, maps: Maps, arch: Arch) -> None:
        from re import compile, escape

        self.pid = pid
        # Elsewhere Go without C leaves the thread pointer alone.
        self._has_go = arch.name == "x86-64"
        self.maps = maps
        self.word = arch.pointer_size
        self.red_zone = _RED_ZONE if arch.name == "x86-64" else 0
        pattern, self._distance = _SIGNAL_FRAMES[arch.name]
        # A compiled pattern finds constant bytes in data full of zeros in half of the time
        # that bytes.find takes.
        self._signal_frame: Pattern[bytes] = compile(escape(pattern))
        self.cut: list[int] = []
        self.outdated = False
        self._taken: list[Range] = []
        self._foreign: list[Place] = []
        self._room = _MAX_POINTERS

    @property
    def maps(self) -> Maps:
        """The process's mappings. A stack can be in any that is readable and writable."""
        return self._maps

    @maps.setter
    def maps(self, maps: Maps) -> None:
        self._maps = maps
        possible = [each for each in maps.mappings if each.permissions.startswith("rw")]
        self._starts = [each.start for each in possible]
        self._ends = [each.end for each in possible]
        self._is_main = [each.path == "[stack]" for each in possible]
        self._is_arena = [self._has_go and _is_arena(each, maps) for each in possible]

    def first(self, threads: Sequence[Held]) -> list[Range]:
        """The ranges to copy of threads that have just stopped."""
        self.cut, self._foreign = [], []
        code = [self.maps.at(pc) for pc in {thread.pc for thread in threads}]
        self.outdated = not all(mapping and mapping.executable for mapping in code)
        wanted = []
        used = self._used
        for thread in threads:
            part = used(thread, thread.sp)
            if part is None:
                self.outdated = True
                continue
            low, high, known = part
            wanted.append((low, high, thread.tid))
            if not known:
                self._foreign.append((thread, thread.sp))
        self._taken = merged(self._shared_out(wanted))
        return self._taken

    def more(self, places: Iterable[Place], copied: Copied) -> tuple[list[Range], list[Place]]:
        """Further ranges that copied bytes lead to, and the stack pointers that led there.

        `places` are threads and the stack pointers whose surroundings `copied` has.
        """
        found: list[Place] = []
        if self._signal_frame.search(copied.buffer, 0, min(copied.size, _SEARCHED_AT_ONCE)) or (
            copied.size > _SEARCHED_AT_ONCE
        ):
            for thread, sp in places:
                found += [(thread, saved) for saved in self._interrupted(thread, sp, copied)]
        linked = self._linked([*places, *found], copied)
        wanted = []
        for thread, saved in (*found, *linked):
            used = self._used(thread, saved)
            if used is not None:
                wanted.append((used[0], used[1], thread.tid))
        for thread, sp in self._foreign:
            way = self._way_back(thread, sp, copied)
            if way is not None:
                wanted.append((*way, thread.tid))
        self._foreign = []
        parts = self._untaken(wanted)
        return parts, found if parts else []

    def _linked(self, places: Sequence[Place], copied: Copied) -> Sequence[Place]:
        """Threads and stack pointers into their other stacks, by what memory tells of them."""
        return ()

    def _untaken(self, wanted: Iterable[tuple[int, int, int]]) -> list[Range]:
        """What is not copied yet of (low, high, thread id), as far as there is room."""
        parts = []
        for low, high, tid in wanted:
            parts += [(start, end, tid) for start, end in without((low, high), self._taken)]
        ranges = merged(self._shared_out(parts))
        self._taken = merged([*self._taken, *ranges])
        return ranges

    def _used(self, thread: Held, sp: int) -> tuple[int, int, bool] | None:
        """The used part of the stack that `sp` is on, and whether its end is known."""
        index = bisect_right(self._starts, sp) - 1
        if index < 0 or sp >= self._ends[index]:
            return None
        low, high = max(self._starts[index], sp - self.red_zone), self._ends[index]
        if self._is_main[index]:
            return low, high, True
        if sp < thread.tls <= high and not self._is_arena[index]:
            return low, thread.tls, True
        return low, min(high, low + _FOREIGN), False

    def _shared_out(self, wanted: list[tuple[int, int, int]]) -> list[Range]:
        """All of each stack, or its innermost part if they are too big together."""
        total = sum([high - low for low, high, _ in wanted])
        threads = len({tid for _, _, tid in wanted})
        budget = min(max(_BUDGET, threads * _LEAST), _MOST)
        if total <= budget:
            return [(low, high) for low, high, _ in wanted]
        share = fair_share([high - low for low, high, _ in wanted], budget)
        self.cut += [tid for low, high, tid in wanted if high - low > share]
        return [(low, min(high, low + share)) for low, high, _ in wanted]

    def _interrupted(self, thread: Held, sp: int, copied: Copied) -> list[int]:
        """Stack pointers in what looks like signal frames above `sp`."""
        start, end = copied.window(sp, _SEARCHED)
        found = []
        for match in self._signal_frame.finditer(copied.buffer, start, end):
            at = match.start() + self._distance
            if start <= at <= end - self.word:
                found += self._saved(thread, at, copied)
        return found[:_MAX_NESTED]

    def _saved(self, thread: Held, at: int, copied: Copied) -> list[int]:
        """Stack pointers of the interrupted code; the one is at that offset of the buffer."""
        return [int.from_bytes(copied.buffer[at : at + self.word], "little")]

    def _way_back(self, thread: Held, sp: int, copied: Copied) -> Range | None:
        """What code on a foreign stack can return to on the thread's own one.

        Code that switches stacks by itself keeps a pointer to the one it came from, and has
        unwind data that uses it: from the lowest such pointer on.
        """
        own = self._own_stack(thread)
        if own is None or self._room <= 0:
            return None
        start, end = copied.window(sp & -self.word, _POINTERS_SEARCHED)
        end -= (end - start) % self.word
        words = memoryview(copied.buffer)[start:end].cast("Q" if self.word == 8 else "I")
        self._room -= len(words)
        low, high = own
        pointers = [word for word in words if low <= word < high]
        pointers += [word for word in thread.registers if low <= word < high]
        return (max(low, min(pointers) - self.red_zone), high) if pointers else None

    def _own_stack(self, thread: Held) -> Range | None:
        """The stack that the thread was made with, if that can be told."""
        if thread.tid == self.pid:
            return self.maps.main_stack
        own = self.maps.at(thread.tls)
        # Go's threads have their thread pointers in .bss and in the heap.
        if own is None or own.inode or own.path == "[heap]":
            return None
        if self._has_go and _is_arena(own, self.maps):
            return None
        return (own.start, thread.tls) if own.writable else None


def fair_share(sizes: Iterable[int], budget: int) -> int:
    """The size to which all are cut, so that together they fit: who needs less leaves more.

    Where all fit as they are it is no less than the largest.
    """
    left = sorted(sizes)
    largest = left[-1] if left else 0
    while left:
        share = budget // len(left)
        if left[0] > share:
            return share
        budget -= left.pop(0)
    return max(budget, largest)


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same addresses as disjoint ranges in ascending order."""
    result: list[Range] = []
    end = 0
    for low, high in sorted(ranges):
        if low >= end or not result:
            if low < high:
                result.append((low, high))
                end = high
        elif high > end:
            result[-1] = (result[-1][0], high)
            end = high
    return result


def without(whole: Range, taken: Sequence[Range]) -> list[Range]:
    """The parts of a range that disjoint, ascending ranges leave over."""
    low, high = whole
    parts = []
    before = max(bisect_right(taken, whole) - 1, 0)
    for start, end in islice(taken, before, None):
        if end <= low:
            continue
        if start >= high:
            break
        if start > low:
            parts.append((low, start))
        low = end
    if low < high:
        parts.append((low, high))
    return parts


def _is_arena(mapping: Mapping, maps: Maps) -> bool:
    """Whether a mapping is a piece of Go's heap, where stacks of a few kB lie side by side.

    A thread pointer in the same 64 MB says nothing about the stack. Go asks for addresses
    0xc000000000, 0x1c000000000 and up (runtime/malloc.go, arena hints), with Go 1.26 for random
    ones; its arenas start at multiples of 64 MB and grow by multiples of 4, and Go 1.25 gives
    them names where the kernel can. The hints from 0x2a on are where the kernel itself puts
    mappings (from a third of the address space on, without randomisation): one process in 256
    has all thread stacks at 0x7fc0xxxxxxxx. A thread's stack is a page less than a multiple of
    4 MB where its guard was taken from it; where it was not, as glibc adds it to sizes that a
    program chose, that page without access lies just below.
    """
    if mapping.path.startswith("[anon: Go:"):
        return True
    is_hint = mapping.start >> 32 & 0xFF == 0xC0 and mapping.start >> 40 < _MAPPED_BY_KERNEL
    size = mapping.end - mapping.start
    if is_hint or mapping.start % _ARENA or size % _ARENA_GROWS:
        return is_hint
    below = maps.at(mapping.start - 1)
    is_guard = below is not None and below.permissions.startswith("---")
    return not (below and is_guard and below.end - below.start < _ARENA_GROWS)
