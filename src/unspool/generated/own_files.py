"""Files that a process writes about the code that it makes, and whether they are really its own.

They lie in /tmp, where anybody can put anything, under a name made of a process id, which is
given to another process one day. A wrong name is worse than none, so a file counts that is

- a regular file, by a path without symbolic links (links in /tmp lead where an attacker likes),
- owned by the process's user or by root, and not writable for everybody,
- not older than the process, where that runs, and not newer than its core.

What the user names, and what lies in a given sysroot, is believed to be meant: there an owner or
a time says nothing. Whether a file fits the process's memory is checked by who reads it.
"""

from __future__ import annotations

import os
import time
from stat import S_ISREG, S_IWOTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.generated.code import Process

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
# Clocks of file systems are some milliseconds behind; boot time is known to a second.
_SLACK = 2.0


class Refused(Exception):
    """A file that is there and must not be believed; the words say why."""


class OwnFile:
    """A file that counts. `certain` if its place alone says that it is the process's.

    At most `limit` bytes are read. Once: its owner may write to it, or cut it.
    """

    __slots__ = ("_descriptor", "certain", "limit", "path")

    def __init__(self, path: str, descriptor: int, limit: int, certain: bool) -> None:
        self.path = path
        self.limit = limit
        self.certain = certain
        self._descriptor = descriptor

    def read(self) -> bytes:
        """Its bytes, as many as may be. Closes the file."""
        parts: list[bytes] = []
        room = self.limit
        while room > 0 and self._descriptor >= 0:
            try:
                part = os.read(self._descriptor, min(room, _CHUNK))
            except OSError:
                break
            if not part:
                break
            parts.append(part)
            room -= len(part)
        self.close()
        return b"".join(parts)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def pids_of(process: Process) -> list[int]:
    """The ids that the process may know itself by, its own first.

    In a container it has another one there, and puts that into the names of files.
    """
    found = []
    if process.live is not None:
        inner = process.live.status().get("NSpid", "").split()
        found += [int(each) for each in reversed(inner) if each.isdecimal()]
    if process.info.pid is not None:
        found.append(process.info.pid)
    return list(dict.fromkeys(found))


def given_files(process: Process, name: str, folder: str, limit: int) -> Iterator[OwnFile]:
    """Files called `name` that the user has given: itself, or a directory that has it.

    `folder` is where it lies in a system's root, below the sysroot, or in a copy of one.
    """
    places = []
    for given in process.symbols:
        if os.path.basename(given) == name:
            places.append(given)
        places += [os.path.join(given, name), os.path.join(given, folder.lstrip("/"), name)]
    if process.sysroot is not None:
        places.append(os.path.join(process.sysroot, folder.lstrip("/"), name))
    for place in places:
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | _FLAGS)
        except (OSError, ValueError):
            continue
        file = OwnFile(place, descriptor, limit, certain=False)
        if S_ISREG(os.fstat(descriptor).st_mode):
            yield file
        else:
            file.close()


def own_file(process: Process, path: str, limit: int, *, certain: bool) -> OwnFile | None:
    """The process's file of that path, as the process names it; None if there is none.

    Looks into the root of a process that runs, else into this machine's, unless a sysroot
    says that it was another machine. `certain`: of a process that runs, the path is its own.
    Raises `Refused`.
    """
    if process.live is None and process.sysroot is not None:
        return None
    try:
        descriptor = _open(process, path)
    except (OSError, ValueError):
        return None
    file = OwnFile(path, descriptor, limit, certain and process.live is not None)
    try:
        _check(process, os.fstat(descriptor))
    except Refused:
        file.close()
        raise
    return file


def _open(process: Process, path: str) -> int:
    """A descriptor of a file; no component of its path may be a link. Raises `OSError`."""
    live = process.live
    folders = os.O_PATH | os.O_DIRECTORY
    at = live.open("root", folders) if live is not None else os.open("/", folders | os.O_CLOEXEC)
    try:
        *parents, name = [part for part in path.split("/") if part]
        for parent in parents:
            below = os.open(parent, folders | _FLAGS, dir_fd=at)
            os.close(at)
            at = below
        return os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | _FLAGS, dir_fd=at)
    finally:
        os.close(at)


def _check(process: Process, status: os.stat_result) -> None:
    if not S_ISREG(status.st_mode):
        raise Refused("it is no regular file")
    owners = _owners(process)
    if status.st_uid and owners is not None and status.st_uid not in owners:
        raise Refused(f"it belongs to user {status.st_uid}, not to the process's user or root")
    if status.st_mode & S_IWOTH:
        raise Refused("everybody may write to it")
    started, captured = _started(process), _captured(process)
    if started is not None and status.st_mtime < started - _SLACK:
        raise Refused("it is older than the process")
    if captured is not None and status.st_mtime > captured + _SLACK:
        raise Refused(f"it is newer than {process.info.path}")


def _owners(process: Process) -> set[int] | None:
    if process.live is None:
        return process.owners
    return {int(uid) for uid in process.live.status().get("Uid", "").split() if uid.isdecimal()}


def _started(process: Process) -> float | None:
    """When a running process was started, in seconds since 1970."""
    text = process.live.read("stat") if process.live is not None else None
    # The name in parentheses may itself hold any, and spaces; fields count from 3 behind it.
    fields = (text or b"").rpartition(b")")[2].split()
    try:
        after_boot = int(fields[22 - 3]) / os.sysconf("SC_CLK_TCK")
    except (IndexError, ValueError, OSError):
        return None
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + after_boot


def _captured(process: Process) -> float | None:
    """When a core or a dump was written at the latest: copies can be younger."""
    if process.live is not None or process.info.path is None:
        return None
    try:
        return os.stat(process.info.path).st_mtime
    except OSError:
        return None
