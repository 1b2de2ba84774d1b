"""A Wine process: recognised by its modules, its threads known by their TEBs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.memory import Fault
from unspool.space import KnownStack
from unspool.wine import layouts
from unspool.wine.frames import Chains
from unspool.wine.teb import Teb, read_teb, search
from unspool.wine.thread import WineThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from mmap import mmap

    from unspool.model import Module, Thread
    from unspool.space import AddressSpace
    from unspool.wine.frames import SyscallFrame
    from unspool.wine.layouts import Version

    SymbolFinder = Callable[[Module, str], int | None]

# Threads that may be on one TEB's stacks: its own, and some on what lies behind them.
_MAX_UNCLEAR = 8
# Bytes of ntdll.so that are searched for its version, and of the longest version.
_MAX_NTDLL, _MAX_VERSION = 8 << 20, 85
_WINDOWS, _UNIX, _SIGNAL = "windows", "unix", "signal"


class WineProcess:
    """What is known of the process and its threads. See `recognise`.

    `build` is what Wine calls itself, "8.0 (Debian 8.0~repack-4)", `version` the numbers in it.
    `ntdll` is the PE module, `ntdll_so` its Unix half.
    """

    def __init__(
        self,
        space: AddressSpace,
        ntdll_so: Module | None,
        ntdll: Sequence[Module],
        find_symbol: SymbolFinder | None = None,
    ) -> None:
        self.space = space
        self.ntdll_so = ntdll_so
        self.find_symbol = find_symbol
        is_64 = space.arch.pointer_size == 8
        self.frame_layout = layouts.FRAME_X86_64 if is_64 else layouts.FRAME_I386
        self.chains = Chains(space, self.frame_layout)
        self.teb_layout = layouts.TEB64 if is_64 else layouts.TEB32
        self.resumes = layouts.RESUMES_X86_64 if is_64 else layouts.RESUMES_I386
        self.ntdll = _native(ntdll, is_64)
        self.ntdll32 = next((each for each in ntdll if each is not self.ntdll), None)
        self.build = _build(space, ntdll_so) if ntdll_so else None
        self.version = _numbers(self.build) if self.build else None
        self.threads: dict[int, WineThread] = {}
        names = {module.name.lower() for module in space.modules}
        self._has_wow64 = is_64 and "wow64cpu.dll" in names
        self._last_ranges: tuple[int, list[tuple[int, int]]] | None = None

    @property
    def bitness(self) -> int:
        """64 or 32: of the Windows program, not of the process."""
        return 32 if self.is_wow64 else self.space.arch.pointer_size * 8

    @property
    def is_wow64(self) -> bool:
        """Whether 32-bit Windows code runs in this 64-bit process (new-style WoW64)."""
        return self._has_wow64 or any(thread.teb32 for thread in self.threads.values())

    def describe(self) -> dict[str, object]:
        """The facts for a report: version, bitness, build."""
        version = None
        if self.build:
            version = self.build.split(" ")[0]
        known = {
            "version": version, "bitness": self.bitness, "build": self.build,
            "wow64": True if self.is_wow64 else None,
        }  # fmt: skip
        return {key: value for key, value in known.items() if value is not None}

    def thread_of(self, index: int | None, sp: int | None) -> WineThread | None:
        """A thread by its index; where that is not known, by an address in one of its stacks.

        Not all of its stacks need be known: programs make their own, for fibers and coroutines.
        """
        if index is not None:
            return self.threads.get(index)
        return None if sp is None else self.thread_at(sp)

    def thread_at(self, sp: int) -> WineThread | None:
        """The thread one of whose stacks an address is in."""
        known = self.space.stack_at(sp)
        return None if known is None or known.thread is None else self.threads.get(known.thread)

    def add_threads(self, threads: Sequence[Thread]) -> None:
        """Finds each thread's TEB, stacks and frames; threads of native libraries have none."""
        tebs = self._tebs(threads)
        for thread in threads:
            teb = tebs.get(thread.index)
            if teb is not None:
                self.threads[thread.index] = self._thread(thread.index, teb)
                thread.windows_tid = teb.tid
        known = list(self.threads.values())
        windows = sorted((each for thread in known for each in _windows_stacks(thread)), key=_low)
        stacks = [each for thread in known for each in _unix_stacks(self.space, thread, windows)]
        self.space.know_stacks([*windows, *stacks])

    def _thread(self, index: int, teb: Teb) -> WineThread:
        teb32 = None
        if teb.wow_offset and teb.layout is layouts.TEB64:
            other = teb.address + teb.wow_offset
            teb32 = read_teb(self.space.memory, other, layouts.TEB32)
        return WineThread(index, teb, teb32, self.chains.of(teb))

    def _tebs(self, threads: Sequence[Thread]) -> dict[int, Teb]:
        """TEBs by thread index.

        A thread that a native library makes inherits its maker's gs, and would pass for it: it
        is told by its stack, and by the C library's thread pointer.
        """
        name = "gs_base" if self.teb_layout.word == 8 else "fs_base"
        found = {}
        lost = []
        taken = set()
        for thread in threads:
            base = thread.special.get(name)
            if base is None:
                lost.append(thread)
            elif base:
                teb = read_teb(self.space.memory, base, self.teb_layout)
                if teb is not None and base not in taken and self._belongs(thread, teb):
                    found[thread.index] = teb
                    taken.add(base)
        if lost and self.teb_layout.word == 4:
            self._match(lost, found)
        return found

    def _match(self, lost: Sequence[Thread], found: dict[int, Teb]) -> None:
        """Gives threads without a known segment base the TEBs whose stacks they are on."""
        sp_number = self.space.arch.sp
        places = sorted(
            (sp, thread.index)
            for thread in lost
            if thread.registers is not None and (sp := thread.registers[sp_number]) is not None
        )
        taken = {teb.address for teb in found.values()}
        unclear: list[list[int]] = []
        tebs: list[Teb] = []
        for teb in search(self.space.memory, self.teb_layout):
            if teb.address in taken:
                continue
            owners = [
                index
                for low, high in self._ranges(teb)
                for _, index in places[_place(places, low) : _place(places, high)]
                if index not in found
            ]
            if len(owners) == 1:
                found[owners[0]] = teb
            elif len(owners) <= _MAX_UNCLEAR:
                unclear.append(owners)
                tebs.append(teb)
            if len(found) == len(places):
                return
        # A mapping can reach beyond the stack, into what belongs to a thread that was not known
        # yet when this one was looked at.
        for teb, owners in zip(tebs, unclear, strict=True):
            left = [index for index in owners if index not in found]
            if len(left) == 1:
                found[left[0]] = teb

    def _belongs(self, thread: Thread, teb: Teb) -> bool:
        """Whether a thread that has a TEB's address in its register is the TEB's own."""
        if thread.special.get("teb") == teb.address:
            return True  # a minidump says whose it is
        pointer = thread.special.get("fs_base")
        for slot in self.teb_layout.pthread:
            try:
                if pointer and self.space.memory.read_uint(teb.address + slot, 8) == pointer:
                    return True
            except Fault:
                break
        if thread.registers is None:
            return False
        pc, sp = thread.registers[self.space.arch.pc], thread.registers[self.space.arch.sp]
        # A coroutine has a stack of its own; but a native thread runs no Windows code.
        module = self.space.module_at(pc) if pc is not None else None
        if module is not None and module.kind == "pe":
            return True
        return sp is not None and any(low <= sp < high for low, high in self._ranges(teb))

    def _ranges(self, teb: Teb) -> list[tuple[int, int]]:
        """The bounds of all stacks that belong to a TEB. Of the one that was asked for last they
        are remembered: thousands of threads can point at one."""
        if self._last_ranges is None or self._last_ranges[0] != teb.address:
            maybe = self._thread(0, teb)
            windows = _windows_stacks(maybe)
            stacks = (*windows, *_unix_stacks(self.space, maybe, windows))
            self._last_ranges = teb.address, [(stack.low, stack.high) for stack in stacks]
        return self._last_ranges[1]


def recognise(
    space: AddressSpace,
    threads: Sequence[Thread],
    find_symbol: SymbolFinder | None = None,
) -> WineProcess | None:
    """The Wine process that a target is, or None. Reads nothing of one that is not.

    Both halves of ntdll are mapped in any Wine process; a dump may have lost one of them.
    """
    if space.arch not in (X86, X86_64) and space.arch.name not in (X86.name, X86_64.name):
        return None
    ntdll_so = None
    ntdll = []
    for module in space.modules:
        if module.kind == "pe":
            if module.name.lower() == "ntdll.dll":
                ntdll.append(module)
        elif module.name == "ntdll.so":
            ntdll_so = module
    if ntdll_so is None and not ntdll:
        return None
    process = WineProcess(space, ntdll_so, ntdll, find_symbol)
    process.add_threads(threads)
    return process


def _native(modules: Sequence[Module], is_64: bool) -> Module | None:
    """The ntdll.dll of the process's own word size: new WoW64 has both."""
    if len(modules) < 2:
        return modules[0] if modules else None
    # 64-bit DLLs lie anywhere, 32-bit ones below 4 GB; old Wine puts both there, the 64-bit
    # one at 0x170000000, which is above as well.
    ordered = sorted(modules, key=_base)
    return ordered[-1] if is_64 else ordered[0]


def _base(module: Module) -> int:
    return module.base


def _place(places: Sequence[tuple[int, int]], sp: int) -> int:
    return bisect_left(places, (sp, -1))


def _low(stack: KnownStack) -> int:
    return stack.low


def _windows_stacks(thread: WineThread) -> list[KnownStack]:
    """The stacks of Windows code: one, or in a WoW64 thread that of 32-bit code as well."""
    tebs = [thread.teb] if thread.teb32 is None else [thread.teb, thread.teb32]
    return [KnownStack(_WINDOWS, teb.allocation, teb.stack_base, thread.index) for teb in tebs]


def _unix_stacks(
    space: AddressSpace, thread: WineThread, windows: Sequence[KnownStack]
) -> list[KnownStack]:
    """Wine's own stacks of a thread: for Unix code, and for signal handlers.

    `windows` are all threads' Windows stacks, by address. The kernel joins neighbouring
    mappings of equal protection, so that a mapping can hold one thread's Windows stack and,
    above it, the same one's Unix stack (up to 8.6) or another one's (since 8.7).
    """
    stacks = []
    index = thread.index
    region = space.memory.region(thread.frames[-1].address) if thread.frames else None
    if region is not None:
        low, high = _between(region.mapping, thread.frames, windows)
        low = _kernel_stack(space, thread, low)
        border = _thread_data(space, thread.teb, low)
        if border is not None:
            return [
                KnownStack(_SIGNAL, low, border, index),
                KnownStack(_UNIX, border, high, index),
            ]
        stacks.append(KnownStack(_UNIX, low, high, index))
    signal = _signal_stack(space, thread.teb)
    if signal:
        stacks.append(KnownStack(_SIGNAL, *signal, index))
    return stacks


def _between(
    mapping: tuple[int, int], chain: Sequence[SyscallFrame], windows: Sequence[KnownStack]
) -> tuple[int, int]:
    """The part of a mapping around a thread's frames that is no Windows stack."""
    low, high = mapping
    at = bisect_right(windows, chain[-1].address, key=_low)
    if at < len(windows):
        high = min(high, windows[at].low)
    if at and windows[at - 1].high <= chain[0].address:
        low = max(low, windows[at - 1].high)
    return low, high


def _kernel_stack(space: AddressSpace, thread: WineThread, low: int) -> int:
    """Where the Unix stack begins, by the TEB if that says something possible, else `low`."""
    for slot in thread.teb.layout.kernel_stack:
        try:
            start = space.memory.read_uint(thread.teb.address + slot, thread.teb.layout.word)
        except Fault:
            continue
        if low <= start < thread.frames[0].address and start % 0x1000 == 0:
            return start
    return low


def _thread_data(space: AddressSpace, teb: Teb, low: int) -> int | None:
    """Where Wine 11.8's block of signal stack and Unix stack has its border, if it is one."""
    try:
        owner = space.memory.read_uint(low, space.arch.pointer_size)
    except Fault:
        return None
    return low + 0x10000 if owner == teb.address and low % 0x10000 == 0 else None


def _signal_stack(space: AddressSpace, teb: Teb) -> tuple[int, int] | None:
    """Up to 11.7 the rest of the TEB's block of 64 kB is the stack for signal handlers.

    The block holds the 64-bit TEB at 0 and the 32-bit one at 0x2000; newer Wine packs TEBs
    closer, so that the rest of 64 kB is other threads' TEBs.
    """
    block = teb.address & ~0xFFFF
    if teb.address - block not in (0, 0x2000):
        return None
    region = space.memory.region(block + 0xFF00)
    if region is None or not region.writable:
        return None
    for neighbour in range(block + 0x4000, block + 0x10000, 0x4000):
        if read_teb(space.memory, neighbour + teb.address - block, teb.layout):
            return None
    return block + 0x3800, block + 0x10000


def _build(space: AddressSpace, ntdll_so: Module) -> str | None:
    """Wine's own name for its version, a string in ntdll.so: "8.0 (Debian 8.0~repack-4)"."""
    image = space.image(ntdll_so)
    file = getattr(image, "file", None)
    if file is not None:
        return _version_in(file.buffer)[0]
    end = min(ntdll_so.end, ntdll_so.base + _MAX_NTDLL)
    for start, _, piece in space.memory.pieces(ntdll_so.base, end):
        name, at = _version_in(bytes(piece))
        if name is not None:
            # A minidump holds what is read: of all this the name alone.
            space.memory.read_available(start + at, _MAX_VERSION)
            return name
    return None


def _version_in(data: bytes | mmap) -> tuple[str | None, int]:
    """The first version's name in the data, and where it is."""
    at = data.find(b"wine-")
    while at >= 0:
        text = bytes(data[at + 5 : at + _MAX_VERSION]).split(b"\0")[0]
        if text[:1].isdigit() and b"." in text and text.isascii():
            name = text.decode("ascii")
            if name.isprintable():
                return name, at
        at = data.find(b"wine-", at + 5)
    return None, -1


def _numbers(build: str) -> Version | None:
    """(8, 0) of "8.0 (Debian 8.0~repack-4)" or of "8.0-rc1"."""
    major, _, rest = build.partition(".")
    minor = ""
    for character in rest:
        if not character.isdecimal():
            break
        minor += character
    if not major.isdecimal() or not minor:
        return None
    return int(major), int(minor)
