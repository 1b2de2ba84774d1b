"""The directory of reports: files that appear whole, oldest out first when there is no room."""

from __future__ import annotations

import fcntl
import os
import stat
import time

from unspool.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.capture.config import Config
    from unspool.capture.crash import KernelCrash
    from unspool.cursor import Buffer

SUFFIXES = (".json.gz", ".dmp")

_MB = 1 << 20
_PATIENCE = 1.0
_PAUSE = 5e-3
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NoRoom(Exception):
    """The quota or the floor of free space leaves no room, in words."""


class Spool:
    """The directory. Only its owner can list it, and make or remove files."""

    def __init__(self, config: Config) -> None:
        """Makes it if need be. Raises `InputError`, or `OSError`."""
        self.path = config.text("directory")
        self.quota = config.number("quota_mb") * _MB
        self.floor = config.number("free_mb") * _MB
        self.shared = config.flag("users_may_read")
        os.makedirs(self.path, 0o700, exist_ok=True)
        status = os.stat(self.path)
        if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
            raise InputError(
                f"{self.path} belongs to another user or can be written to by others",
                "give another spool.directory, or: chown root, chmod 0700",
            )
        mode = 0o711 if self.shared else 0o700
        if stat.S_IMODE(status.st_mode) != mode:
            os.chmod(self.path, mode)

    def lock(self) -> Lock:
        """Only one process at a time makes room. It is waited for only so long."""
        return Lock(os.path.join(self.path, ".lock"))

    def place(self, crash: KernelCrash, name: str) -> str:
        """A path without its suffix, of no file that there is. `name` may be any text."""
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "_+") else "-" for c in name)
        stem = f"{crash.time}-{safe[:32] or 'crash'}-{crash.pid}"
        path, count = os.path.join(self.path, stem), 1
        while any(os.path.lexists(path + suffix) for suffix in SUFFIXES):
            count += 1
            path = os.path.join(self.path, f"{stem}-{count}")
        return path

    def save(self, path: str, data: Sequence[Buffer], crash: KernelCrash) -> None:
        """Writes a file when there is room for it. Raises `NoRoom`, `InputError`, `OSError`."""
        from unspool.write.save import save

        with self.lock():
            self.make_room(sum(len(each) for each in data))
            save(path, data)
        self.give(path, crash)

    def give(self, path: str, crash: KernelCrash) -> None:
        """Makes a file the user's who ran the program, unless it was setuid."""
        os.chmod(path, 0o600, follow_symlinks=True)
        if os.geteuid() == 0 and crash.is_users_own:
            os.chown(path, crash.uid, crash.gid, follow_symlinks=False)

    def make_room(self, size: int, keep: str = "") -> None:
        """Removes the oldest reports until a file of that size fits in. Raises `NoRoom`.

        What begins with the path `keep` stays.
        """
        if size > self.quota:
            raise NoRoom(f"{size:,} bytes are more than spool.quota_mb allows")
        entries = self.entries()
        total = sum(used for _, _, used in entries)
        for _, path, used in entries:
            if total + size <= self.quota and self.free() >= self.floor + size:
                return
            if keep and path.startswith(keep):
                continue
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
            total -= used
        if total + size > self.quota or self.free() < self.floor + size:
            raise NoRoom(f"less than spool.free_mb would be free on the disk of {self.path}")

    def entries(self) -> list[tuple[float, str, int]]:
        """(time, path, size) of the reports and minidumps, the oldest first."""
        found = []
        with os.scandir(self.path) as folder:
            for entry in folder:
                if not entry.name.endswith(SUFFIXES):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                found.append((status.st_mtime, entry.path, status.st_size))
        return sorted(found)

    def free(self) -> int:
        """Bytes that are free on its file system."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize


class Lock:
    """A lock file that is held in a `with` block; after a second the block runs without it.

    A handler that hangs must not keep all others from writing. Two that make room at once
    remove a report too many, at the worst.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1

    def __enter__(self) -> Lock:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except OSError:
                if time.monotonic() > end:
                    return self
                time.sleep(_PAUSE)

    @property
    def descriptor(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
