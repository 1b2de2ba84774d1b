"""From targets with their walked stacks to who waits for whom."""

from __future__ import annotations

from unspool.analyses.locks.beside import by_pointer, refused
from unspool.analyses.locks.files import FileWaits
from unspool.analyses.locks.graph import deadlocks
from unspool.analyses.locks.guesses import guess_holders
from unspool.analyses.locks.handles import NOT_KNOWN, Servers
from unspool.analyses.locks.moments import doubt_ends, that_stayed, watch
from unspool.analyses.locks.process import Examined
from unspool.analyses.locks.proton import (
    descriptors_waited_for,
    fsync_object,
    is_fsync_memory,
    unknown,
)
from unspool.analyses.locks.records import Holder, Lock, LockReport, Wait
from unspool.analyses.locks.runtimes import cut, runtimes
from unspool.analyses.locks.shared import SharedMemory, agree, same_processes, stranger
from unspool.analyses.locks.syscalls import Syscall, futex_waits, syscall_of
from unspool.analyses.locks.verdicts import verdicts
from unspool.analyses.locks.words import STRANGER, UNREADABLE, Words
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.locks.frames import StackNames
    from unspool.analyses.locks.process import Backing
    from unspool.analyses.locks.records import ThreadKey
    from unspool.analyses.locks.syscalls import FutexWait
    from unspool.analyses.locks.windows import WindowsWait
    from unspool.model import Report, Stack, Thread
    from unspool.targets.base import Target


def survey(targets: Sequence[tuple[Target, Report]]) -> LockReport:
    """Who waits for whom in all these processes together.

    The reports must be of all threads. Of running processes locks are read now; a wait counts
    only if its thread has not moved meanwhile.
    """
    return _Survey(targets).run()


def is_fsync(process: Examined, wait: FutexWait) -> bool:
    """Whether a word is one of Proton's fsync: the functions on the stack say less then."""
    backing = None if wait.private else process.backing(wait.address)
    return backing is not None and is_fsync_memory(backing[0])


class _Survey:
    def __init__(self, targets: Sequence[tuple[Target, Report]]) -> None:
        self.processes = [Examined(i, *each) for i, each in enumerate(targets)]
        self.servers: Servers | None = None
        self.locks: list[Lock] = []
        self.waits: list[Wait] = []
        self.findings: list[Finding] = []
        self.by_key: dict[tuple[object, ...], int] = {}
        self.files = FileWaits(self.processes)
        self.shared = SharedMemory(self.processes)

    def run(self) -> LockReport:
        calls = [
            {
                thread.index: call
                for thread in process.target.threads
                if (call := syscall_of(process.target.space, thread)) is not None
            }
            for process in self.processes
        ]
        watch(self.processes, calls)
        self.servers = Servers(self.processes)
        for process, known in zip(self.processes, calls, strict=True):
            for thread, stack in zip(process.target.threads, process.report.stacks, strict=True):
                self.look_at(process, thread, stack, known.get(thread.index))
        self.waits, moved = that_stayed(self.processes, self.locks, self.waits)
        self.findings += moved
        doubt_ends(self.processes, self.locks)
        guess_holders(self.processes, self.locks, self.waits)
        parties = [process.party for process in self.processes]
        found = deadlocks(self.waits, self.locks)
        report = LockReport(parties, self.locks, self.waits, found, self.findings)
        self.findings += verdicts(report)
        self.findings += self.without_server()
        self.findings += self.given_twice()
        self.findings += runtimes(self.processes, self.waits)
        self.findings += [each for process in self.processes for each in cut(process)]
        return report

    def given_twice(self) -> Iterator[Finding]:
        """Says which targets are one process: what one moment has of it, another need not have."""
        for group in same_processes(self.processes):
            kinds = ", ".join(each.target.info.kind for each in group)
            yield Finding(
                "same_process",
                f"{len(group)} of the targets are the same process, {group[0].target.info.pid}: "
                f"{kinds}",
                detail="a deadlock of theirs is shown once for each; give one of them, and of all "
                "processes the same moment",
            )

    def without_server(self) -> Iterator[Finding]:
        """Says of which processes handles are not known, and what would tell."""
        for index, problem in (self.servers.problems if self.servers else {}).items():
            threads = [
                wait.thread
                for wait in self.waits
                if wait.party == index and self.locks[wait.lock].kind == "handle"
            ]
            if threads:
                who = f"{len(threads)} thread{'s wait' if len(threads) > 1 else ' waits'}"
                title = f"{who} in {self.processes[index].party.name} for what handles are of"
                yield Finding(
                    "server_missing", title, threads=threads, detail=problem, incomplete=True
                )

    # --- one thread ----------------------------------------------------------------------

    def look_at(
        self, process: Examined, thread: Thread, stack: Stack, call: Syscall | None
    ) -> None:
        names = process.names_of(stack)
        stopped = self.servers.stopped((process.index, thread.index)) if self.servers else None
        if stopped is not None:
            evidence = "wineserver has an event of its process for a debugger"
            self.add(process, thread, names, *stopped, names.functions[0], evidence)
        words = futex_waits(call, process.memory) if call is not None else []
        if process.windows is not None and not any(is_fsync(process, each) for each in words):
            found = process.windows.of(stack, names)
            by_handle = found is None or found.lock.kind == "handle"
            if by_handle and self.objects(process, thread, names, found):
                return
            if found is not None:
                if by_handle and (others := descriptors_waited_for(call, process.memory)):
                    found.lock.unknown = unknown(*others)
                key = (process.index, found.lock.kind, found.lock.address)
                if found.lock.address is None:
                    key += (thread.index,)  # type: ignore[assignment]
                self.add(process, thread, names, found.lock, key, found.function, found.evidence)
                return
        java = process.java.wait(thread.index) if words else None
        if java is not None:
            lock, at = process.java.lock(java), names.deciding()
            function = "synchronized" if java.monitor else names.functions[max(at - 1, 0)]
            timed = words[0].timed and not java.monitor
            self.add(
                process, thread, names, lock, (process.index, lock.kind, lock.address), function,
                java.evidence, timed=timed,
            )  # fmt: skip
            return
        for wait in words:
            self.futex(process, thread, names, wait, any_=len(words) > 1)
        if not words and call is not None and call.name in ("fcntl", "flock"):
            self.file_lock(process, thread, names, call)

    def objects(
        self, process: Examined, thread: Thread, names: StackNames, found: WindowsWait | None
    ) -> bool:
        """What a thread waits for by handles; False if no wineserver tells."""
        key = process.index, thread.index
        if self.servers is None:
            return False
        asked = self.servers.wait(key)
        if asked is None:
            if found is not None and self.servers.known(key):
                found.lock.unknown = "wineserver does not say that it waits: it has just been woken"
            elif found is not None:
                found.lock.unknown = self.servers.problems.get(process.index, NOT_KNOWN)
            return False
        if found is None and all(lock.kind == "handle" for lock, _ in asked.locks):
            return False  # an idle window's thread, say
        function = found.function if found is not None else names.functions[0]
        for lock, where in asked.locks:
            self.add(
                process, thread, names, lock, where, function, asked.evidence,
                timed=asked.timed, any_=asked.any,
            )  # fmt: skip
        return True

    def futex(
        self, process: Examined, thread: Thread, names: StackNames, wait: FutexWait,
        *, any_: bool = False,
    ) -> None:  # fmt: skip
        kind, function = names.waiting()
        at = wait.address
        backing = None if wait.private else process.backing(at)
        words = self.words(process, beyond=backing is not None)
        lock = None
        if backing is not None and is_fsync_memory(backing[0]):
            lock = fsync_object(wait, process.memory, process.index, self.windows_tids())
        lock = lock or self.join(process, thread, wait, kind)
        lock = lock or by_pointer(process, words, wait, kind)
        if lock is None and kind in ("mutex", None) and not (wait.value or wait.timed):
            shared = self.words(process, beyond=True)
            lock = refused(process.target, thread, wait, shared, named=kind is not None)
            if lock is not None:
                at, words = lock.address or 0, shared
                backing = process.backing(at)
        lock = lock or words.lock(wait, kind)
        if lock.state == UNREADABLE and backing is not None:
            lock = self.read_elsewhere(process, wait, kind, backing) or lock
        key: tuple[object, ...] = (process.index, lock.kind, lock.address)
        if backing is not None:
            start = backing[2] - (at - (lock.address or 0))
            key = self.shared.key(backing, start, lock.address or 0)
            lock.shared = f"{backing[0]} at offset 0x{start:x}"
            self.shared.doubt(process, thread.index, lock, backing)
            if words.stranger and lock.unknown is not None:
                found = stranger(process, words.stranger, backing)
                lock.unknown = lock.unknown.replace(STRANGER, found or STRANGER)
        self.name(process, lock)
        self.add(
            process, thread, names, lock, key, function, wait.evidence, timed=wait.timed, any_=any_
        )

    def words(self, process: Examined, *, beyond: bool) -> Words:
        """What reads a process's locks; `beyond`: their owners may be of another one."""

        def owner(tid: int) -> ThreadKey | None:
            return self.owner(process, tid, beyond)

        return Words(process.memory, process.target.arch.pointer_size, process.index, owner)

    def read_elsewhere(
        self, process: Examined, wait: FutexWait, kind: str | None, backing: Backing
    ) -> Lock | None:
        """A lock in shared memory by the words that another of the targets has of it.

        The kernel leaves memory of files out of cores, unless their filter says otherwise.
        """

        def owner(tid: int) -> ThreadKey | None:
            return self.owner(process, tid, beyond=True)

        for other in self.processes:
            address = other.address_of(backing) if other is not process else None
            if address is None:
                continue
            words = Words(other.memory, process.target.arch.pointer_size, process.index, owner)
            moved = wait.copy()
            moved.address = address
            lock = words.lock(moved, kind)
            if lock.state == UNREADABLE:
                continue
            who = f"{other.party.name}, process {other.target.info.pid}"
            lock.state += f", in {who}"
            for holder in lock.holders:
                holder.evidence += f", in {who}"
            lock.address = (lock.address or address) - address + wait.address
            return lock
        return None

    def windows_tids(self) -> dict[int, list[ThreadKey]]:
        """Threads of all processes by their Windows ids, which several prefixes may have each."""
        found: dict[int, list[ThreadKey]] = {}
        for process in self.processes:
            for thread in process.target.threads:
                if thread.windows_tid is not None:
                    found.setdefault(thread.windows_tid, []).append((process.index, thread.index))
        return found

    def join(
        self, process: Examined, thread: Thread, wait: FutexWait, kind: str | None
    ) -> Lock | None:
        """A wait for a thread's end: for its id, which the kernel clears, in its description."""
        if kind not in ("join", None):
            return None
        index = process.thread_with(wait.address)
        by_value = process.tids.get(wait.value)
        if kind is None and (wait.private or index is None or by_value != index):
            return None
        joined = by_value if by_value is not None and not wait.private else index
        if joined is None or joined == thread.index:
            return None
        tid = process.target.threads[joined].tid
        lock = Lock("join", process.index, wait.address, state=f"the end of thread {tid}")
        how = f"the word at 0x{wait.address:x} " + (
            f"is its id, {wait.value}" if joined == by_value else "is in its description"
        )
        lock.holders = [Holder(process.index, joined, how)]
        return lock

    def owner(self, process: Examined, tid: int, beyond: bool) -> ThreadKey | None:
        """The thread of an id that a lock holds; of another process if processes share it."""
        if tid in process.tids:
            return process.index, process.tids[tid]
        if not beyond:
            return None
        found = [(other.index, other.tids[tid]) for other in self.processes if tid in other.tids]
        return found[0] if found else None  # of several, see SharedMemory.doubt

    def file_lock(
        self, process: Examined, thread: Thread, names: StackNames, call: Syscall
    ) -> None:
        found = self.files.lock(process, call)
        if found is not None:
            evidence = f"{call.evidence}, file descriptor {call.arguments[0]}"
            self.add(process, thread, names, *found, call.name, evidence)

    # --- all of them ---------------------------------------------------------------------

    def add(
        self, process: Examined, thread: Thread, names: StackNames, lock: Lock,
        key: tuple[object, ...], function: str, evidence: str, *, timed: bool = False,
        any_: bool = False,
    ) -> None:  # fmt: skip
        index = self.by_key.setdefault(key, len(self.locks))
        if index == len(self.locks):
            self.locks.append(lock)
        elif key[0] == "shared":
            agree(self.locks[index], lock)
        self.waits.append(
            Wait(
                process.index, thread.index, index, function, address=lock.address,
                evidence=evidence, frame=names.deciding(), timed=timed, loader=names.loading(),
                any_=any_,
            )
        )  # fmt: skip

    def name(self, process: Examined, lock: Lock) -> None:
        """Where a lock is, and which of the dynamic linker's it is, if it is one."""
        module = process.target.space.module_at(lock.address or 0)
        if module is None or lock.kind == "join":
            return
        lock.name = f"{module.name}+0x{(lock.address or 0) - module.base:x}"
        variable = process.variable(module, lock.address or 0)
        if variable is not None:
            lock.name = f"{variable} of {module.name}"
        if module.name.startswith(("ld-linux", "ld-2.")):
            start = process.target.symbol(module, "_rtld_global")
            if start is not None and 0 <= (lock.address or 0) - start < 0x2000:
                lock.name = "the dynamic linker's lock (_rtld_global)"
