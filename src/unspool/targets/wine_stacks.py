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

from unspool.memory import Fault, Memory
from unspool.targets.stacks import Copied, Held, Planner
from unspool.wine import layouts
from unspool.wine.teb import read_teb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.arch.base import Arch
    from unspool.targets.procfs import Maps
    from unspool.targets.stacks import Place, Range
    from unspool.wine.teb import Teb

# Words of `struct user_regs_struct` of a 64-bit host, of 32-bit threads as well.
_R14, _FS_BASE, _GS_BASE = 1, 21, 22
# How far r14 is below the stack pointer in `struct sigcontext` of x86-64.
_R14_TO_SP = 72
# In signal frames of 32-bit code in a 64-bit process cs is 0x23.
_WOW64_SIGNAL_FRAME = rb"[\x33\x23]\0\0\0\0\0\x2b\0"

# A Unix stack whose end is not known: all releases since 7.7 make them this large.
_UNIX_STACK = 1 << 20
# Where the signal stack is in the TEB's block, up to 11.7.
_SIGNAL_STACK, _BLOCK = 0x3800, 0x10000
_PAGE = 0x1000
# Stack pointers of one thread that are in none of its stacks: those of coroutines.
_MAX_ELSEWHERE = 8

_I386_ESP = layouts.WOW64_CONTEXT + 0xC4
_CPU_AREA = layouts.WOW64_CONTEXT + layouts.CONTEXT_I386.size


class CopiedMemory(Memory):
    """What has been copied, as memory to read. It has no regions and no windows."""

    def __init__(self, copied: Copied) -> None:
        super().__init__()
        self._copied = copied

    def read_available(self, address: int, size: int) -> bytes:
        start, end = self._copied.window(address, size)
        return bytes(memoryview(self._copied.buffer)[start:end])

    def read(self, address: int, size: int) -> bytes:
        data = self.read_available(address, size)
        if len(data) < size:
            raise Fault(address + len(data), size - len(data))
        return data


class _Known:
    """What the TEB tells of a thread.

    `windows` are its Windows stacks, the one of 32-bit code last. `slots` are the words of the
    TEB in one of which the address of the newest frame is, the likeliest first; the first
    `likely` are those that are known for it. `cpu_area` is where the registers of a WoW64
    thread's 32-bit code are, `esp` the one that is its stack pointer. `frames` are the stack
    pointers in system call frames, the newest first; None if nobody has looked.
    """

    __slots__ = ("cpu_area", "esp", "frames", "likely", "slots", "teb", "windows")

    def __init__(self, teb: Teb, teb32: Teb | None, memory: Memory) -> None:
        self.teb = teb
        self.windows: list[Range] = [(teb.allocation, teb.stack_base)]
        self.cpu_area = 0
        self.esp = 0
        self.frames: list[int] | None = None
        layout = teb.layout
        word = layout.word
        if teb32 is not None:
            self.windows.append((teb32.allocation, teb32.stack_base))
            self.cpu_area = memory.read_uint(teb.address + layouts.WOW64_CPU_AREA, word)
        start, end = layout.private
        data = memoryview(memory.read(teb.address + start, end - start))
        private = data.cast("Q") if word == 8 else data.cast("I")
        known = [private[(slot - start) // word] for slot in layout.syscall_frame]
        self.likely = len(known)
        self.slots = [*known, *private]

    def window(self, sp: int) -> int | None:
        """Which of the Windows stacks an address is in."""
        for index, (low, high) in enumerate(self.windows):
            if low <= sp < high:
                return index
        return None


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
        self._threads: Sequence[Held] = ()
        self._known: dict[int, _Known] | None = None
        self._windows: list[Range] = []

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
            other = base + 2 * _PAGE
            if self._is_wow64 and self._mapped(other, other + layouts.TEB32.size):
                wanted.append((other, other + layouts.TEB32.size))
        if not wanted:
            return stacks
        pointer = layouts.DISPATCHER_POINTER
        if self.word == 8 and self._mapped(pointer, pointer + 8):
            wanted.append((pointer, pointer + 8))
        self._known = None
        self.cut, self._foreign, self._taken = [], [], []
        return self._untaken([(*each, 0) for each in wanted])

    def more(self, places: Iterable[Place], copied: Copied) -> tuple[list[Range], list[Place]]:
        if self._known is not None:
            return super().more(places, copied)
        self._known = self._learn(copied)
        stacks = [each for known in self._known.values() for each in known.windows]
        self._windows = sorted(dict.fromkeys(stacks))
        return self._stacks(self._known)

    # --- from the TEBs to the stacks ------------------------------------------------------

    def _learn(self, copied: Copied) -> dict[int, _Known]:
        """What the TEBs tell, by thread id; threads of native libraries may share one."""
        memory = CopiedMemory(copied)
        result = {}
        for thread in self._threads:
            base = thread.registers[self._base]
            teb = read_teb(memory, base, self._teb_layout) if base else None
            if teb is None:
                continue
            teb32 = None
            if self._is_wow64 and teb.wow_offset:
                teb32 = read_teb(memory, base + teb.wow_offset, layouts.TEB32)
            result[thread.tid] = _Known(teb, teb32, memory)
        return result

    def _stacks(self, known: dict[int, _Known]) -> tuple[list[Range], list[Place]]:
        """The stacks that threads are on, their Unix stacks, and 32-bit registers."""
        places = []
        wanted = []
        for thread in self._threads:
            mine = known.get(thread.tid)
            places.append((thread, thread.sp))
            if mine is not None:
                # While 32-bit code runs, r14 is the 64-bit stack pointer, and conversely.
                parked = thread.registers[_R14]
                if mine.cpu_area and mine.window(parked) is not None:
                    places.append((thread, parked))
                for low, high in self._beside(thread, mine):
                    wanted.append((low, high, thread.tid))
        for thread, sp in places:
            used = self._used(thread, sp)
            if used is not None:
                wanted.append((used[0], used[1], thread.tid))
                if not used[2]:
                    self._foreign.append((thread, sp))
        return self._untaken(wanted), places

    def _beside(self, thread: Held, known: _Known) -> Iterator[Range]:
        """What to copy of a thread wherever it is: its Unix stack from the newest frame up."""
        size = _CPU_AREA
        if known.cpu_area and self._mapped(known.cpu_area, known.cpu_area + size):
            yield known.cpu_area, known.cpu_area + size
        for address in self._possible(known):
            end = self._unix_end(thread, address)
            if address < end:
                yield address, end

    def _possible(self, known: _Known) -> list[int]:
        """What may be the newest frame's address, the likeliest first.

        A fork may have moved the slot. But of other slots that hold addresses, those of pages
        are the stacks' beginnings.
        """
        layout = self._frame
        found: list[int] = []
        for index, word in enumerate(known.slots):
            if index >= known.likely and (found or word % _PAGE == 0):
                continue
            if (
                word % layout.alignment == 0
                and known.window(word) is None
                and self._mapped(word, word + layout.size)
            ):
                found.append(word)
        return found

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
        block = known.teb.address & -_BLOCK
        if block + _SIGNAL_STACK <= sp < block + _BLOCK:
            return low, min(self._ends[index], block + _BLOCK), True
        end = self._unix_end(thread, sp)
        if any(sp < word < end for word in known.slots):
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
            parked = int.from_bytes(copied.buffer[start : start + 8], "little")
            if known.window(parked) is not None:
                found.append(parked)
        return found

    def _linked(self, places: Sequence[Place], copied: Copied) -> list[Place]:
        """Stack pointers into Windows stacks: in system call frames and of 32-bit code."""
        memory = CopiedMemory(copied)
        threads: dict[int, tuple[Held, list[int]]] = {}
        for thread, sp in places:
            threads.setdefault(thread.tid, (thread, []))[1].append(sp)
        result = []
        for thread, sps in threads.values():
            known = self._known.get(thread.tid) if self._known else None
            if known is None:
                continue
            if known.frames is None:
                known.frames = self._chain(known, memory)
                known.esp = _word(memory, known.cpu_area + _I386_ESP, 4) or 0
            result += [(thread, sp) for sp in _beyond(known, sps)]
        return result

    def _chain(self, known: _Known, memory: Memory) -> list[int]:
        """The stack pointers in the thread's system call frames, the newest first."""
        for slot in self._possible(known):
            found = self._follow(slot, memory)
            if found and self._mapped(found[-1], found[-1] + 1):
                return found
        return []

    def _follow(self, address: int, memory: Memory) -> list[int]:
        """Those of one chain; empty if what begins there is none."""
        layout = self._frame
        found: list[int] = []
        while self._room > 0:
            self._room -= 1
            sp = _word(memory, address + layout.sp, self.word)
            previous = _word(memory, address + layout.previous, self.word)
            if sp is None or previous is None:
                break
            found.append(sp)
            if previous == 0:
                break
            if previous < address + layout.size or previous % layout.alignment:
                return []
            address = previous
        return found


def _beyond(known: _Known, sps: Sequence[int]) -> list[int]:
    """Stack pointers that a thread's others lead to, the lowest of each Windows stack.

    While Windows code runs, the newest system call frame is stale, or not filled yet; while
    32-bit code does, so are the 32-bit registers.
    """
    running = {known.window(sp) for sp in sps}
    frames = known.frames or []
    if running != {None}:
        frames = frames[1:]
    lowest: dict[int, int] = {}
    elsewhere = []
    if known.esp and known.window(known.esp) == 1 and 1 not in running:
        lowest[1] = known.esp
    for sp in frames:
        window = known.window(sp)
        if window is None:
            elsewhere.append(sp)
        else:
            lowest[window] = min(sp, lowest.get(window, sp))
    return [*lowest.values(), *elsewhere[:_MAX_ELSEWHERE]]


def _word(memory: Memory, address: int, size: int) -> int | None:
    try:
        return memory.read_uint(address, size)
    except Fault:
        return None
