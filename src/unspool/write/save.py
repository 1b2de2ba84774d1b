"""Writes a file so that nobody ever sees half of it."""

from __future__ import annotations

import errno
import os
import stat

from unspool.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.cursor import Buffer

# What a process had in its memory is its user's business, as a core is.
_MODE = 0o600
# A file system, a quota or a limit of the process.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PIECE = 1 << 20
_OPENED = "/proc/self/fd"


def save(path: str, chunks: Iterable[Buffer]) -> int:
    """Writes the chunks to a file, which appears whole or not at all, and gives its size.

    The file has no name while it is written, so that not even SIGKILL leaves any of it; where
    the file system cannot do that, it has another name, which is removed on errors. What is no
    regular file, a pipe for example, is written to as it is. Raises `InputError`.
    """
    try:
        if _is_special(path):
            with open(path, "wb", buffering=0) as file:
                return _write(file.fileno(), chunks)
        return _save_whole(path, chunks)
    except OSError as error:
        hint = ""
        if error.errno in FULL:
            hint = "make room or write elsewhere; nothing was left behind"
        raise InputError(f"{path} cannot be written: {error.strerror}", hint) from None


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _save_whole(path: str, chunks: Iterable[Buffer]) -> int:
    # A link is followed: it is its target that shall be replaced.
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(_OPENED):
        return _save_named(path, chunks)
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, _MODE)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        return _save_named(path, chunks)
    try:
        size = _write(fd, chunks)
        _give_name(fd, path)
    finally:
        os.close(fd)
    return size


def _give_name(fd: int, path: str) -> None:
    """Links a file without a name to a path, in place of whatever is there.

    Python calls linkat(2) with AT_SYMLINK_FOLLOW, which open(2) says to use here, only if it is
    given a directory; else it calls link(2), which would link the link in /proc itself. The
    directory means nothing to an absolute path.
    """
    opened = f"{_OPENED}/{fd}"
    try:
        os.link(opened, path, src_dir_fd=fd)
    except FileExistsError:
        other = f"{path}.{os.getpid()}.tmp"
        os.link(opened, other, src_dir_fd=fd)
        try:
            os.replace(other, path)
        except OSError:
            os.unlink(other)
            raise


def _save_named(path: str, chunks: Iterable[Buffer]) -> int:
    other = f"{path}.{os.getpid()}.tmp"
    fd = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        try:
            size = _write(fd, chunks)
        finally:
            os.close(fd)
        os.replace(other, path)
    except BaseException:
        os.unlink(other)
        raise
    return size


def _write(fd: int, chunks: Iterable[Buffer]) -> int:
    """Writes all chunks; small ones together, since each call costs some microseconds."""
    size = 0
    pending: list[Buffer] = []
    waiting = 0
    for chunk in chunks:
        if len(chunk) >= _PIECE:
            size += _write_all(fd, b"".join(pending)) + _write_all(fd, chunk)
            pending, waiting = [], 0
            continue
        pending.append(chunk)
        waiting += len(chunk)
        if waiting >= _PIECE:
            size += _write_all(fd, b"".join(pending))
            pending, waiting = [], 0
    return size + _write_all(fd, b"".join(pending))


def _write_all(fd: int, data: Buffer) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)
