"""What Java threads wait for and who owns it: monitors, and locks of java.util.concurrent.

As HotSpot's own search for deadlocks has it (ThreadService::find_deadlocks_at_safepoint): the
monitor that a thread is about to enter, or the object that it is parked for, if that notes its
owner.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError
from unspool.generated.hotspot.objects import Objects
from unspool.memory import Fault
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.hotspot.tables import VmTables

_MOST_THREADS = 1 << 16
_MOST_LOCKED = 64  # LockStack::CAPACITY is 8
_SYNCHRONIZER = "java.util.concurrent.locks.AbstractOwnableSynchronizer"
# Who owns a monitor says the object alone (ObjectMonitor::ANONYMOUS_OWNER).
_ANONYMOUS = 1


class JavaWait(Record):
    """A wait: for a `monitor`, or for a synchronizer if that is false. Threads by their ids.

    `address` is the monitor's or the synchronizer's; `object` the object that is locked.
    """

    __slots__ = ("address", "evidence", "how", "monitor", "name", "object", "owner", "unknown")

    def __init__(
        self, address: int, object_: int, name: str, *, monitor: bool, evidence: str,
        owner: int | None, how: str, unknown: str | None,
    ) -> None:  # fmt: skip
        self.address = address
        self.object = object_
        self.name = name
        self.monitor = monitor
        self.evidence = evidence
        self.owner = owner
        self.how = how
        self.unknown = unknown


class Monitors:
    """The waits of one JVM. Raises `FormatError` and `Fault` where its threads cannot be read."""

    def __init__(self, tables: VmTables) -> None:
        self.tables = tables
        self.reader = tables.reader
        self.objects = Objects(tables)
        offset = tables.offset
        self._pending = offset(
            "JavaThread._current_pending_monitor", "Thread._current_pending_monitor"
        )
        self._os = offset("JavaThread._osthread", "Thread._osthread")
        self._id = tables.field("OSThread._thread_id")
        self._object = offset("JavaThread._threadObj")
        self._owner_id = tables.maybe("JavaThread._monitor_owner_id")
        self.tids = {thread: self._tid(thread) for thread in self._threads()}
        self.failed: list[int] = []  # ids of threads of which `waits` could not read them
        self._by_object: dict[int, int] | None = None  # ids by java.lang.Thread
        self._on_lock_stacks: dict[int, int] | None = None  # and by objects that are locked
        self._bounds: list[tuple[int, int, int]] | None = None
        self._by_id: dict[int, int] = {}  # and by what monitors have, in newer versions
        if self._owner_id is not None:
            self._by_id = {tables.get(at, self._owner_id): tid for at, tid in self.tids.items()}

    def _threads(self) -> list[int]:
        tables = self.tables
        threads = tables.static("ThreadsSMRSupport._java_thread_list")
        count = tables.get(threads, tables.field("ThreadsList._length"))
        if count > _MOST_THREADS:
            raise FormatError(f"{count:,} threads", "HotSpot's threads")
        first = self.reader.pointer(threads + tables.offset("ThreadsList._threads"))
        return [self.reader.pointer(first + 8 * number) for number in range(count)]

    def _tid(self, thread: int) -> int:
        system = self.reader.pointer(thread + self._os)
        return self.tables.get(system, self._id) if system else 0

    def waits(self) -> dict[int, JavaWait]:
        """By threads' ids. What cannot be read is left out, and `failed` tells of whom."""
        found = {}
        for thread, tid in self.tids.items():
            try:
                wait = self._monitor(thread) or self._parked(thread)
            except (Fault, FormatError, UnicodeError):
                self.failed.append(tid)
                continue
            if wait is not None and tid:
                found[tid] = wait
        return found

    def _monitor(self, thread: int) -> JavaWait | None:
        monitor = self.reader.pointer(thread + self._pending)
        if not monitor:
            return None
        try:
            oop = self.objects.handle(monitor + self.tables.offset("ObjectMonitor._object"))
            name = self.objects.class_name(self.objects.klass(oop))
        except (Fault, FormatError):
            oop, name = 0, "an object"
        at = monitor + self.tables.offset("ObjectMonitor._owner")
        owner, how = self._owner(self.reader.pointer(at), oop)
        return JavaWait(
            monitor, oop, name, monitor=True, owner=owner,
            evidence=f"JavaThread 0x{thread:x} is about to enter the monitor at 0x{monitor:x}",
            how=f"the owner at 0x{at:x} {how}",
            unknown=None if owner is not None else f"the owner at 0x{at:x} {how}",
        )  # fmt: skip

    def _owner(self, value: int, oop: int) -> tuple[int | None, str]:
        """The owner's id, and how it is known: four ways, by the version of HotSpot."""
        if not value:
            return None, "is 0: the monitor is just changing hands"
        if value == _ANONYMOUS:
            tid = self._locked().get(oop) if oop else None
            if tid is not None:
                return tid, f"is anonymous, and thread {tid} has the object on its lock stack"
            return None, "is anonymous, and no thread has the object on its lock stack"
        if self._owner_id is not None:
            if value in self._by_id:
                return self._by_id[value], f"is {value}, the Java id of thread {self._by_id[value]}"
            return None, f"is {value}: a virtual thread, say, that no thread runs now"
        if value in self.tids:
            return self.tids[value], f"is the JavaThread 0x{value:x}"
        stacks = self._stacks()
        at = bisect_right(stacks, (value, 1 << 64, 0)) - 1
        if at >= 0 and value < stacks[at][1]:
            return stacks[at][2], f"is 0x{value:x}, on the stack of thread {stacks[at][2]}"
        return None, f"is 0x{value:x}, which is no thread of the JVM"

    def _stacks(self) -> list[tuple[int, int, int]]:
        """Where each thread's stack is, and whose it is."""
        if self._bounds is None:
            get = self.tables.get
            base, size = (
                self.tables.field(f"JavaThread._stack_{each}", f"Thread._stack_{each}")
                for each in ("base", "size")
            )
            self._bounds = sorted(
                (get(thread, base) - get(thread, size), get(thread, base), tid)
                for thread, tid in self.tids.items()
            )
        return self._bounds

    def _locked(self) -> dict[int, int]:
        """Whose lock stack an object is on; `_top` counts from the JavaThread on."""
        if self._on_lock_stacks is None:
            self._on_lock_stacks = {}
            stack = self.tables.offset("JavaThread._lock_stack")
            first = stack + self.tables.offset("LockStack._base[0]")
            top = stack + self.tables.field("LockStack._top").offset
            for thread, tid in self.tids.items():
                end = self.reader.unsigned(thread + top, 4)
                if first <= end <= first + 8 * _MOST_LOCKED:
                    for at in range(first, end, 8):
                        self._on_lock_stacks[self.reader.pointer(thread + at)] = tid
        return self._on_lock_stacks

    def _parked(self, thread: int) -> JavaWait | None:
        objects = self.objects
        itself = objects.handle(thread + self._object)
        blocker = objects.field(itself, "java.lang.Thread", "parkBlocker") if itself else None
        if not blocker:
            return None
        owner = objects.field(blocker, _SYNCHRONIZER, "exclusiveOwnerThread")
        if owner is None:
            return None  # a condition, a future: nobody owns those
        tid = None
        how = "its exclusiveOwnerThread is null: no thread has it for itself"
        if owner:
            how = f"its exclusiveOwnerThread is 0x{owner:x}, which is no thread that runs"
            tid = self._threads_by_object().get(owner)
            if tid is not None:
                how = f"its exclusiveOwnerThread 0x{owner:x} is thread {tid}"
        return JavaWait(
            blocker, blocker, objects.class_name(objects.klass(blocker)), monitor=False, owner=tid,
            evidence=f"the parkBlocker of JavaThread 0x{thread:x} is 0x{blocker:x}",
            how=how, unknown=None if tid is not None else how,
        )  # fmt: skip

    def _threads_by_object(self) -> dict[int, int]:
        if self._by_object is None:
            self._by_object = {
                self.objects.handle(thread + self._object): tid
                for thread, tid in self.tids.items()
            }
        return self._by_object
