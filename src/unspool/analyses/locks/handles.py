"""What threads of Wine wait for by handles, as wineserver knows it: objects, owners, names."""

from __future__ import annotations

from unspool.analyses.locks.records import Holder, Lock
from unspool.analyses.locks.wineserver.clients import Clients
from unspool.analyses.locks.wineserver.find import (
    is_server,
    live_server,
    running_servers,
    server_of,
)
from unspool.analyses.locks.wineserver.objects import UnknownServerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.locks.process import Examined
    from unspool.analyses.locks.records import ThreadKey
    from unspool.analyses.locks.wineserver.objects import ServerObject
    from unspool.analyses.locks.wineserver.server import ServerThread

# EVENT_MODIFY_STATE, SEMAPHORE_MODIFY_STATE, TIMER_MODIFY_STATE (winnt.h)
_MODIFY = 2
_MOST_NAMED = 4
# DbgSsReserved[1] (winternl.h)
_DEBUG_OBJECT_64, _DEBUG_OBJECT_32 = 0x16A8, 0xF24
_KINDS = {
    "Mutant": "mutant", "Event": "event", "Semaphore": "semaphore", "Timer": "timer",
    "Thread": "join", "Process": "process",
}  # fmt: skip
NOT_KNOWN = "what a handle is of, and who holds that, wineserver alone knows"


class ObjectWait:
    """A thread's wait for objects: locks with their keys, of which it needs all, or any one."""

    __slots__ = ("any", "evidence", "locks", "timed")

    def __init__(
        self, locks: list[tuple[Lock, tuple[object, ...]]], any_: bool, timed: bool, evidence: str
    ) -> None:
        self.locks = locks
        self.any = any_
        self.timed = timed
        self.evidence = evidence


class Servers:
    """The wineservers of some processes: those among the targets, and those that run here.

    `problems` says of a target's index why its server is not known.
    """

    def __init__(self, processes: Sequence[Examined]) -> None:
        self.processes = processes
        self.servers: list[Clients] = []
        self.problems: dict[int, str] = {}
        self.unread: list[str] = []
        windows = [each for each in processes if each.target.wine is not None]
        if windows:
            self._find(windows)

    def _find(self, windows: Sequence[Examined]) -> None:
        for each in self.processes:
            if is_server(each.target):
                name = f"{each.party.name}, process {each.target.info.pid}"
                try:
                    self.servers.append(Clients(server_of(each.target), name, each.index))
                except UnknownServerError as error:
                    self.unread.append(f"{name}: {error}")
        missing = [each for each in windows if not self._add(each, self.servers)]
        running = [each for each in missing if each.target.info.kind == "live"]
        if running:
            missing = self._find_running(running, missing)
        for each in missing:
            self.problems[each.index] = self._problem(each)

    def _find_running(
        self, running: Sequence[Examined], missing: Sequence[Examined]
    ) -> list[Examined]:
        """Those of the processes whose servers do not run here, or cannot be read."""
        known = {each.target.info.pid for each in self.processes}
        for pid in running_servers():
            if pid in known:
                continue
            try:
                found = Clients(live_server(pid), f"wineserver, process {pid}")
            except UnknownServerError as error:
                self.unread.append(f"wineserver, process {pid}: {error}")
                continue
            before = len(missing)
            missing = [each for each in missing if not self._add(each, [found])]
            if len(missing) < before:
                self.servers.append(found)
            if not any(each in missing for each in running):
                break
        return list(missing)

    def _add(self, process: Examined, servers: Sequence[Clients]) -> bool:
        wine = process.target.wine
        tebs = {index: each.teb.address for index, each in wine.threads.items()} if wine else {}
        return bool(tebs) and any(each.add(process.index, tebs, process.tids) for each in servers)

    def _problem(self, process: Examined) -> str:
        if self.unread:
            return f"{NOT_KNOWN}, and it could not be read: {self.unread[0]}"
        if process.target.info.kind == "live":
            return f"{NOT_KNOWN}, and none that runs here has this process"
        if self.servers:
            return f"{NOT_KNOWN}, and the one given does not have this process"
        return f"{NOT_KNOWN}: give a core of it, of the same moment, as another target"

    # --- one thread's wait -----------------------------------------------------------------

    def wait(self, key: ThreadKey) -> ObjectWait | None:
        """What a thread waits for; None if its server does not say that it waits for objects."""
        for clients in self.servers:
            thread = clients.by_key.get(key)
            found = clients.server.wait(thread) if thread is not None else None
            if found is None or thread is None:
                continue
            objects = [clients.server.objects.describe(each) for each in found.objects]
            locks = [self._lock(clients, thread, each) for each in objects if each is not None]
            of = "all of " if found.all and len(objects) > 1 else ""
            count = f"{of}{len(objects)} object{'s' if len(objects) > 1 else ''}"
            how = f"by {clients.name} it waits for {count}: its wait is at 0x{found.address:x}"
            is_any = len(objects) > 1 and not found.all
            return ObjectWait(locks, is_any, found.timed, how)
        return None

    def stopped(self, key: ThreadKey) -> tuple[Lock, tuple[object, ...]] | None:
        """The debug event that a thread's process is stopped for, which its debugger ends.

        All threads are stopped meanwhile. The debugger's thread is the one that keeps a handle of
        the debug object in its TEB: only that one waits for events and lets the process go on.
        """
        for clients in self.servers:
            thread = clients.by_key.get(key)
            found = clients.server.debug_event(thread.process) if thread is not None else None
            if found is None or thread is None:
                continue
            debugger, sender = found
            lock = Lock("debug_event", key[0], None)
            name = self._program(clients, thread.process)
            lock.name = f"of {name}, sent by Windows thread 0x{sender.tid:x}"
            handles = clients.server.handles(debugger)
            for handle in handles:
                party = clients.parties.get(handle.process)
                if party is not None:
                    lock.holders += self._debuggers(clients, party, handle.number)
            if not lock.holders:
                owners = dict.fromkeys(self._program(clients, each.process) for each in handles)
                names = " and ".join(owners) or "a debugger that has ended"
                lock.unknown = f"{names} debugs it, no thread of which is known here to do so"
            return lock, ("debug event", id(clients), thread.process)
        return None

    def _debuggers(self, clients: Clients, party: int, number: int) -> list[Holder]:
        """The threads that keep a debug object's handle: TEB.DbgSsReserved[1]."""
        process = self.processes[party]
        wine = process.target.wine
        found = []
        for index, thread in wine.threads.items() if wine is not None else ():
            for teb in (thread.teb, thread.teb32):
                if teb is None:
                    continue
                at = teb.address + (_DEBUG_OBJECT_64 if teb.layout.word == 8 else _DEBUG_OBJECT_32)
                data = process.memory.read_available(at, teb.layout.word)
                if int.from_bytes(data, "little") == number:
                    how = f"its TEB has handle 0x{number:x} of the debug object at 0x{at:x}"
                    found.append(Holder(party, index, how))
                    break
        return found

    def known(self, key: ThreadKey) -> bool:
        """Whether a thread's server was found and knows it."""
        return any(key in each.by_key for each in self.servers)

    def _lock(
        self, clients: Clients, thread: ServerThread, found: ServerObject
    ) -> tuple[Lock, tuple[object, ...]]:
        party = clients.keys[thread.address][0]
        lock = Lock(_KINDS.get(found.type, "handle"), party, None, name=found.name)
        own = [
            each.number
            for each in clients.server.handles(found.address)
            if each.process == thread.process
        ]
        handles = ", ".join(f"0x{each:x}" for each in own[:_MOST_NAMED])
        if lock.name is None and own:
            what = f"{found.type} " if lock.kind == "handle" and found.type else ""
            lock.name = f"{what}handle {handles}"
        elif lock.kind == "handle" and not found.type:
            lock.name = "message queue or another object without a type"
        lock.state = self._state(clients, found)
        self._holders(clients, found, lock, thread)
        return lock, ("object", id(clients), found.address)

    def _state(self, clients: Clients, found: ServerObject) -> str:
        objects, layout = clients.server.objects, clients.server.layout
        at = found.address + objects.start
        read = clients.server.memory.read_available
        where = f"at 0x{found.address:x} of {clients.name}"
        if found.type == "Event":
            data = read(at, layout.event.size).ljust(layout.event.size, b"\0")
            _, _, manual, signalled = layout.event.unpack(data)
            kind = "manual-reset" if manual else "auto-reset"
            return f"{kind}, {'signalled' if signalled else 'not signalled'}, {where}"
        if found.type == "Semaphore":
            data = read(at, layout.semaphore.size).ljust(layout.semaphore.size, b"\0")
            count, most = layout.semaphore.unpack(data)
            return f"count {count:,} of at most {most:,}, {where}"
        if found.type == "Thread":
            thread = clients.server.threads.get(found.address)
            name = f"Windows thread 0x{thread.tid:x}" if thread is not None else "a thread"
            return f"the end of {name}{self._of(clients, thread)}"
        if found.type == "Process":
            return f"the end of {self._program(clients, found.address)}"
        return where

    def _holders(
        self, clients: Clients, found: ServerObject, lock: Lock, own: ServerThread
    ) -> None:
        if found.type == "Mutant":
            self._owner(clients, found, lock)
        elif found.type == "Thread":
            self._held_by(clients, clients.server.threads.get(found.address), lock)
        elif found.type == "Process":
            self._ends(clients, found, lock, own)
        elif found.type in ("Event", "Semaphore", "Timer"):
            lock.unknown = self._who_may(clients, found, lock)
        elif found.type == "KeyedEvent":
            lock.unknown = "a keyed event has no holder: any thread may release its key"
        else:
            lock.unknown = "who will end this wait, wineserver does not say"

    def _owner(self, clients: Clients, found: ServerObject, lock: Lock) -> None:
        owned = clients.server.owner(found.address)
        if owned is None:
            lock.unknown = "nobody owns it at this moment"
            return
        thread, count = owned
        times = "once" if count == 1 else f"{count:,} times"
        lock.state = f"owned {times}, {lock.state}"
        how = f"{clients.name}: Windows thread 0x{thread.tid:x} owns it, {times}"
        self._held_by(clients, thread, lock, how)

    def _held_by(
        self, clients: Clients, thread: ServerThread | None, lock: Lock, how: str = ""
    ) -> None:
        if thread is None:
            lock.unknown = "its thread has ended"
            return
        key = clients.keys.get(thread.address)
        how = how or f"{clients.name}: the handle is of Windows thread 0x{thread.tid:x}"
        if key is not None:
            lock.holders = [Holder(*key, how)]
            return
        name = f"Windows thread 0x{thread.tid:x}{self._of(clients, thread)}"
        lock.unknown = f"{name} holds it, which is no thread of the targets"

    def _ends(
        self, clients: Clients, found: ServerObject, lock: Lock, own: ServerThread
    ) -> None:
        """A process ends with its last thread, or when any of them ends it.

        A thread that waits for its own process waits for whatever the others do.
        """
        keys = [
            clients.keys[each.address]
            for each in clients.server.threads.values()
            if each.process == found.address != own.process and each.address in clients.keys
        ]
        single = len(keys) == 1
        how = f"{clients.name}: the handle is of its process"
        lock.holders = [Holder(*key, how, certain=single) for key in keys]
        if not keys and found.address not in clients.parties:
            lock.unknown = f"{self._program(clients, found.address)} is none of the targets"
        elif not single:
            lock.unknown = "a process ends with its last thread, or when any of them ends it"

    def _who_may(self, clients: Clients, found: ServerObject, lock: Lock) -> str:
        """An event has no holder; but only who has a handle with that right can set it."""
        processes = dict.fromkeys(
            each.process
            for each in clients.server.handles(found.address)
            if each.access & _MODIFY
        )
        verb, what = ("set", "an event") if found.type == "Event" else ("release", "a semaphore")
        if found.type == "Timer":
            verb, what = "set", "a timer"
        names = [self._program(clients, each) for each in list(processes)[:_MOST_NAMED]]
        if len(processes) > _MOST_NAMED:
            names.append(f"{len(processes) - _MOST_NAMED} more")
        if not names:
            return f"{what} has no holder, and no process has a handle that may {verb} it"
        return f"{what} has no holder; handles that may {verb} it are in {' and '.join(names)}"

    def _of(self, clients: Clients, thread: ServerThread | None) -> str:
        return f" of {self._program(clients, thread.process)}" if thread is not None else ""

    def _program(self, clients: Clients, process: int) -> str:
        pid = clients.pid(process)
        name = clients.server.program(process) or "a process"
        return f"{name} (process {pid})" if pid is not None else name
