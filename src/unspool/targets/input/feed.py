"""A file descriptor's bytes in order, in small chunks, with a look ahead.

Compressed files are read and not mapped: pages that were touched through a mapping count
as memory of this process.
"""

from __future__ import annotations

import os

from unspool.targets.input.magic import HEAD, compression_of, is_skippable

_CHUNK = 64 << 10


class Damage(Exception):
    """Compressed data that cannot be followed further; all pieces before it are good.

    `what` is a clause to which a place can be added; `detail` are the library's words.
    A `hint` says that the data may be good but are too much.
    """

    def __init__(self, what: str, detail: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.detail = detail
        self.hint = hint


class Feed:
    """The bytes of a file descriptor in order, read in small chunks. `offset` is the next one's."""

    __slots__ = ("_at", "_fd", "_held", "_read")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held = b""
        self._at = 0
        self._read = 0

    @property
    def offset(self) -> int:
        return self._read - len(self._held) + self._at

    def some(self) -> bytes:
        """The next bytes, as many as are at hand; none at the end. Raises `Damage`."""
        data = self._held[self._at :] or self._more()
        self._held, self._at = b"", 0
        return data

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end. Raises `Damage`."""
        end = self._at + size
        if end > len(self._held):
            self._hold(size)
            end = min(size, len(self._held))
        data = self._held[self._at : end]
        self._at = end
        return data

    def peek(self, size: int) -> bytes:
        """What `exactly` would answer, without moving on."""
        if self._at + size > len(self._held):
            self._hold(size)
        return self._held[self._at : self._at + size]

    def unread(self, data: bytes) -> None:
        """Gives back bytes that `some` answered last."""
        self._held = data + self._held[self._at :]
        self._at = 0

    def skip(self, size: int) -> None:
        while size > 0 and (data := self.some()):
            if len(data) > size:
                self.unread(data[size:])
            size -= len(data)

    def skip_zeros(self) -> None:
        while data := self.some():
            rest = data.lstrip(b"\0")
            if rest:
                self.unread(rest)
                return

    def _hold(self, size: int) -> None:
        parts = [self._held[self._at :]]
        have = len(parts[0])
        while have < size and (data := self._more()):
            parts.append(data)
            have += len(data)
        self._held, self._at = b"".join(parts), 0

    def _more(self) -> bytes:
        while True:
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                # Standard input may be non-blocking, since another program that shares
                # its other end (ssh, node) wants it so.
                import select

                select.select([self._fd], [], [])
            except OSError as error:
                raise Damage("the data cannot be read", error.strerror or "") from None
            else:
                self._read += len(data)
                return data


def recognise(feed: Feed) -> str:
    """The compression of what `feed` starts with; "" if none of the four.

    Moves past skippable frames: `pzstd` and lz4's tools may begin with one, and it does
    not tell which of the two formats follows.
    """
    while is_skippable(head := feed.peek(HEAD)):
        skip_frame(feed, head)
    return compression_of(head)


def skip_frame(feed: Feed, head: bytes) -> None:
    feed.skip(8 + int.from_bytes(head[4:8], "little"))
