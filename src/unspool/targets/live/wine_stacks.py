"""What to copy of the threads of a Wine process while it is held.

Such a thread has several stacks, and its stack pointer is on one of them: that of Windows code,
that of Wine's Unix code, that for signal handlers, in a WoW64 process a second one of Windows
code, for 32-bit code. Memory tells of the others, so that there is copying by turns:

1. the TEBs, which the segment registers point at: where Windows stacks are, and where the
   newest system call frame is;
2. the stack that each thread is on, and its Unix stack from the newest frame up;
3. the Windows stacks, from the stack pointers in these frames up; what signals interrupted.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice

from unspool.memory import Fault
from unspool.targets.live.stacks import Copied, Held, Planner, merged
from unspool.targets.live.wine_threads import CPU_AREA_SIZE, CopiedMemory, WineThread
from unspool.wine import layouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.arch.base import Arch
    from unspool.targets.live.procfs import Maps
    from unspool.targets.live.stacks import Place, Range

# Words of `struct user_regs_struct` of a 64-bit host, of 32-bit threads as well.
_R14, _FS_BASE, _GS_BASE = 1, 21, 22
# How far r14 is below the stack pointer in `struct sigcontext` of x86-64.
_R14_TO_SP = 72
# In signal frames of 32-bit code in a 64-bit process cs is 0x23. A pattern that begins with a
# choice takes twenty times as long; this one begins with ss, 30 bytes behind the stack pointer.
_WOW64_SIGNAL_FRAME, _WOW64_DISTANCE = rb"\x2b(?<=[\x33\x23]\0\0\0\0\0\x2b)\0", -30

# A Unix stack whose end is not known: all releases since 7.7 make them this large.
_UNIX_STACK = 1 << 20
_BLOCK = 0x10000
_TEB32_AT = 0x2000
# System call frames of a thread and of all threads; words that may be addresses of such.
_MAX_FRAMES, _MAX_ALL_FRAMES, _MAX_GUESSES = 500, 1 << 15, 4


class WinePlanner(Planner):
    """Decides what to copy of a Wine process, x86-64 or i386."""

    rounds = 6

    def __init__(self, pid: int, maps: Maps, arch: Arch) -> None:
        super().__init__(pid, maps, arch)
        is_64 = arch.pointer_size == 8
        self._teb_layout = layouts.TEB64 if is_64 else layouts.TEB32
        self._frame = layouts.FRAME_X86_64 if is_64 else layouts.FRAME_I386
        self._base = _GS_BASE if is_64 else _FS_BASE
        # Wine maps it into every process that can run 32-bit code, and only into these.
        self._is_wow64 = is_64 and any(
            each.path.lower().endswith("/wow64cpu.dll") for each in maps.mappings
        )
        if self._is_wow64:
            from re import compile

            self._signal_frame = compile(_WOW64_SIGNAL_FRAME)
            self._distance = _WOW64_DISTANCE
        self._threads: Sequence[Held] = ()
        self._known: dict[int, WineThread] | None = None
        self._windows: list[Range] = []
        self._frames_left = _MAX_ALL_FRAMES

    def first(self, threads: Sequence[Held]) -> list[Range]:
        """The TEBs; where there are none, the stacks."""
        self._threads = threads
        self._known = {}
        stacks = super().first(threads)
        wanted = []
        for base in {thread.registers[self._base] for thread in threads}:
            if not base:
                continue
            if self._mapped(base, base + self._teb_layout.size) is None:
                self.outdated = True
                continue
            wanted.append((base, base + self._teb_layout.size))
            other = base + _TEB32_AT
            if self._is_wow64 and self._mapped(other, other + layouts.TEB32.size):
                wanted.append((other, other + layouts.TEB32.size))
        if not wanted:
            return stacks
        wanted += [
            # If a thread is on its signal stack, this may say so (Wine 11.8 and later).
            (low, low + self.word)
            for low in {thread.sp & -_BLOCK for thread in threads}
            if self._mapped(low, low + self.word)
        ]
        pointer = layouts.DISPATCHER_POINTER
        if self.word == 8 and self._mapped(pointer, pointer + 8):
            wanted.append((pointer, pointer + 8))
        self._known = None
        self.cut, self._foreign, self._taken = [], [], merged(wanted)
        return self._taken

    def more(self, places: Iterable[Place], copied: Copied) -> tuple[list[Range], list[Place]]:
        if self._known is not None:
            return super().more(places, copied)
        self._known = self._learn(copied)
        stacks = [each for known in self._known.values() for each in known.windows]
        self._windows = sorted(dict.fromkeys(stacks))
        return self._stacks(self._known)

    # --- from the TEBs to the stacks ------------------------------------------------------

    def _learn(self, copied: Copied) -> dict[int, WineThread]:
        """What the TEBs tell, by thread id; threads of native libraries may share one."""
        memory = CopiedMemory(copied)
        result = {}
        for thread in self._threads:
            base = thread.registers[self._base]
            try:
                known = WineThread(memory, base, self._teb_layout, thread.sp, self._is_wow64)
            except Fault:
                continue
            result[thread.tid] = known
        return result

    def _stacks(self, threads: dict[int, WineThread]) -> tuple[list[Range], list[Place]]:
        """The stacks that threads are on, their Unix stacks, and 32-bit registers."""
        places = []
        wanted = []
        for thread in self._threads:
            places.append((thread, thread.sp))
            known = threads.get(thread.tid)
            if known is not None:
                r14 = thread.registers[_R14]
                if known.parked(thread.sp, r14):
                    places.append((thread, r14))
                for low, high in self._beside(thread, known):
                    wanted.append((low, high, thread.tid))
        for thread, sp in places:
            used = self._used(thread, sp)
            if used is not None:
                wanted.append((used[0], used[1], thread.tid))
                if not used[2]:
                    self._foreign.append((thread, sp))
        return self._untaken(wanted), places

    def _beside(self, thread: Held, known: WineThread) -> Iterator[Range]:
        """What to copy of a thread wherever it is: its Unix stack from the newest frame up."""
        area = known.cpu_area
        if area and self._mapped(area, area + CPU_AREA_SIZE):
            yield area, area + CPU_AREA_SIZE
        likely = [word for word in known.likely if self._is_frame(word, known)]
        if not likely:
            others = (word for word in known.private if self._is_frame(word, known))
            likely = list(islice(others, _MAX_GUESSES))
        for address in likely:
            end = self._unix_end(thread, address)
            if address < end:
                yield address, end
            # The walk asks there whether the signal stack is below it (Wine 11.8 and later).
            start = self._starts[bisect_right(self._starts, address) - 1]
            if start % _BLOCK == 0 and known.window(start) is None:
                yield start, start + self.word

    def _is_frame(self, word: int, known: WineThread) -> bool:
        """Whether that may be a frame's address."""
        layout = self._frame
        return (
            word % layout.alignment == 0
            and known.window(word) is None
            and self._mapped(word, word + layout.size) is not None
        )

    def _mapped(self, low: int, high: int) -> Range | None:
        """The range, if all of it is memory that stacks can be in."""
        index = bisect_right(self._starts, low) - 1
        return (low, high) if index >= 0 and high <= self._ends[index] else None

    # --- the used part of a stack -----------------------------------------------------------

    def _used(self, thread: Held, sp: int) -> tuple[int, int, bool] | None:
        known = self._known.get(thread.tid) if self._known else None
        if known is None:
            return super()._used(thread, sp)
        index = bisect_right(self._starts, sp) - 1
        if index < 0 or sp >= self._ends[index]:
            return None
        low = max(self._starts[index], sp - self.red_zone)
        windows = known.window(sp)
        if windows is not None:
            return low, self._joined(index, known.windows[windows][1]), True
        if known.signal[0] <= sp < known.signal[1]:
            return low, min(self._ends[index], known.signal[1]), True
        end = self._unix_end(thread, sp)
        if any(sp < word < end for word in known.private):
            return low, end, True
        return super()._used(thread, sp)

    def _joined(self, index: int, high: int) -> int:
        """How far up to `high` there is memory: programs may protect parts of their stacks."""
        end = self._ends[index]
        while end < high and index + 1 < len(self._starts) and self._starts[index + 1] == end:
            index += 1
            end = self._ends[index]
        return min(end, high)

    def _unix_end(self, thread: Held, address: int) -> int:
        """Where a Unix stack ends that an address is in.

        The kernel joins neighbours of equal protection, so that in one mapping with it there
        can be other threads' Windows stacks.
        """
        index = bisect_right(self._starts, address) - 1
        end = self._ends[index]
        if address <= thread.tls <= end:
            return thread.tls
        after = bisect_right(self._windows, (address, end))
        if after < len(self._windows):
            end = min(end, self._windows[after][0])
        return min(end, address + _UNIX_STACK)

    # --- from one stack to the others -------------------------------------------------------

    def _saved(self, thread: Held, at: int, copied: Copied) -> list[int]:
        found = super()._saved(thread, at, copied)
        known = self._known.get(thread.tid) if self._known else None
        if known is not None and known.cpu_area and at >= _R14_TO_SP:
            start = at - _R14_TO_SP
            r14 = int.from_bytes(copied.buffer[start : start + 8], "little")
            if known.parked(found[0], r14):
                found.append(r14)
        return found

    def _linked(self, places: Sequence[Place], copied: Copied) -> list[Place]:
        """Stack pointers into Windows stacks: in system call frames and of 32-bit code."""
        memory = CopiedMemory(copied)
        where: dict[int, list[int]] = {}
        for thread, sp in places:
            where.setdefault(thread.tid, []).append(sp)
        result = []
        for thread in self._threads:
            known = self._known.get(thread.tid) if self._known else None
            if known is None:
                continue
            if known.frames is None:
                known.learn(memory, self._chain(known, memory), self._frame, self.word)
            if thread.tid in where:
                result += [(thread, sp) for sp in known.beyond(where[thread.tid])]
            if known.searched and (pointer := known.search(memory)) is not None:
                result.append((thread, pointer))
        return result

    def _chain(self, known: WineThread, memory: CopiedMemory) -> list[int]:
        """Where the thread's system call frames are, the newest first.

        A fork may have moved the slot that holds it: whatever leads to frames is it.
        """
        for word in (*known.likely, *known.private):
            if not self._is_frame(word, known):
                continue
            found = self._follow(word, memory)
            oldest = memory.word(found[-1] + self._frame.sp, self.word) if found else None
            if oldest is not None and self._mapped(oldest, oldest + 1):
                return found
        return []

    def _follow(self, address: int, memory: CopiedMemory) -> list[int]:
        """The frame at an address and those that it leads to; none if it is none."""
        layout = self._frame
        found: list[int] = []
        while len(found) < _MAX_FRAMES and self._frames_left > 0:
            self._frames_left -= 1
            previous = memory.word(address + layout.previous, self.word)
            if previous is None:
                break
            found.append(address)
            if previous == 0:
                break
            if previous < address + layout.size or previous % layout.alignment:
                return []
            address = previous
        return found
