"""Lists in minidumps: where the entries are, how far they lie apart, how many there are."""

from __future__ import annotations

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from unspool.cursor import Buffer
    from unspool.formats.minidump.layout import Layout
    from unspool.formats.minidump.streams import StreamType

    Note = Callable[[str, str], None]

MAX_ENTRIES = 1_000_000
# An entry with less than this has not even its first field.
_LEAST_ENTRY = 4


class Entries:
    """The entries of a list: `count` of them, the first at `offset`, `stride` bytes apart.

    All of them lie in the stream. `claimed` is how many the list says that it has, `header` what
    its header holds.
    """

    __slots__ = ("claimed", "count", "header", "layout", "offset", "stride")

    def __init__(
        self, layout: Layout, header: dict[str, Any], offset: int, stride: int, count: int,
        claimed: int,
    ) -> None:  # fmt: skip
        self.layout = layout
        self.header = header
        self.offset = offset
        self.stride = stride
        self.count = count
        self.claimed = claimed

    def rows(self, buffer: Buffer) -> Iterator[tuple[Any, ...]]:
        """Each entry's flat values (`Layout.struct`); fields that entries do not have are 0."""
        if self.stride >= self.layout.size:
            yield from self.layout.rows(buffer, self.offset, self.count, self.stride)
            return
        unpack, size = self.layout.struct.unpack, self.layout.size
        for index in range(self.count):
            at = self.offset + index * self.stride
            yield unpack(bytes(buffer[at : at + self.stride]).ljust(size, b"\0"))


def find_entries(
    kind: StreamType,
    buffer: Buffer,
    rva: int,
    size: int,
    note: Note,
    claimed_size: int | None = None,
) -> Entries:
    """The entries of a stream of the shapes "list", "sized list" and "memory64".

    `size` is what of the stream lies in the buffer, `claimed_size` what it should have. What does
    not fit together is noted. Raises `FormatError` if the stream has no room for its header.
    """
    header_layout, layout = kind.header, kind.entry
    if header_layout is None or layout is None:
        raise FormatError(kind.name, "is no list")
    end = min(rva + size, len(buffer))
    header = header_layout.unpack(buffer, rva, end)
    claimed: int = header[kind.count]
    first, stride = header_layout.size, layout.size
    if kind.shape == "sized list":
        first, stride = _sizes(kind, header, note)
    elif kind.shape == "list":
        # Breakpad on 64-bit systems and Crashpad align entries with 64-bit fields to 8 bytes: 4
        # bytes lie between the count and the first. Nothing but the stream's size tells.
        whole = size if claimed_size is None else claimed_size
        if whole == first + 4 + claimed * stride:
            first += 4
    room = max(0, end - rva - first) // stride
    count = min(claimed, room, MAX_ENTRIES)
    if count < claimed:
        note(kind.name, f"claims {claimed} entries, holds {count}")
    return Entries(layout, header, rva + first, stride, count, claimed)


def _sizes(kind: StreamType, header: dict[str, Any], note: Note) -> tuple[int, int]:
    """The sizes of header and entry as the header says; ours where it cannot be right."""
    assert kind.header is not None
    assert kind.entry is not None
    first, stride = list(header.values())[:2]
    if first < kind.header.size:
        note(kind.name, f"a header of {first} bytes is too small")
        first = kind.header.size
    if stride < _LEAST_ENTRY:
        note(kind.name, f"entries of {stride} bytes are too small")
        stride = kind.entry.size
    return first, stride
