"""A file that is being downloaded, and that a second run goes on with.

It lies in a place of ours until it is whole and has been checked. What a server sends later is
put behind it only if the server says that it is the same file as before (If-Range): an id is a
few bytes at the file's start and proves nothing of the rest.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import sha256

from unspool.symbols.files import cache_home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_VALIDATOR = 500
# Parts that nobody went on with.
_STALE_SECONDS = 7 * 86400


class Partial:
    """The first `size` bytes of the file at a URL. Use as a context manager.

    When nobody took the file it stays, unless it was `discard`ed. Two processes never write to
    one: the second gets a file of its own, which does not stay.
    """

    def __init__(self, url: str, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        name = sha256(url.encode()).hexdigest()[:32]
        self.path = os.path.join(folder, name)
        self._keep = True
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(self._fd, self.path):
            os.close(self._fd)
            self._keep = False
            self.path += f".{os.getpid()}.{os.urandom(4).hex()}"
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._fd).st_size
        self.encoding = ""
        self._validator = self._noted() if self.size else ""
        if not self._validator:
            self.discard()

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            if not (self._keep and self.size and self._validator):
                self._remove()
        finally:
            os.close(self._fd)

    def range_headers(self) -> dict[str, str]:
        """What asks for the rest; nothing if there is nothing to go on with."""
        if not self.size or not self._validator:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._validator}

    def begin(self, headers: Mapping[str, str]) -> None:
        """The server sends the file from its start."""
        self.discard()
        self.encoding = headers.get("Content-Encoding", "").strip().lower()
        tag = headers.get("ETag", "")
        # A weak tag ("W/…") does not promise the same bytes (RFC 9110, 13.1.5).
        self._validator = tag if tag and not tag.startswith("W/") else ""
        self._validator = self._validator or headers.get("Last-Modified", "")
        if len(self._validator) > _MOST_VALIDATOR or "\n" in self._validator:
            self._validator = ""
        if self._validator:
            with open(f"{self.path}.of", "w", encoding="latin-1", errors="replace") as file:
                file.write(f"{self._validator}\n{self.encoding}\n")

    def continues(self, headers: Mapping[str, str]) -> bool:
        """Whether the server sends what comes next."""
        return headers.get("Content-Range", "").startswith(f"bytes {self.size}-")

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, self.size)
            self.size += written
            view = view[written:]

    def discard(self) -> None:
        """Starts anew."""
        os.ftruncate(self._fd, 0)
        _unlink(f"{self.path}.of")
        self.size, self._validator, self.encoding = 0, "", ""

    def taken(self) -> None:
        """The file has another name now, or is of no use: nothing stays here."""
        self._keep = False

    def _noted(self) -> str:
        try:
            with open(f"{self.path}.of", encoding="latin-1") as file:
                words = file.read(2 * _MOST_VALIDATOR).split("\n")
        except OSError:
            return ""
        self.encoding = words[1] if len(words) > 1 else ""
        return words[0]

    def _remove(self) -> None:
        _unlink(self.path)
        _unlink(f"{self.path}.of")


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _locked(fd: int, path: str) -> bool:
    """Whether the file is ours alone, and still the one of that name: another process may have
    given it its final name since it was opened."""
    try:
        flock(fd, LOCK_EX | LOCK_NB)
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def partial_folder() -> str | None:
    """Where such files lie; None without a home directory."""
    base = cache_home()
    return os.path.join(base, "unspool", "partial") if base else None


def clean(folder: str) -> None:
    """Removes what nobody went on with for a week."""
    from time import time

    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS:
                    os.unlink(entry.path)
    except OSError:
        return
