"""Locks of files, which the kernel keeps: /proc/locks says who holds them, for live processes."""

from __future__ import annotations

import os

from unspool.analyses.locks.records import Holder, Lock
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unspool.analyses.locks.process import Examined
    from unspool.analyses.locks.syscalls import Syscall

_MOST_LINES = 100_000
_MOST_FILES = 10_000
_OPEN_FILE = "OFDLCK"
# F_SETLKW, F_SETLKW64 (i386), F_OFD_SETLKW
_FCNTL_WAITS = {7: "POSIX", 14: "POSIX", 38: _OPEN_FILE}


class FileLock(Record):
    """A line of /proc/locks: `pid` holds it, or waits for it if `waits`; -1 is an open file's.

    `id` is the number that a lock shares with those who wait for it.
    """

    __slots__ = ("file", "id", "kind", "mode", "pid", "range", "waits")

    def __init__(
        self, id_: int, kind: str, mode: str, pid: int, file: tuple[int, int], range_: str,
        waits: bool,
    ) -> None:  # fmt: skip
        self.id = id_
        self.kind = kind
        self.mode = mode
        self.pid = pid
        self.file = file
        self.range = range_
        self.waits = waits


def parse_locks(text: bytes) -> list[FileLock]:
    """/proc/locks (proc_locks(5)); lines that break the format are left out."""
    found = []
    for line in text.splitlines()[:_MOST_LINES]:
        fields = line.decode("ascii", "replace").split()
        waits = len(fields) > 1 and fields[1] == "->"
        if waits:
            del fields[1]
        try:
            number, kind, _, mode, pid, where, start, end = fields[:8]
            major, minor, inode = where.split(":")
            device = os.makedev(int(major, 16), int(minor, 16))
            found.append(
                FileLock(
                    int(number.rstrip(":")), kind, mode, int(pid), (device, int(inode)),
                    f"{start}–{end}", waits,
                )
            )  # fmt: skip
        except ValueError:
            continue
    return found


def read_locks() -> bytes:
    """What the kernel says of all files' locks; empty if it does not."""
    try:
        descriptor = os.open("/proc/locks", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def waited_for(
    locks: Iterable[FileLock], pid: int, kind: str, inode: int | None = None
) -> tuple[FileLock, FileLock] | None:
    """What a process waits for: its own line and the holder's. `kind` is as in /proc/locks.

    `inode` is of the file that it waits for, if that is known: threads may wait for several. Locks
    of open files (OFDLCK) have no process: there the file alone decides.
    """
    ordered = list(locks)
    held = {each.id: each for each in ordered if not each.waits}
    for each in ordered:
        is_own = inode is not None if kind == _OPEN_FILE else each.pid == pid
        same = inode is None or each.file[1] == inode
        if each.waits and is_own and same and each.kind == kind and each.id in held:
            return each, held[each.id]
    return None


class FileWaits:
    """Threads' waits for locks of files. /proc/locks is read when the first one is asked for."""

    def __init__(self, processes: Sequence[Examined]) -> None:
        self.processes = processes
        self._locks: list[FileLock] | None = None

    def lock(self, process: Examined, call: Syscall) -> tuple[Lock, tuple[object, ...]] | None:
        """What a thread in fcntl or flock waits for; None if that call does not wait."""
        kind = "FLOCK"
        if call.name == "fcntl":
            kind = _FCNTL_WAITS.get(call.arguments[1], "")
        if not kind:
            return None
        lock = Lock("file_lock", process.index, None)
        live = process.target.live_process()
        key = process.index, "file", call.evidence
        if live is None:
            lock.unknown = "only /proc/locks of the running system says who holds it"
            return lock, key
        if self._locks is None:
            self._locks = parse_locks(read_locks())
        descriptor = call.arguments[0]
        found = waited_for(self._locks, live.pid, kind, _inode(f"{live.path}/fd/{descriptor}"))
        if found is None:
            lock.unknown = "/proc/locks does not say who holds it"
            return lock, key
        path = live.link(f"fd/{descriptor}") or "a file"
        lock.shared = f"{path}, bytes {found[1].range}"
        lock.state = f"{kind} {found[1].mode}"
        if kind == _OPEN_FILE:
            self._hold_open(lock, found[1])
        else:
            lock.state += f", held by process {found[1].pid}"
            holders = [each for each in self._running() if each.target.info.pid == found[1].pid]
            self._hold(lock, holders, f"/proc/locks: process {found[1].pid} holds it")
            if not holders:
                lock.unknown = f"process {found[1].pid} holds it, which is none of the targets"
        return lock, ("file", found[1].id)

    def _running(self) -> list[Examined]:
        return [each for each in self.processes if each.target.info.kind == "live"]

    def _hold(self, lock: Lock, processes: Sequence[Examined], how: str) -> None:
        """Locks of files belong to processes: which thread's they are, nobody says."""
        keys = [(each.index, own.index) for each in processes for own in each.target.threads]
        lock.holders = [Holder(*key, how, certain=len(keys) == 1) for key in keys]
        if len(keys) > 1:
            lock.unknown = "locks of files belong to processes, not to threads"

    def _hold_open(self, lock: Lock, held: FileLock) -> None:
        """A lock of an open file is whose process has it open: its fdinfo names the lock."""
        holders = [each for each in self._running() if _has_open_lock(each, held)]
        self._hold(lock, holders, "/proc/PID/fdinfo: the lock is of a file that it has open")
        if not holders:
            lock.unknown = "an open file holds it, which none of the targets has"


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _has_open_lock(process: Examined, held: FileLock) -> bool:
    live = process.target.live_process()
    if live is None:
        return False
    try:
        names = os.listdir(f"{live.path}/fdinfo")[:_MOST_FILES]
    except OSError:
        return False
    for name in names:
        text = live.read(f"fdinfo/{name}") or b""
        lines = [line.partition(b":")[2] for line in text.splitlines() if line[:5] == b"lock:"]
        for each in parse_locks(b"\n".join(lines)):
            if (each.kind, each.file[1], each.range) == (held.kind, held.file[1], held.range):
                return True
    return False
