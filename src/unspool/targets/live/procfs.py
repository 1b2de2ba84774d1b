"""What /proc tells of a process, read through one descriptor of its directory.

The descriptor stays with the process: when that ends and its id is given to another one,
reads fail instead of telling about the other one.
"""

from __future__ import annotations

import os
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_TEXT = 256 << 20
_CHUNK = 64 << 10


class Mapping:
    """A line of maps: `[start, end)`, "rwxp", and the mapped file, if it is one."""

    __slots__ = ("device", "end", "inode", "offset", "path", "permissions", "start")

    def __init__(
        self,
        start: int,
        end: int,
        permissions: str,
        offset: int,
        device: int,
        inode: int,
        path: str,
    ) -> None:
        self.start = start
        self.end = end
        self.permissions = permissions
        self.offset = offset
        self.device = device
        self.inode = inode
        self.path = path

    @property
    def readable(self) -> bool:
        return self.permissions[0] == "r"

    @property
    def writable(self) -> bool:
        return self.permissions[1] == "w"

    @property
    def executable(self) -> bool:
        return self.permissions[2] == "x"

    @property
    def is_file(self) -> bool:
        """Whether it maps a file that has a name (shared memory and memfds have one too)."""
        return self.inode != 0 and self.path.startswith("/")

    @property
    def file_number(self) -> int:
        """What tells its file from all others, whatever their names: device and inode; 0 if none.

        Inodes alone do not: each container's /dev/shm counts its files from 2 on.
        """
        return self.device << 64 | self.inode if self.inode else 0


class Maps:
    """The mappings of a process, by address. `main_stack` is the first thread's stack."""

    __slots__ = ("_starts", "main_stack", "mappings")

    def __init__(self, mappings: Sequence[Mapping]) -> None:
        self.mappings = mappings
        self._starts = [mapping.start for mapping in mappings]
        stacks = [(each.start, each.end) for each in mappings if each.path == "[stack]"]
        self.main_stack = stacks[0] if stacks else None

    @property
    def shared(self) -> list[tuple[int, int, str, int, int]]:
        """Those that processes share: start, end, path, the file's number, offset."""
        return [
            (each.start, each.end, each.path, each.file_number, each.offset)
            for each in self.mappings
            if each.permissions[3:] == "s"
        ]

    def at(self, address: int) -> Mapping | None:
        """The mapping that contains an address."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self.mappings[index].end:
            return self.mappings[index]
        return None


def parse_maps(text: bytes) -> Maps:
    """/proc/PID/maps (proc_pid_maps(5)); lines that break the format are left out."""
    mappings = []
    for line in text.split(b"\n"):
        fields = line.split(None, 5)
        if len(fields) < 5:
            continue
        try:
            low, high = fields[0].split(b"-")
            major, minor = fields[3].split(b":")
            # Line feeds in names are escaped, and nothing else is, the backslash neither.
            path = os.fsdecode(fields[5].replace(b"\\012", b"\n")) if len(fields) > 5 else ""
            device = os.makedev(int(major, 16), int(minor, 16))
            mapping = Mapping(
                int(low, 16), int(high, 16), fields[1].decode("ascii"), int(fields[2], 16),
                device, int(fields[4]), path,
            )  # fmt: skip
        except ValueError:
            continue
        mappings.append(mapping)
    return Maps(mappings)


def read_whole(descriptor: int) -> bytes | None:
    """What is left of an open file, whose size /proc does not tell; None if it cannot be read."""
    parts = []
    size = 0
    try:
        while size < _MAX_TEXT and (part := os.read(descriptor, _CHUNK)):
            parts.append(part)
            size += len(part)
    except OSError:
        return None
    return b"".join(parts)


class Process:
    """The directory of a process. Every method answers None once the process is gone.

    Raises `OSError` if there is no such process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.path = f"/proc/{pid}"
        self._folder = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._tasks = -1

    def look_through(self, tid: int) -> None:
        """Asks by one of its threads from now on. Raises `OSError`.

        Situation: main() ended with pthread_exit, other threads go on. The process's own
        files then tell of a thread that has no memory, no root and no program any more.
        """
        folder = os.open(f"/proc/{tid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.close(self._folder)
        self._folder = folder
        self.path = f"/proc/{tid}"

    def close(self) -> None:
        for descriptor in (self._folder, self._tasks):
            if descriptor >= 0:
                os.close(descriptor)
        self._folder = self._tasks = -1

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of one of its files. Raises `OSError`."""
        return os.open(name, flags | os.O_CLOEXEC, dir_fd=self._folder)

    def read(self, name: str) -> bytes | None:
        """The whole of one of its files; None if it cannot be had."""
        try:
            descriptor = self.open(name)
        except OSError:
            return None
        try:
            return read_whole(descriptor)
        finally:
            os.close(descriptor)

    def link(self, name: str) -> str | None:
        """Where one of its links leads, as text."""
        try:
            return os.readlink(name, dir_fd=self._folder)
        except OSError:
            return None

    def status(self, tid: int | None = None) -> dict[str, str]:
        """The lines of `status` of the process, or of one of its threads; maybe empty."""
        text = self.read("status" if tid is None else f"task/{tid}/status") or b""
        lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
        return {name: value.strip() for name, _, value in lines}

    def name(self, tid: int | None = None) -> str | None:
        """The name of the process or of one of its threads, at most 15 bytes of it."""
        text = self.read("comm" if tid is None else f"task/{tid}/comm")
        return text.rstrip(b"\n").decode("utf-8", "replace") if text else None

    def names(self) -> dict[int, str]:
        """Its threads' names, by their ids."""
        names = ((tid, self.name(tid)) for tid in self.tasks())
        return {tid: name for tid, name in names if name}

    def state(self, tid: int) -> str | None:
        """A thread's state as one letter (proc_pid_stat(5)); None if it is gone."""
        text = self.read(f"task/{tid}/stat")
        # The name before it is in parentheses and may itself hold any, and spaces.
        after = text.rpartition(b")")[2].split() if text else []
        return after[0].decode("ascii", "replace") if after else None

    def tasks(self) -> list[int]:
        """The ids of its threads, its first one first; none if it is gone."""
        try:
            if self._tasks < 0:
                self._tasks = self.open("task", os.O_RDONLY | os.O_DIRECTORY)
            return [int(name) for name in os.listdir(self._tasks)]
        except OSError:
            return []

    def task_count(self) -> int:
        """How many threads it has; cheaper than to list them. Dead ones not yet reaped count."""
        try:
            # The kernel counts a process's threads as links of the directory, upon its own two.
            return os.fstat(self._tasks).st_nlink - 2
        except OSError:
            return 0

    def has_task(self, tid: int) -> bool:
        """Whether a thread of that id belongs to this process."""
        try:
            os.stat(str(tid), dir_fd=self._tasks)
        except OSError:
            return False
        return True
