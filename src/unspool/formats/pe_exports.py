"""The export table of a PE image: names and ordinals of functions and data by RVA.

Read through a function, since a process may hold some of its pages and the file the others.
Microsoft's "PE Format", .edata.
"""

from __future__ import annotations

from struct import Struct

from unspool.errors import FormatError
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]

# Ordinals have 16 bits, and so have the indexes in the table beside the names.
_MAX_ENTRIES = 1 << 16
_MAX_NAME = 4096
_MAX_DIRECTORY = 32 << 20
# Names of an honest table do not overlap. 65,536 that do make 256 MB out of half a megabyte.
_MAX_NAMES = 32 << 20

_HEADER = Struct("<12xIIIIIII")
# Names outside of the directory are read in pieces, and in small ones where a section ends.
_PIECES = (64, 16, 4, 1)


class Export:
    """A function or a datum at `rva`. An export by ordinal alone has no name."""

    __slots__ = ("_name", "_name_at", "_table", "ordinal", "rva")

    def __init__(self, table: _Table, name_at: int, ordinal: int, rva: int) -> None:
        self._table: _Table | None = table
        self._name_at = name_at
        self._name: str | None = None
        self.ordinal = ordinal
        self.rva = rva

    @property
    def name(self) -> str | None:
        """None as well if it cannot be read. Decoded when first asked for: most never are."""
        if self._table is not None:
            self._name = self._table.string(self._name_at)
            self._table = None
        return self._name


def exports(read: Read, directory: tuple[int, int]) -> tuple[str | None, list[Export]]:
    """The DLL's name in the export directory, and its exports by ordinal.

    `read(rva, size)` gives bytes of the image or raises `FormatError` or `Fault`; so does
    this if the directory or its address table cannot be read. What is exported twice is there
    twice. Forwarders are left out: they are
    another module's code.
    """
    table = _Table(read, directory)
    name_at, base, count, name_count, functions, names, ordinals = _HEADER.unpack(
        table.read(directory[0], _HEADER.size)
    )
    dll = table.string(name_at)
    rvas = _u32s(table.read(functions, 4 * min(count, _MAX_ENTRIES)))
    names_of = _names(table, min(name_count, _MAX_ENTRIES), names, ordinals)
    first, size = directory
    found = []
    for index, rva in enumerate(rvas):
        # A forwarder's "address" is the text "OTHER.Function" inside the directory.
        if rva and not first <= rva < first + size:
            for name_at in names_of.get(index, _NAMELESS):
                found.append(Export(table, name_at, base + index, rva))
    return dll, found


_NAMELESS = [0]


def _names(table: _Table, count: int, names: int, ordinals: int) -> dict[int, list[int]]:
    """RVAs of the names of each function by its index in the address table."""
    found: dict[int, list[int]] = {}
    try:
        name_rvas = _u32s(table.read(names, 4 * count))
        raw = table.read(ordinals, 2 * count)
    except (FormatError, Fault):
        return found
    for (index,), rva in zip(Struct("<H").iter_unpack(raw), name_rvas, strict=True):
        found.setdefault(index, []).append(rva)
    return found


class _Table:
    """The directory's bytes, read at once if possible, and what lies outside of it."""

    __slots__ = ("_bytes", "_left", "_read", "_rva")

    def __init__(self, read: Read, directory: tuple[int, int]) -> None:
        self._read = read
        self._rva, size = directory
        self._left = _MAX_NAMES
        try:
            self._bytes = read(self._rva, min(size, _MAX_DIRECTORY))
        except (FormatError, Fault):
            self._bytes = b""

    def read(self, rva: int, size: int) -> bytes:
        start = rva - self._rva
        if 0 <= start <= len(self._bytes) - size:
            return self._bytes[start : start + size]
        return self._read(rva, size)

    def string(self, rva: int) -> str | None:
        """The text at `rva`; None if there is none, it has no end, or there were too many."""
        if not rva or self._left <= 0:
            return None
        start = rva - self._rva
        if 0 <= start < len(self._bytes):
            raw, end, _ = self._bytes[start : start + _MAX_NAME].partition(b"\0")
        else:
            raw, end = self._text_outside(rva)
        self._left -= len(raw) + 1
        return raw.decode("latin-1") if raw and end else None

    def _text_outside(self, rva: int) -> tuple[bytes, bytes]:
        """What is read at `rva` up to a NUL, and the NUL if there is one."""
        raw = b""
        for size in _PIECES:
            try:
                while len(raw) < _MAX_NAME:
                    piece, end, _ = self._read(rva + len(raw), size).partition(b"\0")
                    raw += piece
                    if end:
                        return raw, end
            except (FormatError, Fault):
                continue
        return raw, b""


def _u32s(raw: bytes) -> tuple[int, ...]:
    return Struct(f"<{len(raw) // 4}I").unpack(raw)
