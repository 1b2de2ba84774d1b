"""wineserver's processes and threads: what each thread waits for, who owns that, by which handle.

Where a thread's fields are differs from release to release, and is found by what is in them: the
pointer that leads to a process in all threads, the one that leads to a wait of that very thread.
Each of these must hold for all threads of the server, so that a wrong place has to be wrong in
the same way everywhere. Sources: Wine's server/thread.h, thread.c, process.h, handle.c, mutex.c.
"""

from __future__ import annotations

from itertools import islice

from unspool.analyses.locks.wineserver.objects import Objects, UnknownServerError
from unspool.memory import Fault
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unspool.memory import Memory

_MOST_THREADS, _MOST_PROCESSES = 1 << 14, 1 << 11
_MOST_WAITED = 64 + 1  # MAXIMUM_WAIT_OBJECTS, and one for a thread's message queue
_MOST_HANDLES = 1 << 18
_MOST_ENTRIES = 1 << 14
_WAIT_ALL = 2  # SELECT_WAIT_ALL
_MOST_KINDS = 5
_MOST_NESTED = 16


class ServerThread(Record):
    """A thread: its address, its process's, its Windows id, and `data`, its own bytes."""

    __slots__ = ("address", "data", "process", "tid", "wait")

    def __init__(self, address: int, process: int, tid: int, wait: int, data: bytes) -> None:
        self.address = address
        self.process = process
        self.tid = tid
        self.wait = wait
        self.data = data


class ServerWait(Record):
    """What a thread waits for: objects, all of them or any, and whether for a limited time."""

    __slots__ = ("address", "all", "objects", "timed")

    def __init__(self, address: int, objects: Sequence[int], all_: bool, timed: bool) -> None:
        self.address = address
        self.objects = list(objects)
        self.all = all_
        self.timed = timed


class Handle(Record):
    """A process has an object under a number, with some rights."""

    __slots__ = ("access", "number", "process")

    def __init__(self, process: int, number: int, access: int) -> None:
        self.process = process
        self.number = number
        self.access = access


class WineServer:
    """A server's threads by their addresses there. Raises `UnknownServerError`."""

    def __init__(self, memory: Memory, word: int, image: tuple[int, int]) -> None:
        self.objects = Objects(memory, word, image)
        self.memory = memory
        self.layout = self.objects.layout
        self.processes, self._process_size = self._all("Process", _MOST_PROCESSES)
        addresses, size = self._all("Thread", _MOST_THREADS)
        if not addresses or not self.processes:
            raise UnknownServerError("it has no processes or no threads")
        data = {address: memory.read_available(address, size) for address in addresses}
        data = {address: each for address, each in data.items() if len(each) == size}
        at = self._process_at(data.values(), size)
        wait_at = self._wait_at(data, at, size)
        self.threads = {
            address: ServerThread(
                address, self._word(each, at),
                int.from_bytes(each[at + word : at + word + 4], "little"),
                self._word(each, wait_at) if wait_at is not None else 0, each,
            )
            for address, each in data.items()
        }  # fmt: skip
        self._handles: dict[int, list[Handle]] | None = None
        self._tables_at: int | None = -1
        self._programs: dict[int, str] | None = None

    def _all(self, name: str, most: int) -> tuple[list[int], int]:
        """Objects of a type, and their size."""
        found = self.objects.operations(name)
        if not 0 < len(found) <= _MOST_KINDS:
            raise UnknownServerError(f"its type {name} was not found")
        operations = max(found, key=lambda each: found[each])
        return list(islice(self.objects.of(operations), most)), found[operations]

    def _word(self, data: bytes, at: int) -> int:
        return int.from_bytes(data[at : at + self.layout.word], "little")

    def _process_at(self, threads: Iterable[bytes], size: int) -> int:
        """Where all threads have their process; their id, and mutexes they own, come after it."""
        known = set(self.processes)
        step = self.layout.word
        for at in range(self.objects.start, size - 3 * step, step):
            if all(self._word(each, at) in known for each in threads):
                return at
        raise UnknownServerError("the threads' processes were not found")

    def _wait_at(self, threads: dict[int, bytes], after: int, size: int) -> int | None:
        """Where threads that wait have their wait; None if none does."""
        step = self.layout.word
        for at in range(after, size - step + 1, step):
            found = [(self._word(data, at), address) for address, data in threads.items()]
            waits = [each for each in found if each[0]]
            if waits and all(self._wait(*each) is not None for each in waits):
                return at
        return None

    def _wait(self, at: int, thread: int) -> ServerWait | None:
        """The wait at an address, if it is one of this thread."""
        layout = self.layout
        try:
            data = self.memory.read(at, layout.wait.size)
            _, owner, count, _, _, select, _, _, _, timer, _ = layout.wait.unpack(data)
            if owner != thread or not 0 <= count <= _MOST_WAITED:
                return None
            size = count * layout.entry.size
            queues = self.memory.read(at + layout.wait.size, size) if size else b""
        except Fault:
            return None
        entries = list(layout.entry.iter_unpack(queues))
        if any(wait != at or not self.objects.is_object(each) for _, _, each, wait in entries):
            return None
        return ServerWait(at, [each[2] for each in entries], select == _WAIT_ALL, bool(timer))

    def wait(self, thread: ServerThread) -> ServerWait | None:
        """What a thread waits for now; None if it does not, or for nothing but time.

        A wait without objects may lie over another one: a thread was suspended in its wait.
        """
        at = thread.wait
        for _ in range(_MOST_NESTED):
            found = self._wait(at, thread.address) if at else None
            if found is None or found.objects:
                return found
            at = self.objects.word(at) or 0
        return None

    def debug_event(self, process: int) -> tuple[int, ServerThread] | None:
        """What a process that is debugged is stopped for: the debug object, and who sent the event.

        Its fields come right before its handles: the debug object, and the event of that.
        """
        at = self._table_at()
        if at is None:
            return None
        step = self.layout.word
        debugger = self.objects.word(process + at - 2 * step)
        event = self.objects.word(process + at - step)
        if not debugger or not event or not self.objects.is_object(event):
            return None
        known = self.objects.describe(debugger)
        sender = self.threads.get(self.objects.word(event + self.objects.start + 2 * step) or 0)
        if known is None or known.type != "DebugObject" or sender is None:
            return None
        return (debugger, sender) if sender.process == process else None

    def owner(self, mutex: int) -> tuple[ServerThread, int] | None:
        """Who owns a mutex, and how many times; None if nobody does.

        The mutex must be in the list of those that this thread owns.
        """
        at = mutex + self.objects.start
        try:
            data = self.memory.read(at, self.layout.mutex.size)
            owner, count, _, following, _ = self.layout.mutex.unpack(data)
            thread = self.threads.get(owner)
            if thread is None or not count:
                return None
            low, high = thread.address, thread.address + len(thread.data)
            for _ in range(_MOST_ENTRIES):
                if low <= following < high:
                    return thread, count
                following = self.memory.read_uint(following, self.layout.word)
        except Fault:
            pass
        return None

    def handles(self, address: int) -> list[Handle]:
        """Under which numbers processes have an object."""
        if self._handles is None:
            self._handles = {}
            at = self._table_at()
            for process in self.processes if at is not None else ():
                self._read_table(process, self.objects.word(process + (at or 0)) or 0)
        return self._handles.get(address, [])

    def _table(self, at: int, process: int) -> tuple[int, int] | None:
        """A process's table of handles: its last entry's number, and where the entries are."""
        layout = self.layout
        try:
            data = self.memory.read(at + self.objects.start, layout.table.size)
            owner, count, last, _, entries = layout.table.unpack(data)
        except Fault:
            return None
        if owner != process or not -1 <= last < _MOST_HANDLES or count < 0:
            return None
        return last, entries

    def _table_at(self) -> int | None:
        """Where processes have their handles; one that has ended has none any more."""
        if self._tables_at == -1:
            self._tables_at = self._find_tables()
        return self._tables_at

    def _find_tables(self) -> int | None:
        step = self.layout.word
        for at in range(self.objects.start, self._process_size - step + 1, step):
            found = [(self.objects.word(each + at) or 0, each) for each in self.processes]
            tables = [each for each in found if each[0]]
            if tables and all(self._table(*each) is not None for each in tables):
                return at
        return None

    def _read_table(self, process: int, at: int) -> None:
        found = self._table(at, process) if at else None
        if found is None or self._handles is None:
            return
        last, entries = found
        size = self.layout.handle.size
        data = self.memory.read_available(entries, (last + 1) * size)
        whole = data[: len(data) // size * size]
        for index, (address, access) in enumerate(self.layout.handle.iter_unpack(whole)):
            if address:
                # Wine: index_to_handle, and rights above bit 25 are the handle's own flags.
                handle = Handle(process, (index + 1) << 2, access & 0x03FFFFFF)
                self._handles.setdefault(address, []).append(handle)

    def program(self, process: int) -> str | None:
        """The last part of the path of a process's program, "notepad.exe"."""
        if self._programs is None:
            self._programs = self._find_programs()
        return self._programs.get(process)

    def _find_programs(self) -> dict[int, str]:
        """Processes have the length and the address of their program's path side by side."""
        step = self.layout.word
        best: dict[int, str] = {}
        for at in range(self.objects.start, self._process_size - 2 * step + 1, step):
            found = {each: name for each in self.processes if (name := self._program(each + at))}
            if len(found) > len(best):
                best = found
        return best

    def _program(self, at: int) -> str | None:
        step = self.layout.word
        try:
            # On 64 bits the length is the upper half of a word, behind another number.
            size = self.memory.read_uint(at + step - 4, 4)
            path = self.objects.decode(self.memory.read_uint(at + step, step), size)
        except Fault:
            return None
        if path is None or not path.startswith("\\??\\"):
            return None
        return path.rpartition("\\")[2]
