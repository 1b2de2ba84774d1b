"""One of the processes that are surveyed, with what is asked of it again and again."""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.locks.frames import StackNames
from unspool.analyses.locks.ids import own_ids, pointer_of
from unspool.analyses.locks.java import JavaLocks
from unspool.analyses.locks.records import Party
from unspool.symbols.demangle import demangle
from unspool.symbols.elf.data import DataSymbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.model import Module, Report, Stack
    from unspool.targets.base import Target
    from unspool.targets.live.waits import Waiting

    # A file: its path, its number or 0, and the place in it.
    Backing = tuple[str, int, int]

# Both C libraries keep a thread's description right behind where its thread pointer leads.
_DESCRIPTOR = 0x400
# PROC_PID_INIT_INO (linux/proc_ns.h)
_FIRST_NAMESPACE = "pid:[4026531836]"
_SYSTEM_V = "/SYSV"


class Examined:
    """`tids`: threads' indexes by the ids that they know themselves; `own_ids`: the reverse."""

    def __init__(self, index: int, target: Target, report: Report) -> None:
        self.index = index
        self.target = target
        self.report = report
        self.memory = target.memory_now()
        self.names: dict[int, StackNames] = {}
        self.waiting: Waiting | None = None
        self.java = JavaLocks(self)
        self._shared: list[tuple[int, int, str, int, int]] | None = None
        self.variables: dict[int, DataSymbols | None] = {}
        self.tids = own_ids(target)
        self.own_ids = {index: tid for tid, index in self.tids.items()}
        pointers = ((pointer_of(target, thread), thread) for thread in target.threads)
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

    @property
    def nested(self) -> bool:
        """Whether its pid namespace is not the system's first one, as a container's is not."""
        live = self.target.live_process()
        if live is not None:
            return live.link("ns/pid") not in (None, _FIRST_NAMESPACE)
        return 1 in self.tids or any(
            self.target.threads[index].tid != tid for tid, index in self.tids.items()
        )

    @property
    def base(self) -> int:
        """Where its program lies; with `start`, what tells it from others of the same pid."""
        return min((module.base for module in self.target.space.modules), default=0)

    @property
    def start(self) -> int | None:
        """The stack pointer of its first thread, if that is known."""
        registers = self.target.threads[0].registers if self.target.threads else None
        return None if registers is None else registers[self.target.arch.sp]

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

    def backing(self, address: int) -> Backing | None:
        """The file that an address's memory is of, if processes share it."""
        at = bisect_right(self.shared, (address, 1 << 65)) - 1
        if at < 0 or address >= self.shared[at][1]:
            return None
        start, _, path, number, offset = self.shared[at]
        return path, number, offset + address - start

    def address_of(self, backing: Backing) -> int | None:
        """Where this process has a place of a file in memory that processes share.

        By the file's number, where both are known; else by its path.
        """
        path, number, offset = backing
        for start, end, name, own, first in self.shared:
            same = own == number if own and number else name == path
            if same and first <= offset < first + end - start:
                return start + offset - first
        return None

    @property
    def shared(self) -> list[tuple[int, int, str, int, int]]:
        if self._shared is None:
            self._shared = sorted(self._find_shared())
        return self._shared

    def _find_shared(self) -> Iterator[tuple[int, int, str, int, int]]:
        """System V's memory has its number as inode, which each ipc namespace counts from 0 on."""
        live = self.target.live_process()
        for start, end, path, number, offset in self.target.shared_files():
            own = number
            if live is not None and path.startswith(_SYSTEM_V):
                digits = "".join(filter(str.isdigit, live.link("ns/ipc") or ""))
                own |= int(digits or 0) << 128
            yield start, end, path, own, offset
