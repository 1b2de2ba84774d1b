"""A temporary file that takes a stream of bytes and stores no page of zeros.

A core of 2 GB is mostly zero pages. They become holes of the file, so that unpacking it
costs the disk and the page cache no more than what is really in it. The file has no name
from the start: it is gone with the process, however that ends.

Bytes go in through `pwrite` and never through a mapping: pages that were touched through
a mapping count as memory of this process, pages that were written do not.
"""

from __future__ import annotations

import os
from mmap import ACCESS_READ, mmap

from unspool.errors import InputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = 4096
_ZERO_PAGE = bytes(_PAGE)
_ZEROS = bytes(128 << 10)

LIMIT_VARIABLE = "UNSPOOL_SPOOL_LIMIT"
_DEFAULT_LIMIT = 64 << 30
# A disk that we fill stops other programs. On a small one a quarter of what is free stays.
_SPARE = 256 << 20
_LEAST_ROOM = 1 << 20


class Full(Exception):
    """The spool takes no more; what it holds so far is good. The text says why."""


class Spool:
    """An unnamed sparse file that grows at its end.

    `size` is the number of bytes in it, `stored` the number of those that take space.
    """

    __slots__ = ("_fd", "_limit", "_why", "directory", "size", "stored")

    def __init__(self) -> None:
        """Raises `InputError` if there is no directory to write to."""
        self._fd, self.directory, room = _open_unnamed()
        chosen = _chosen_limit()
        if chosen <= room:
            self._limit = chosen
            self._why = f"{chosen:,} bytes are stored, as many as {LIMIT_VARIABLE} allows"
        else:
            self._limit = room
            self._why = f"no more room in {self.directory}; TMPDIR can name another directory"
        self.size = 0
        self.stored = 0

    def write(self, data: bytes) -> None:
        """Appends `data`; its pages of zeros are left out. Raises `Full`.

        After `Full` the spool holds `data` up to the point that could not be stored.
        """
        # `startswith` compares in place; slicing or a loop over bytes would take longer
        # than the decompression.
        if _ZEROS.startswith(data):
            self.size += len(data)
            return
        start = self.size
        view = memoryview(data)
        for low, high in _filled_runs(data, -start % _PAGE):
            self.size = start + low
            self._store(view[low:high])
        self.size = start + len(data)

    def _store(self, data: memoryview) -> None:
        if self.stored + len(data) > self._limit:
            raise Full(self._why)
        while data:
            try:
                written = os.pwrite(self._fd, data, self.size)
            except OSError as error:
                raise Full(f"{self.directory}: {error.strerror}") from None
            self.size += written
            self.stored += written
            data = data[written:]

    def read(self, offset: int, size: int) -> bytes:
        """Bytes that were written before; fewer than `size` only at the end."""
        size = max(0, min(size, self.size - offset))
        # A hole at the end is not part of the file yet.
        return os.pread(self._fd, size, offset).ljust(size, b"\0")

    def map(self) -> mmap:
        """All bytes as a read-only mapping, which keeps the file alive; ends the writing."""
        try:
            os.ftruncate(self._fd, self.size)
            return mmap(self._fd, self.size, access=ACCESS_READ)
        except OSError as error:
            raise InputError(
                f"cannot map {self.size:,} unpacked bytes in {self.directory}: {error.strerror}",
                "check `ulimit -f` and `ulimit -v`, or set TMPDIR to a larger file system",
            ) from None
        finally:
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _filled_runs(data: bytes, lead: int) -> Iterator[tuple[int, int]]:
    """The ranges of `data` that are not zero, cut at page borders of the file.

    The first page border lies `lead` bytes into `data`: pieces of a stream come in any
    size, and only whole pages of the file can be holes.
    """
    size = len(data)
    position, run = 0, -1
    while position < size:
        end = min(position + (lead or _PAGE), size)
        lead = 0
        if end - position == _PAGE:
            empty = data.startswith(_ZERO_PAGE, position)
        else:
            empty = _ZERO_PAGE.startswith(data[position:end])
        if not empty:
            if run < 0:
                run = position
        elif run >= 0:
            yield run, position
            run = -1
        position = end
    if run >= 0:
        yield run, size


def _chosen_limit() -> int:
    text = os.environ.get(LIMIT_VARIABLE)
    if not text:
        return _DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(
            f"{LIMIT_VARIABLE} is {text!r}, which is no number of bytes",
            f"for example {LIMIT_VARIABLE}={8 << 30} for 8 GiB",
        )
    return int(text)


def _directories() -> list[str]:
    """Where to put the file, best first.

    /var/tmp comes before /tmp, which many systems keep in memory: there the file would
    take the very memory that unpacking to a file saves. /dev/shm is memory too, and often
    the only writable place in a container with a read-only root.
    """
    chosen = os.environ.get("TMPDIR")
    return [*([chosen] if chosen else []), "/var/tmp", "/tmp", "/dev/shm"]


def _open_unnamed() -> tuple[int, str, int]:
    """(descriptor, directory, bytes that may be stored there) of the first fit directory."""
    for directory in _directories():
        try:
            fd = _open_unnamed_in(directory)
        except OSError:
            continue
        room = _room(fd)
        if room >= _LEAST_ROOM:
            return fd, directory, room
        os.close(fd)
    raise InputError(
        f"no directory with room to unpack into (tried {', '.join(_directories())})",
        "set TMPDIR to a writable directory",
    )


def _open_unnamed_in(directory: str) -> int:
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # Not every file system has O_TMPFILE (NFS, older overlayfs).
        path = os.path.join(directory, f".unspool-{os.urandom(12).hex()}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        os.unlink(path)
        return fd


def _room(fd: int) -> int:
    try:
        info = os.fstatvfs(fd)
    except OSError:
        return _DEFAULT_LIMIT
    if not info.f_blocks:  # the file system does not tell
        return _DEFAULT_LIMIT
    free = info.f_bavail * info.f_frsize
    return free - min(free // 4, _SPARE)
