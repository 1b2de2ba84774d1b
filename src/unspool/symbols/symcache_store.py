"""A directory of symcaches: bounded in size, shared by processes, never in the way.

Every file in it can be made again, so nothing is locked: entries appear complete, by
renaming, and disappear by unlinking, which leaves those alone who have them mapped. What
cannot be written is not kept; what cannot be read is as if it were not there.

Every entry ends with a checksum of what is before it, and is checked whenever it is used:
`symbolic` trusts a symcache, and one damaged byte can make a look-up take all memory. It
takes no notice of what follows a symcache in its file.
"""

from __future__ import annotations

import os
from zlib import crc32

from unspool.symbols.files import cache_home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Protocol

    class Sink(Protocol):
        def write(self, data: bytes, /) -> int: ...


SUFFIX = ".symcache"
DEFAULT_LIMIT = 2 << 30
_TEMPORARY = ".tmp"
_MARK = b"usc1"
_TRAILER = len(_MARK) + 4
_CHUNK = 1 << 20
# A temporary file of a process that was killed; a conversion takes minutes at most.
_STALE_SECONDS = 3600


class SymcacheStore:
    """Symcaches by key in `folder`, together at most `limit` bytes. A key is a file name."""

    def __init__(self, folder: str, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = folder
        self.limit = limit

    def get(self, key: str) -> str | None:
        """The path of a whole, undamaged entry, or None. It counts as used now."""
        path = self._path(key)
        try:
            sound = _is_sound(path)
        except OSError:
            return None
        if not sound:
            _unlink(path)
            return None
        try:
            os.utime(path)
        except OSError:
            return path  # somebody else's, or on a read-only disk: still good to read
        return path

    def put(self, key: str, write: Callable[[Sink], None]) -> None:
        """Stores what `write` writes, and makes room for it. Does nothing if that fails."""
        if self.limit <= 0:
            return
        temporary = self._path(f".{key}.{os.getpid()}.{os.urandom(4).hex()}") + _TEMPORARY
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            with open(temporary, "xb") as file:
                checked = _Checked(file)
                write(checked)
                file.write(_MARK + checked.checksum.to_bytes(4, "little"))
                # Not synchronised, which takes seconds on a busy disk: what a power cut leaves
                # of the right name and size, full of zeros, has no checksum.
                size = file.tell()
            if size <= self.limit:
                os.replace(temporary, self._path(key))
                self._make_room(key)
                return
        except OSError:
            pass
        _unlink(temporary)

    def _path(self, key: str) -> str:
        return os.path.join(self.folder, key + SUFFIX)

    def _make_room(self, keep: str) -> None:
        """Removes the entries that nobody used for longest until the rest fits."""
        from time import time

        entries: list[tuple[float, int, str]] = []
        with os.scandir(self.folder) as listing:
            for entry in listing:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if entry.name.endswith(_TEMPORARY):
                    if time() - status.st_mtime > _STALE_SECONDS:
                        _unlink(entry.path)
                elif entry.name.endswith(SUFFIX):
                    entries.append((status.st_mtime, status.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit:
                break
            if path != self._path(keep):
                _unlink(path)
                total -= size


class _Checked:
    """Writes through to a file and keeps the checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.checksum = 0

    def write(self, data: bytes, /) -> int:
        self.checksum = crc32(data, self.checksum)
        return self.file.write(data)


def _is_sound(path: str) -> bool:
    """Whether the checksum at the end is that of the rest. Raises `OSError`."""
    with open(path, "rb") as file:
        left = os.fstat(file.fileno()).st_size - _TRAILER
        if left <= 0:
            return False
        checksum = 0
        while left and (part := file.read(min(left, _CHUNK))):
            checksum = crc32(part, checksum)
            left -= len(part)
        return file.read() == _MARK + checksum.to_bytes(4, "little")


def default_store() -> SymcacheStore | None:
    """The user's store, `$XDG_CACHE_HOME/unspool/symcache`; None without a home directory.

    `UNSPOOL_CACHE_LIMIT` is its size in bytes, or with K, M or G behind it; 0 stores nothing.
    """
    base = cache_home()
    if base is None:
        return None
    limit = parse_limit(os.environ.get("UNSPOOL_CACHE_LIMIT", ""))
    return SymcacheStore(os.path.join(base, "unspool", "symcache"), limit)


def parse_limit(text: str) -> int:
    """A size such as `500M`; the default limit if it is none."""
    text = text.strip().upper().removesuffix("B")
    shift = {"K": 10, "M": 20, "G": 30}.get(text[-1:], 0)
    digits = text[:-1] if shift else text
    return int(digits) << shift if digits.isdecimal() else DEFAULT_LIMIT


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
