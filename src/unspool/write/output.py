"""A minidump's file in the making: what is appended gets an RVA, its place in the file."""

from __future__ import annotations

from struct import pack

from unspool.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.cursor import Buffer

_HEADER, _ENTRY = 32, 12
_VERSION = 0xA793
# RVAs have 32 bits.
_MOST = (1 << 32) - 1


class Output:
    """Collects the chunks of a minidump; none is copied before it is written.

    Room for the header and a directory of `streams` entries is kept at the start.
    """

    def __init__(self, streams: int) -> None:
        self.size = _HEADER + streams * _ENTRY
        self._room = streams
        self._chunks: list[Buffer] = []
        self._entries: list[bytes] = []

    def add(self, data: Buffer, align: int = 4) -> int:
        """Appends bytes at a multiple of `align` and gives their RVA.

        Raises `InputError` where the file would get larger than an RVA can tell (4 GB).
        """
        padding = -self.size % align
        if self.size + padding + len(data) > _MOST:
            raise InputError(
                "the minidump would be larger than 4 GB, which its format cannot tell",
                "bound each stack with --stack-bytes",
            )
        if padding:
            self._chunks.append(bytes(padding))
        rva = self.size + padding
        self._chunks.append(data)
        self.size = rva + len(data)
        return rva

    def location(self, data: Buffer, align: int = 4) -> bytes:
        """Appends bytes and gives a MINIDUMP_LOCATION_DESCRIPTOR: their size and RVA."""
        rva = self.add(data, align)
        return pack("<II", len(data), rva)

    def string(self, text: str) -> int:
        """Appends a MINIDUMP_STRING, of UTF-16 with a NUL behind it, and gives its RVA."""
        data = text.encode("utf-16-le", "surrogatepass")
        return self.add(pack("<I", len(data)) + data + b"\0\0")

    def stream(self, kind: int, body: Buffer) -> None:
        """Appends a stream's body and an entry of the directory that leads there.

        A body may be filled in later, if it is a `bytearray`.
        """
        self._entries.append(pack("<I", kind) + self.location(body, 8))

    def finish(self, time: int) -> Iterator[Buffer]:
        """The whole file's chunks in order. `time` is the header's, in seconds since 1970.

        Entries of the directory that no stream uses are unused streams (type 0), which readers
        skip.
        """
        entries = [*self._entries, *[bytes(_ENTRY)] * (self._room - len(self._entries))]
        yield pack(
            "<4sIIIIIQ", b"MDMP", _VERSION, self._room, _HEADER, 0, time & 0xFFFFFFFF, 0
        ) + b"".join(entries)
        yield from self._chunks
