"""A running process as a target.

It is stopped only while registers and the used parts of stacks are copied (`freeze`). What
never changes is read before or afterwards: mapped files, the vdso, code, of Wine what it
writes at a program's start or when that loads a module. All other memory of the process is
not read at all: it would be of another moment than the stacks.
"""

from __future__ import annotations

import os
import time

from unspool.arch.x86_64 import X86_64
from unspool.errors import InputError
from unspool.formats.notes import parse_auxv
from unspool.memory import Memory, Region
from unspool.model import Finding, TargetInfo, Thread
from unspool.space import AddressSpace
from unspool.targets.base import Options, Target
from unspool.targets.live.access import (
    architecture,
    no_access,
    open_memory,
    open_process,
    tracer_of,
)
from unspool.targets.live.freeze import Changed, Snapshot, take_snapshot
from unspool.targets.live.memory import KeptMemory, ProcessMemory, memory_ended
from unspool.targets.live.modules import LiveModules, read_headers
from unspool.targets.live.procfs import Maps, Process, parse_maps
from unspool.targets.live.ptrace import Calls
from unspool.targets.live.regions import ProcessRegions
from unspool.targets.live.stacks import Copied, Planner, without
from unspool.targets.system import live_system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.arch.base import Arch
    from unspool.cursor import Buffer
    from unspool.targets.facts import Facts

_ATTEMPTS, _ATTEMPTS_TO_OPEN = 8, 3
_PAUSE = 3e-3

# i386 registers by DWARF number, as words of what a 64-bit tracer gets (asm/user_64.h):
# ax, cx, dx, bx, sp, bp, si, di, ip.
_I386_WORDS = (10, 11, 12, 5, 19, 4, 13, 14, 16)


def open_live(pid: int, options: Options) -> LiveTarget:
    """Takes the stacks of a running process. `pid` may also be one of its threads.

    Raises `InputError` if there is no such process, or it cannot be read.
    """
    problem = InputError(f"process {pid} keeps becoming another program (execve)")
    for attempt in range(_ATTEMPTS):
        try:
            return _attempt(pid, options)
        except Changed:
            pass
        except TimeoutError as error:
            raise InputError(str(error), "is its file system one that hangs?") from None
        except InputError as error:
            # In the middle of execve a process seems to have ended, or to be protected.
            if attempt + 1 >= _ATTEMPTS_TO_OPEN:
                raise
            problem = error
        time.sleep(_PAUSE)
    raise problem


def _attempt(pid: int, options: Options) -> LiveTarget:
    process = open_process(pid)
    try:
        target = LiveTarget(process, options)
    except BaseException:
        process.close()
        raise
    if pid != process.pid:
        title = f"{pid} is a thread; these are all threads of its process {process.pid}"
        target.findings.append(Finding("thread_id", title))
    return target


class LiveTarget(Target):
    """A process as it was at one moment. `held` is how many seconds its threads were stopped."""

    _kept: KeptMemory | None = None
    _was_walked = False

    def __init__(self, process: Process, options: Options) -> None:
        """Raises `InputError`, `TimeoutError`, or `Changed` if the process called execve."""
        self.options = options
        self.crash = None
        self.findings = []
        self.process = process
        self.arch = architecture(process)
        self._memory = open_memory(process)
        try:
            self._capture()
        except BaseException:
            os.close(self._memory)
            raise

    def _capture(self) -> None:
        process, arch = self.process, self.arch
        before = self._read_maps()
        maps = parse_maps(before)
        auxv = parse_auxv(arch, process.read("auxv") or b"")
        heads = read_headers(maps, self._memory)
        self.info = self._info()
        capacity = 2 * len(process.tasks()) + 256
        calls = Calls(capacity, arch.name, floating_point=self.options.floating_point)
        planner = make_planner(process.pid, maps, arch)
        snapshot = take_snapshot(process, calls, planner, self._memory)
        self.held = snapshot.held
        self._floating = snapshot.floating
        after = self._read_maps()
        self.maps_text = after if not memory_ended(self._memory) else before
        if (after != before or planner.maps is not maps) and not memory_ended(self._memory):
            maps = both(planner.maps, parse_maps(after))
            heads = read_headers(maps, self._memory)
        else:
            maps = planner.maps
        self.threads = self._threads(snapshot)
        self._report(snapshot, planner)
        now = ProcessMemory(self._memory)
        modules = LiveModules(
            process, maps, heads, auxv, arch, self.options, self.findings,
            now=now,
            specials=[thread.special for thread in self.threads],
        )  # fmt: skip
        self._settle(modules, maps, snapshot, now)
        self.info.system = live_system(
            arch.report_name, self.maps_text, f"{process.path}/root"
        )

    def _settle(
        self, modules: LiveModules, maps: Maps, snapshot: Snapshot, now: ProcessMemory
    ) -> None:
        """Puts modules and memory together: what was held, and what does not change."""
        self.info.executable = modules.windows_path() or self.info.executable
        others = self._others = ProcessRegions(self._memory, modules)
        memory = Memory(self._regions(maps, snapshot.stacks, others))
        modules.memory = memory
        self.mapped_modules = modules
        self.space = AddressSpace(
            self.arch, memory, modules.modules, modules.image, modules.entry_points(),
            modules.holes(),
        )  # fmt: skip
        if modules.windows:
            from unspool.targets.live.wine_variables import dispatcher_variables

            variables = dispatcher_variables(self.space, now)
            memory.set_regions(self._regions(maps, [*snapshot.stacks, variables], others))

    def _read_maps(self) -> bytes:
        return self.process.read("maps") or b""

    def _info(self) -> TargetInfo:
        arguments = (self.process.read("cmdline") or b"").rstrip(b"\0").split(b"\0")
        return TargetInfo(
            "live",
            self.arch.report_name,
            pid=self.process.pid,
            executable=self.process.link("exe"),
            command_line=[part.decode("utf-8", "replace") for part in arguments] or None,
            captured_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )

    def _threads(self, snapshot: Snapshot) -> list[Thread]:
        threads: list[Thread] = []
        for tid, words in snapshot.threads:
            if words is None and self.process.state(tid) in (None, "Z", "X"):
                # The main thread of a process can end before the others; it stays listed.
                continue
            registers = None if words is None else to_registers(self.arch, words)
            threads.append(
                Thread(
                    len(threads), tid, registers, name=self.process.name(tid),
                    special=to_special(self.arch, words or ()),
                )
            )  # fmt: skip
        if not any(thread.registers for thread in threads):
            error = next(iter(snapshot.refused.values()), 0)
            if error or not threads:
                raise no_access(self.process, error)
        return threads

    def _report(self, snapshot: Snapshot, planner: Planner) -> None:
        """Says what is missing."""
        index = {thread.tid: thread.index for thread in self.threads}
        cut = [index[tid] for tid in dict.fromkeys(planner.cut) if tid in index]
        if cut:
            title = "stacks are too big to copy while the process waits"
            hint = f"a core has them whole: gcore {self.process.pid}"
            self._lack("stack_cut", title, hint, cut)
        for tid, state in snapshot.unstopped.items():
            if tid in index:
                why = _WAITS.get(state, f"its state is {state}")
                title = f"thread {tid} did not stop: {why}"
                self._lack("thread_not_stopped", title, None, [index[tid]])
        for tid, error in snapshot.refused.items():
            if tid in index:
                tracer = tracer_of(self.process.status(tid))
                why = f"{tracer} traces it" if tracer else os.strerror(error)
                title = f"thread {tid} could not be stopped: {why}"
                self._lack("thread_not_stopped", title, None, [index[tid]])
        if snapshot.late:
            self._lack("threads_missing", "the process made threads faster than they stopped")

    def _lack(
        self, kind: str, title: str, detail: str | None = None, threads: Sequence[int] = ()
    ) -> None:
        finding = Finding(kind, title, detail=detail, threads=threads, incomplete=True)
        self.findings.append(finding)

    # --- memory ------------------------------------------------------------------------

    def _regions(
        self, maps: Maps, stacks: Sequence[Copied], others: ProcessRegions
    ) -> list[Region]:
        regions = []
        taken = []
        for copied in stacks:
            for (low, high), offset in zip(copied.ranges, copied.offsets, strict=True):
                regions.append(_copied_region(maps, low, high, copied.buffer, offset))
                taken.append((low, high))
        taken.sort()
        for mapping in maps.mappings:
            whole = (mapping.start, mapping.end)
            around = taken if mapping.writable else ()
            for low, high in without(whole, around):
                regions += others.constant(mapping, low, high)
        return regions

    def floating_point(self, thread: Thread) -> bytes | None:
        """Only with `Options.floating_point`: the process waits while they are taken."""
        return self._floating.get(thread.tid)

    def memory_now(self) -> Memory:
        return self._kept or ProcessMemory(self._memory)

    def record_reads(self) -> list[tuple[int, int]]:
        self._kept = KeptMemory(self._memory)
        self._was_walked = self._generated is not None
        return super().record_reads()

    def kept_reads(self) -> list[tuple[int, bytes]]:
        modules = self._generated.modules if self._generated is not None else ()
        # Reads what no walk needs, but who reads the dump.
        tables = [each.tables() for each in modules if each.tables is not None]
        tables += [namer.tables() for namer in self.namers]
        if self._kept is None:
            return []
        if self._was_walked:
            # What was read before is known, and was not kept: in pages, as runtimes' is read.
            spans = (span for found in tables for span in found)
            pages = {page for low, high in spans for page in range(low & -4096, high, 4096)}
            for page in sorted(pages):
                self._kept.read_available(page, 4096)
        return list(self._kept.pieces_read)

    def live_process(self) -> Process:
        return self.process

    def shared_files(self) -> Sequence[tuple[int, int, str, int, int]]:
        return parse_maps(self.maps_text).shared

    def facts(self) -> Facts:
        from unspool.targets.live.facts import live_facts

        return live_facts(self, ProcessMemory(self._memory))

    def close(self) -> None:
        self.process.close()
        self._others.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1


_WAITS = {
    "D": "it is in a wait that nothing interrupts, for a disk, a file server or its vfork child",
    "R": "it was given no CPU in time",
}


def make_planner(pid: int, maps: Maps, arch: Arch) -> Planner:
    """What decides on the memory to copy: Wine's threads have several stacks each."""
    if arch.link is None and any("/ntdll." in mapping.path for mapping in maps.mappings):
        from unspool.targets.live.wine_stacks import WinePlanner

        return WinePlanner(pid, maps, arch)
    return Planner(pid, maps, arch)


def to_registers(arch: Arch, words: Sequence[int]) -> list[int | None]:
    """A thread's registers by DWARF number, from the host's words of them."""
    if arch.name == "i386":
        return [words[index] & 0xFFFFFFFF for index in _I386_WORDS]
    registers: list[int | None] = [None] * len(arch.register_names)
    for number, value in zip(arch.prstatus.order, words, strict=False):
        if number is not None:
            registers[number] = value
    return registers


# Words of `struct user_regs_struct` of a 64-bit host; of an i386 thread as well, whose fs and
# gs hold selectors: its bases are those of the segments.
_SPECIAL_WORDS = X86_64.prstatus.special


def to_special(arch: Arch, words: Sequence[int]) -> dict[str, int]:
    """The registers by name that are none of the unwinder's, from the host's words."""
    special = _SPECIAL_WORDS if arch.link is None else arch.prstatus.special
    return {name: words[index] for index, name in special if index < len(words)}


def both(maps: Maps, later: Maps) -> Maps:
    """The mappings of two moments: the first one's, and of the second what was not there."""
    mappings = list(maps.mappings)
    for mapping in later.mappings:
        if maps.at(mapping.start) is None and maps.at(mapping.end - 1) is None:
            mappings.append(mapping)
    return Maps(sorted(mappings, key=lambda each: each.start))


def _copied_region(maps: Maps, low: int, high: int, buffer: Buffer, offset: int) -> Region:
    mapping = maps.at(low)
    return Region(
        low, high, lambda: (buffer, offset, high - low),
        writable=True,
        executable=mapping is not None and mapping.executable,
        path=mapping.path if mapping else "",
        mapping=(mapping.start, mapping.end) if mapping else None,
    )  # fmt: skip
