"""The bytes of a target: a file as it is, or what a compressed one unpacks to.

Whatever comes in, the other layers see one read-only mapping. A plain file is mapped and
nothing else. Compressed data and standard input are unpacked once, in bounded memory,
into a sparse file without a name (`spool`).

A mapped file that shrinks while we read it (a new core of the same name that the kernel
writes over it, a disk that fails) ends the process with SIGBUS: Python cannot turn that
into an exception. Reading instead of mapping would cost every walk for the sake of a rare
case, and a lease on the file would hold up the program that writes it, so it stays so.
"""

from __future__ import annotations

import os
import stat
from mmap import ACCESS_READ, MADV_RANDOM, mmap

from unspool.errors import InputError
from unspool.targets.input.magic import HEAD, compression_of, is_skippable, refuse_foreign, sniff

__all__ = ["Source", "open_source", "sniff"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[int], None]


_BLOCK = 512  # bytes of st_blocks, whatever the file system's are


class Source:
    """A target's bytes: `buffer`, of `size` bytes. `name` is its path for messages.

    `compression` is "", "zstd", "lz4", "xz" or "gzip". `truncated` says in words what of
    compressed data is lost, "" if nothing; `notes` are oddities that lose nothing.
    """

    __slots__ = ("_fd", "buffer", "compression", "name", "notes", "path", "size", "truncated")

    def __init__(self, path: str, buffer: mmap, compression: str = "", fd: int = -1) -> None:
        """`fd` is a descriptor of the file that is mapped, if there is one; it becomes ours."""
        self._fd = fd
        self.path = path
        self.name = "standard input" if path == "-" else _shown(path)
        self.buffer = buffer
        self.size = len(buffer)
        self.compression = compression
        self.truncated = ""
        self.notes: list[str] = []

    @property
    def kind(self) -> str:
        """What the bytes are: see `sniff`."""
        return sniff(self.buffer)

    def peek(self, offset: int, size: int) -> bytes:
        """A few bytes for a look, without what lies around them; fewer at the end.

        Where a mapped page is touched, the kernel maps all that it has of the file around it:
        64 KB, and since Linux 6.18 as much as it once read in one piece, which can be 2 MB. A
        look at the first bytes of hundreds of segments should not take a hundred megabytes.
        """
        if self._fd < 0:
            return self.buffer[offset : offset + size]
        try:
            return os.pread(self._fd, size, offset)
        except (OSError, OverflowError):
            return b""

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Gives up the mapping; if somebody still holds a view of it, with the last view."""
        self.__del__()
        try:
            self.buffer.close()
        except BufferError:
            return

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def open_source(path: str, progress: Progress | None = None) -> Source:
    """Opens the file `path`, or standard input for "-", and unpacks it if it is compressed.

    `progress` is called with the number of bytes unpacked so far, every 4 MiB. Raises
    `InputError` for anything but a regular file with content, `MissingDependency` if a
    library for its compression is not installed.
    """
    if path == "-":
        return _open_standard_input(progress)
    name = _shown(path)
    fd = _open_regular(path, name)
    try:
        return _from_regular(fd, name, path, progress)
    finally:
        os.close(fd)


def _shown(path: str) -> str:
    return path if path.isprintable() else ascii(path)


def _open_regular(path: str, name: str) -> int:
    # Looking comes before opening, which is no innocent act for a device: it rewinds a
    # tape and arms a watchdog. O_NONBLOCK is for what takes the file's place in between.
    try:
        _check_regular(os.stat(path), name)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise _cannot_open(error, name) from None
    try:
        _check_regular(os.fstat(fd), name)
    except InputError:
        os.close(fd)
        raise
    return fd


def _cannot_open(error: OSError | ValueError, name: str) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(
            f"{name} does not exist",
            "where this system puts cores: cat /proc/sys/kernel/core_pattern, coredumpctl list",
        )
    if isinstance(error, PermissionError):
        return InputError(
            f"{name} may not be read: permission denied", "run as the file's owner or with sudo"
        )
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(f"{name} cannot be opened: {reason}")


def _check_regular(info: os.stat_result, name: str) -> None:
    mode = info.st_mode
    if stat.S_ISDIR(mode):
        raise InputError(f"{name} is a directory", "give one core file inside of it")
    if stat.S_ISFIFO(mode):
        raise InputError(f"{name} is a pipe", f"read it from standard input: unspool … - < {name}")
    if not stat.S_ISREG(mode):
        what = "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise InputError(f"{name} is {what}, not a file", "give a core file")
    if not info.st_size:
        raise InputError(
            f"{name} is empty", "was the disk full, or `ulimit -c` 0, when it was written?"
        )


def _from_regular(fd: int, name: str, path: str, progress: Progress | None) -> Source:
    try:
        head = os.pread(fd, HEAD, 0)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    if compression_of(head) or is_skippable(head):
        unpacked = _unpacked(fd, name, path, progress)
        if unpacked:
            return unpacked
    refuse_foreign(head, name)
    try:
        buffer = mmap(fd, 0, access=ACCESS_READ)
        status = os.fstat(fd)
        if status.st_blocks * _BLOCK < status.st_size // 2:
            # Full of holes, as most of what Wine reserves is. Reading ahead would fill memory
            # with zeros, megabytes for each page that is wanted.
            buffer.madvise(MADV_RANDOM)
        return Source(path, buffer, fd=os.dup(fd))
    except (OSError, ValueError, OverflowError) as error:
        # Some files of /proc say that they are regular and cannot be mapped.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{name} cannot be mapped: {reason}", "check `ulimit -v`") from None


def _unpacked(
    fd: int, name: str, path: str, progress: Progress | None, *, plain: bool = False
) -> Source | None:
    from unspool.targets.input.unpack import unpack

    result = unpack(fd, name, progress, plain=plain)
    if result is None:
        return None
    source = Source(path, result.buffer, result.compression)
    source.truncated = result.truncated
    source.notes = result.notes
    return source


def _open_standard_input(progress: Progress | None) -> Source:
    name = "standard input"
    try:
        info = os.fstat(0)
        is_file = stat.S_ISREG(info.st_mode) and os.lseek(0, 0, os.SEEK_CUR) == 0
        is_terminal = os.isatty(0)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    if is_file:
        _check_regular(info, name)
        return _from_regular(0, name, "-", progress)
    if is_terminal:
        raise InputError(f"{name} is a terminal", "give a file, or pipe a core in")
    source = _unpacked(0, name, "-", progress, plain=True)
    assert source is not None
    return source
