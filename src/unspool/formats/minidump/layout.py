"""How the tables of this package describe a structure, and how its bytes are read and made.

The same table serves the reader, the writer and `unspool inspect`: a field has its place and
type for the first two, and a meaning and a way to be shown for people.
"""

from __future__ import annotations

from struct import Struct, error

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from unspool.cursor import Buffer

    # Name, type, how to show it, meaning. The type is one of CODES, "bytes[16]", "wide[40]",
    # "u64[15]", a layout, or a layout and how many of it.
    Row = tuple[str, "str | Layout | tuple[Layout, int]", str, str]

# Code of a type: (code of `struct`, size in bytes). All integers are little-endian.
CODES = {
    "u8": ("B", 1),
    "u16": ("H", 2),
    "i16": ("h", 2),
    "u32": ("I", 4),
    "i32": ("i", 4),
    "u64": ("Q", 8),
    "i64": ("q", 8),
}
_INTEGERS = {code: Struct("<" + letter) for code, (letter, _) in CODES.items()}
# Types of a fixed number of bytes that are one value: bytes per unit of their length.
_RUNS = {"bytes": 1, "wide": 2, "guid": 16}


class Field:
    """One field of a structure: `size` bytes at `offset`.

    `code` is its type: "u8" to "i64" (with `count` > 1 an array of them), "bytes" (raw),
    "wide" (UTF-16 up to a NUL, `size` bytes), "guid" (16 bytes) or "struct", which is `layout`
    (`count` times).

    `show` says how people want to see it:
    - "dec", "hex", "count", "size" (bytes), "version" (two 16-bit halves), "raw", "chars"
      (a tag of ASCII characters), "text", "guid", "reserved" (holds nothing)
    - "address" (in the dumped process), "rva" (of bytes in the file), "rva:NAME" (of a structure
      of that name in the file; MINIDUMP_STRING is one)
    - "to:NAME" of a location descriptor: what it leads to
    - "time" (seconds since 1970), "filetime" (100 ns since 1601), "ticks" (100 ns), "seconds",
      "minutes", "mhz"
    - "enum:NAME" and "flags:NAME": a table of `names`
    """

    __slots__ = ("code", "count", "layout", "meaning", "name", "offset", "show", "size")

    def __init__(
        self, name: str, code: str, count: int, offset: int, size: int,
        show: str, meaning: str, layout: Layout | None,
    ) -> None:  # fmt: skip
        self.name = name
        self.code = code
        self.count = count
        self.offset = offset
        self.size = size
        self.show = show
        self.meaning = meaning
        self.layout = layout


class Layout:
    """A structure: its name in the header files, what it is, and its fields in order.

    Fields follow each other without padding: headers of minidumps are packed to 4 bytes, and
    what an alignment leaves free is a field of its own. Fields and sizes are worked out when
    they are first asked for, since a walk needs a few of some fifty structures.
    """

    __slots__ = ("_by_name", "_fields", "_rows", "_struct", "meaning", "name")

    def __init__(self, name: str, meaning: str, rows: tuple[Row, ...]) -> None:
        self.name = name
        self.meaning = meaning
        self._rows = rows
        self._fields: tuple[Field, ...] | None = None
        self._by_name: dict[str, Field] | None = None
        self._struct: Struct | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        if self._fields is None:
            self._fields = tuple(_fields(self._rows))
        return self._fields

    @property
    def struct(self) -> Struct:
        """All values in one flat row, those of nested structures in their places."""
        if self._struct is None:
            self._struct = Struct("<" + self._format())
        return self._struct

    @property
    def size(self) -> int:
        return self.struct.size

    def _format(self) -> str:
        return "".join(_format_of(field) for field in self.fields)

    def field(self, name: str) -> Field:
        """The field of that name. Raises `KeyError`."""
        if self._by_name is None:
            self._by_name = {field.name: field for field in self.fields}
        return self._by_name[name]

    def unpack(self, buffer: Buffer, offset: int = 0, end: int | None = None) -> dict[str, Any]:
        """The values by name: a structure in it is a dict, an array a list, "wide" a string.

        Nothing behind `end` is looked at. Raises `FormatError` if the structure is cut.
        """
        end = len(buffer) if end is None else min(end, len(buffer))
        if offset < 0 or offset + self.size > end:
            raise FormatError(f"{self.name} at 0x{offset:x}", f"needs {self.size} bytes, data ends")
        return self._named(iter(self.struct.unpack_from(buffer, offset)))

    def unpack_known(self, buffer: Buffer, offset: int, end: int) -> dict[str, Any]:
        """The values of the fields that lie whole before `end`; the others are left out.

        For structures that grew over time and say how large they are.
        """
        end = min(end, len(buffer))
        if offset >= 0 and offset + self.size <= end:
            return self.unpack(buffer, offset, end)
        known = {}
        for field in self.fields:
            start = offset + field.offset
            if offset < 0 or start + field.size > end:
                break
            values = iter(Struct("<" + _format_of(field)).unpack_from(buffer, start))
            known[field.name] = _value(field, values)
        return known

    def rows(
        self, buffer: Buffer, offset: int, count: int, stride: int
    ) -> Iterator[tuple[Any, ...]]:
        """Flat values (see `struct`) of `count` structures, `stride` bytes from each other.

        The caller has made sure that they lie in the buffer.
        """
        unpack = self.struct.unpack_from
        for index in range(count):
            yield unpack(buffer, offset + index * stride)

    def _named(self, values: Iterator[Any]) -> dict[str, Any]:
        return {field.name: _value(field, values) for field in self.fields}

    def pack(self, **values: Any) -> bytes:
        """The structure's bytes. What is not named is 0.

        A structure in it is given as a dict or as its bytes, an array as a list or tuple (what
        it lacks is 0), "wide" as a string (cut to what fits with a NUL), "bytes" and "guid" as
        bytes (filled up with zeros). Raises `TypeError` for a name that it does not have,
        `ValueError` for a value that does not fit.
        """
        data = bytearray(self.size)
        for name, value in values.items():
            try:
                field = self.field(name)
            except KeyError:
                raise TypeError(f"{self.name} has no field {name}") from None
            try:
                if field.count == 1 and field.code in _INTEGERS:
                    _INTEGERS[field.code].pack_into(data, field.offset, value)
                else:
                    packed = _packed(field, value)
                    data[field.offset : field.offset + len(packed)] = packed
            except error as reason:
                raise ValueError(f"{name} of {self.name}: {reason}") from None
        return bytes(data)


def _fields(rows: tuple[Row, ...]) -> Iterator[Field]:
    offset = 0
    for name, type_, show, meaning in rows:
        code, count, size, layout = _typed(type_)
        yield Field(name, code, count, offset, size, show, meaning, layout)
        offset += size


def _typed(type_: str | Layout | tuple[Layout, int]) -> tuple[str, int, int, Layout | None]:
    """A row's type as (code, count, size, layout)."""
    if isinstance(type_, str):
        code, _, length = type_.partition("[")
        count = int(length[:-1]) if length else 1
        if code in _RUNS:
            return code, 1, count * _RUNS[code], None
        return code, count, count * CODES[code][1], None
    layout, count = type_ if isinstance(type_, tuple) else (type_, 1)
    return "struct", count, layout.size * count, layout


def _format_of(field: Field) -> str:
    if field.layout is not None:
        return field.layout._format() * field.count
    if field.code in _RUNS:
        return f"{field.size}s"
    return CODES[field.code][0] * field.count


def _value(field: Field, values: Iterator[Any]) -> Any:
    layout = field.layout
    if layout is not None:
        if field.count == 1:
            return layout._named(values)
        return [layout._named(values) for _ in range(field.count)]
    if field.code == "wide":
        return wide_text(next(values))
    if field.count == 1:
        return next(values)
    return [next(values) for _ in range(field.count)]


def wide_text(data: bytes) -> str:
    """UTF-16 up to the first NUL; what is no UTF-16 becomes U+FFFD."""
    return data[: len(data) & ~1].decode("utf-16-le", "replace").partition("\0")[0]


def _packed(field: Field, value: Any) -> bytes:
    """The bytes of anything but a single integer: as many as `field.size`, or fewer."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        if len(value) > field.size or (field.layout is not None and len(value) != field.size):
            raise ValueError(f"{field.name} has {field.size} bytes, not {len(value)}")
        return bytes(value)
    if field.code == "wide":
        # With room for a NUL, and no half of a character that takes two units.
        cut = str(value).encode("utf-16-le", "replace")[: field.size - 2]
        return cut.decode("utf-16-le", "ignore").encode("utf-16-le")
    if field.code in _RUNS:
        raise ValueError(f"{field.name} has {field.size} bytes, not {value!r}")
    items = value if isinstance(value, (list, tuple)) else [value]
    if len(items) > field.count:
        raise ValueError(f"{field.name} has {field.count} values, not {len(items)}")
    if field.layout is None:
        return b"".join(_INTEGERS[field.code].pack(item) for item in items)
    return b"".join(
        item if isinstance(item, bytes) else field.layout.pack(**item) for item in items
    )
