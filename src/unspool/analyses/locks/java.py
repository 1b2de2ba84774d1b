"""Java's monitors and locks, as HotSpot keeps them, as locks like others."""

from __future__ import annotations

from unspool.analyses.locks.records import Holder, Lock
from unspool.errors import FormatError
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.locks.process import Examined
    from unspool.generated.hotspot.monitors import JavaWait
    from unspool.memory import Memory
    from unspool.targets.base import Target

    Range = tuple[int, int]

LIBRARY = "libjvm.so"
_ARCHITECTURES = ("x86-64", "aarch64")


def java_waits(target: Target, memory: Memory) -> tuple[dict[int, JavaWait], int, list[Range]]:
    """What each Java thread waits for, by the id that it knows itself.

    Beside it, of how many threads that could not be read, and what was read for it. Raises
    `FormatError` and `Fault` if there is no JVM, or none that can be read.
    """
    library = next((each for each in target.space.modules if each.name == LIBRARY), None)
    if library is None or target.arch.name not in _ARCHITECTURES:
        raise FormatError("no JVM of this processor", "HotSpot")
    from functools import partial

    from unspool.generated.hotspot.monitors import Monitors
    from unspool.generated.hotspot.tables import OF_LOCKS, VmTables
    from unspool.generated.reader import Reader

    reader = Reader(memory)
    monitors = Monitors(VmTables(reader, partial(target.symbol, library), OF_LOCKS))
    waits = monitors.waits()
    return waits, len(monitors.failed), sorted(reader.reads)


class JavaLocks:
    """The Java locks of one process, read when the first is asked for."""

    def __init__(self, process: Examined) -> None:
        self.process = process
        self.is_java = any(each.name == LIBRARY for each in process.target.space.modules)
        self._waits: dict[int, JavaWait] | None = None  # by threads' indexes
        self._again: dict[int, JavaWait] | None = None
        self.problem: str | None = None  # why the locks of some threads are not known

    def _read(self) -> dict[int, JavaWait]:
        process = self.process
        if not self.is_java:
            return {}
        try:
            found, failed, _ = java_waits(process.target, process.memory)
        except (FormatError, Fault, UnicodeError) as error:
            self.problem = f"Java's locks cannot be read: {error}"
            return {}
        if failed:
            who = f"{failed} Java threads" if failed > 1 else "a Java thread"
            self.problem = f"which of Java's locks {who} may wait for cannot be read"
        return {process.tids[tid]: each for tid, each in found.items() if tid in process.tids}

    def wait(self, thread: int) -> JavaWait | None:
        if self._waits is None:
            self._waits = self._read()
        return self._waits.get(thread)

    def lock(self, wait: JavaWait) -> Lock:
        process = self.process
        kind = "java_monitor" if wait.monitor else "java_lock"
        lock = Lock(kind, process.index, wait.address, unknown=wait.unknown)
        lock.name = f"a {wait.name}"
        if wait.monitor and wait.object:
            lock.name += f" at 0x{wait.object:x}"
        index = process.tids.get(wait.owner) if wait.owner is not None else None
        if index is not None:
            lock.holders = [Holder(process.index, index, wait.how)]
        elif wait.owner is not None:
            lock.unknown = f"{wait.how}, which is no thread of the target"
        return lock

    def still(self, thread: int) -> bool:
        """Whether a thread waits for the same monitor of the same owner as before.

        HotSpot 17 lets one of a monitor's waiters look after it from time to time: that it has
        been woken does not mean that it went on.
        """
        if self._again is None:
            self._again = self._read()
        return thread in self._again and self._again[thread] == self.wait(thread)
