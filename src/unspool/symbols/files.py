"""Files on this machine that may belong to the target: opened safely, found by build id."""

from __future__ import annotations

import os
from mmap import ACCESS_READ, mmap
from stat import S_ISREG

from unspool.errors import FormatError
from unspool.formats.elf import Elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Files looked at in one --symbols directory.
_MAX_FILES = 50_000


def map_file(path: str) -> mmap | None:
    """A regular file's bytes, mapped read-only; None for anything else, or an empty one.

    A dump names files as it likes: a FIFO would block us, a device could do anything.
    O_NONBLOCK makes opening these return, and the check follows on what was opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(fd)
        if not S_ISREG(status.st_mode) or status.st_size == 0:
            return None
        return mmap(fd, 0, access=ACCESS_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)


def open_elf(path: str) -> Elf | None:
    """The ELF file at `path`, or None if there is none that can be read."""
    buffer = map_file(path)
    if buffer is None:
        return None
    try:
        return Elf(buffer)
    except FormatError:
        buffer.close()
        return None


def under_sysroot(sysroot: str, path: str) -> str | None:
    """`path` inside `sysroot`, or None if it would lead out of it.

    Symbolic links are followed as the target would: absolute ones start at the sysroot.
    """
    root = os.path.realpath(sysroot)
    current = root
    parts = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    for _ in range(4096):
        if not parts:
            return current
        part = parts.pop()
        if part == "..":
            current = root if current == root else os.path.dirname(current)
            continue
        step = os.path.join(current, part)
        try:
            link = os.readlink(step)
        except (OSError, ValueError):
            current = step
            continue
        if link.startswith("/"):
            current = root
        parts.extend(part for part in reversed(link.split("/")) if part not in ("", "."))
    return None


class SymbolPaths:
    """The directories and files that the user gave with `--symbols`, indexed once."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = tuple(paths)
        self._by_id: dict[str, list[str]] | None = None
        self._by_name: dict[str, list[str]] = {}
        self._elfs: list[str] = []

    def by_build_id(self, build_id: str) -> Iterator[str]:
        """Files with that build id: `.build-id` trees first, then any file that has it.

        The directories are searched through only if the trees were not enough.
        """
        for path in self.paths:
            for tree in (path, os.path.join(path, ".build-id")):
                for suffix in (".debug", ""):
                    candidate = os.path.join(tree, build_id[:2], build_id[2:] + suffix)
                    if os.path.isfile(candidate):
                        yield candidate
        self._index()
        assert self._by_id is not None
        yield from self._by_id.get(build_id, [])

    def by_name(self, name: str) -> list[str]:
        """Files whose last path component is `name`."""
        self._index()
        return self._by_name.get(name, [])

    def all_elfs(self) -> list[str]:
        """Every ELF file there is."""
        self._index()
        return self._elfs

    def _index(self) -> None:
        if self._by_id is not None:
            return
        self._by_id = {}
        for path in self._files():
            elf = open_elf(path)
            if elf is None:
                continue
            self._elfs.append(path)
            self._by_name.setdefault(os.path.basename(path), []).append(path)
            build_id = elf.build_id()
            if build_id:
                self._by_id.setdefault(build_id, []).append(path)

    def _files(self) -> Iterator[str]:
        count = 0
        for root in self.paths:
            if os.path.isfile(root):
                yield root
                continue
            for folder, folders, names in os.walk(root):
                folders.sort()
                for name in sorted(names):
                    count += 1
                    if count > _MAX_FILES:
                        return
                    yield os.path.join(folder, name)
