"""Locks of files, which the kernel keeps: /proc/locks says who holds them, for live processes."""

from __future__ import annotations

import os

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_LINES = 100_000


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


def waited_for(locks: Iterable[FileLock], pid: int, kind: str) -> tuple[FileLock, FileLock] | None:
    """What a process waits for by fcntl or flock: its own line and the holder's."""
    kinds = ("FLOCK",) if kind == "flock" else ("POSIX", "OFDLCK")
    ordered = list(locks)
    held = {each.id: each for each in ordered if not each.waits}
    for each in ordered:
        if each.waits and each.pid == pid and each.kind in kinds and each.id in held:
            return each, held[each.id]
    return None
