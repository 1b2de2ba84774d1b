"""What a target knows of its process beside memory and threads, as Linux words it.

A minidump of Linux carries these as streams, most of them as the text that /proc shows.
"""

from __future__ import annotations

import os
from stat import S_ISREG

from unspool.formats import notes
from unspool.record import Record
from unspool.targets.link_map import r_debug_address, read_linker
from unspool.targets.live.procfs import read_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.memory import Memory
    from unspool.targets.base import Target
    from unspool.targets.link_map import Linker

_MAX_NAMES = 1_000_000
# What is called like this is a dynamic linker of glibc's or musl's.
_LINKERS = ("ld-linux", "ld-musl", "ld.so", "ld-2.")


class Facts(Record):
    """Facts of a process; None, or empty, is what is not known.

    As bytes and as files of /proc/PID: `auxv`, `maps`, `command_line` and `environ` (strings
    with a NUL behind each), `status` (maybe some of its lines alone). `cpu_info` is
    /proc/cpuinfo, `lsb_release` the text that names the distribution.

    `linker` is what the dynamic linker says of itself. `thread_names` maps thread ids to
    names. `version` is the kernel's as three numbers, `system` all that uname(1) tells:
    "Linux", release, version, machine. `times` are the moment in which the process started,
    and what it has used of user and system time, in seconds.
    """

    __slots__ = (
        "auxv", "command_line", "cpu_info", "environ", "linker", "lsb_release", "maps", "status",
        "system", "thread_names", "times", "version",
    )  # fmt: skip

    def __init__(
        self,
        *,
        auxv: bytes | None = None,
        maps: bytes | None = None,
        command_line: bytes | None = None,
        environ: bytes | None = None,
        status: bytes | None = None,
        cpu_info: bytes | None = None,
        lsb_release: bytes | None = None,
        linker: Linker | None = None,
        thread_names: dict[int, str] | None = None,
        version: tuple[int, int, int] | None = None,
        system: str | None = None,
        times: tuple[int, int, int] | None = None,
    ) -> None:
        self.auxv = auxv
        self.maps = maps
        self.command_line = command_line
        self.environ = environ
        self.status = status
        self.cpu_info = cpu_info
        self.lsb_release = lsb_release
        self.linker = linker
        self.thread_names = thread_names or {}
        self.version = version
        self.system = system
        self.times = times


class ProcDirectory:
    """A directory with files as in /proc/PID that somebody kept, or one of /proc itself."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        """The whole of one of its files; None if that is none, or empty."""
        return read_text(os.path.join(self.path, name)) or None

    def names(self) -> Iterator[tuple[int, str]]:
        """The threads' ids and names, if they were kept as well."""
        try:
            listed = os.listdir(os.path.join(self.path, "task"))
        except OSError:
            return
        for name in listed[:_MAX_NAMES]:
            text = self.read(f"task/{name}/comm") if name.isdecimal() else None
            if text:
                yield int(name), text.rstrip(b"\n").decode("utf-8", "replace")


def read_text(path: str) -> bytes | None:
    """The whole of a regular file, whose size /proc does not tell; None for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        return read_whole(descriptor) if S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


def lsb_release(find: Callable[[str], str | None]) -> bytes | None:
    """What names the distribution. `find` says where a path of the process's root leads to.

    Most systems have no /etc/lsb-release any more; os-release(5) tells the same.
    """
    for name in ("/etc/lsb-release", "/etc/os-release"):
        path = find(name)
        text = read_text(path) if path else None
        if text:
            return text
    return None


def find_linker(target: Target, memory: Memory, auxv: dict[int, int]) -> Linker | None:
    """The dynamic linker's structure, by the program, else by the linker's own variable.

    Situation: Wine's preloader is a static program, which loads Wine's and its linker by
    itself. The kernel's auxiliary vector, which cores hold, goes on telling of the preloader.
    """
    word = target.arch.pointer_size
    phdr, count = auxv.get(notes.AT_PHDR, 0), auxv.get(notes.AT_PHNUM, 0)
    address = r_debug_address(memory, phdr, count, word, None) if phdr else 0
    found = read_linker(memory, address, word) if address else None
    if found is not None:
        return found
    for module in target.modules:
        if module.kind == "elf" and module.name.startswith(_LINKERS):
            address = target.symbol(module, "_r_debug") or 0
            found = read_linker(memory, address, word) if address else None
            if found is not None:
                return found
    return None
