"""One of the processes that are surveyed, with what is asked of it again and again."""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.locks.frames import StackNames
from unspool.analyses.locks.java import JavaLocks
from unspool.analyses.locks.records import Party
from unspool.symbols.demangle import demangle
from unspool.symbols.elf.data import DataSymbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Module, Report, Stack
    from unspool.targets.base import Target
    from unspool.targets.live.waits import Waiting

# Both C libraries keep a thread's description right behind where its thread pointer leads.
_DESCRIPTOR = 0x400


class Examined:
    """`tids`: threads' indexes by the ids that they know themselves."""

    def __init__(self, index: int, target: Target, report: Report) -> None:
        self.index = index
        self.target = target
        self.report = report
        self.memory = target.memory_now()
        self.names: dict[int, StackNames] = {}
        self.waiting: Waiting | None = None
        self.java = JavaLocks(self)
        self._shared: list[tuple[int, int, str, int]] | None = None
        self.variables: dict[int, DataSymbols | None] = {}
        tids = {thread.tid: thread.tid for thread in target.threads}
        if target.info.kind == "live":
            from unspool.targets.live.waits import inner_tids

            process = target.live_process()
            if process is not None:
                tids = inner_tids(process, tids)
        by_tid = {thread.tid: thread.index for thread in reversed(target.threads) if thread.tid}
        self.tids = {inner: by_tid[tid] for inner, tid in tids.items() if tid in by_tid}
        pointers = (
            (thread.special.get("gs_base" if target.arch.name == "i386" else "fs_base"), thread)
            for thread in target.threads
        )
        self.pointers = sorted((base, each.index) for base, each in pointers if base)
        self.windows = None
        if target.wine is not None:
            from unspool.analyses.locks.windows import WindowsWaits

            self.windows = WindowsWaits(target, self.memory, index)

    @property
    def party(self) -> Party:
        info = self.target.info
        path = info.executable or info.path or "process"
        name = path.replace("\\", "/").rpartition("/")[2]
        return Party(self.index, name, self.report)

    def names_of(self, stack: Stack) -> StackNames:
        if stack.index not in self.names:
            self.names[stack.index] = StackNames(self.report, stack)
        return self.names[stack.index]

    def variable(self, module: Module, address: int) -> str | None:
        """The variable at an address, as `name` or `name+0x10`."""
        if module.index not in self.variables:
            elf = self.target.elf(module)
            self.variables[module.index] = DataSymbols(elf) if elf is not None else None
        symbols = self.variables[module.index]
        if symbols is None or module.bias is None:
            return None
        found = symbols.lookup(address - module.bias)
        if found is None:
            return None
        return demangle(found[0]) + (f"+0x{found[1]:x}" if found[1] else "")

    def thread_with(self, address: int) -> int | None:
        """The thread whose description by the C library an address is in."""
        at = bisect_right(self.pointers, (address, 1 << 62)) - 1
        if at >= 0 and address < self.pointers[at][0] + _DESCRIPTOR:
            return self.pointers[at][1]
        return None

    def address_of(self, path: str, offset: int) -> int | None:
        """Where this process has a place of a file in memory that processes share."""
        if self._shared is None:
            self._shared = self._find_shared()
        for start, end, name, first in self._shared:
            if name == path and first <= offset < first + end - start:
                return start + offset - first
        return None

    def _find_shared(self) -> list[tuple[int, int, str, int]]:
        live = self.target.live_process()
        if live is not None:
            from unspool.targets.live.procfs import parse_maps

            return [
                (each.start, each.end, each.path, each.offset)
                for each in parse_maps(live.read("maps") or b"").mappings
                if each.permissions[3:] == "s"
            ]
        return [
            (each.start, each.end, each.path, each.file_offset)
            for each in self.target.space.memory.regions
            if each.path and self.target.shared_file(each.start) is not None
        ]
