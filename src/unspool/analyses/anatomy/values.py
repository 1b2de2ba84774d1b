"""Values of fields as people want to see them (`show` of the format's tables)."""

from __future__ import annotations

from struct import Struct

from unspool.formats.minidump import names
from unspool.formats.minidump.layout import CODES, wide_text
from unspool.formats.minidump.streams import STREAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.formats.minidump.layout import Field

_STRUCTS = {code: Struct("<" + letter) for code, (letter, _) in CODES.items()}
_HEX_BYTES = 16  # of raw bytes, so many are shown in a value
_ITEMS = 8
_UNIX_OF_1601 = 11_644_473_600
_TICKS = 10_000_000
# Nobody's clock says so: the number is something else (a hash, as linkers write it).
_LATEST = 1 << 33


def type_name(field: Field) -> str:
    """A field's type as in a declaration: "u32", "u64[15]", "bytes[24]"."""
    if field.layout is not None:
        return field.layout.name + (f"[{field.count}]" if field.count > 1 else "")
    if field.code == "bytes":
        return f"bytes[{field.size}]"
    if field.code == "wide":
        return f"wide[{field.size // 2}]"
    return field.code + (f"[{field.count}]" if field.count > 1 else "")


def value_of(field: Field, data: bytes, system: str | None) -> tuple[str, int | None]:
    """A field's value in words, and the number behind it.

    `data` are the field's bytes; `system` is the dump's (`names.SYSTEMS`), whose exceptions
    mean other things than another's.
    """
    if field.code == "guid":
        return guid(data), None
    if field.code == "wide":
        return f"“{wide_text(data)}”", None
    if field.code == "bytes":
        return _bytes(field, data), None
    if field.count > 1:
        return _items(field, data), None
    raw: int = _STRUCTS[field.code].unpack(data)[0]
    if field.show == "chars":
        return f"{raw:#x} “{characters(data)}”", raw
    if field.show == "enum:EXCEPTION_CODE":
        return f"{raw:#x} {names.exception_name(raw, system) or ''}".rstrip(), raw
    return number(field.show, raw, field.size), raw


def _bytes(field: Field, data: bytes) -> str:
    if field.show in ("chars", "text"):
        return f"“{characters(data.rstrip(bytes(1)))}”"
    if not any(data):
        return "all zero"
    return data[:_HEX_BYTES].hex(" ") + (" …" if len(data) > _HEX_BYTES else "")


def _items(field: Field, data: bytes) -> str:
    size = field.size // field.count
    raws = [raw for (raw,) in _STRUCTS[field.code].iter_unpack(data)]
    while raws and not raws[-1]:
        raws.pop()
    if not raws:
        return "all zero"
    shown = ", ".join(number(field.show, raw, size) for raw in raws[:_ITEMS])
    rest = "" if len(raws) == field.count else ", then zeros"
    return shown + (" …" if len(raws) > _ITEMS else rest)


def number(show: str, raw: int, size: int) -> str:
    """A number as `show` says. `size` is the field's, in bytes."""
    kind, _, table = show.partition(":")
    if kind == "enum":
        name = _name(table, raw)
        return f"{_plain(raw)} {name}" if name is not None else _plain(raw)
    if kind == "flags":
        return f"{raw:#x} {' | '.join(names.flag_names(table, raw))}".rstrip() if raw else "0"
    if kind in ("hex", "reserved", "rva", "raw"):
        return f"{raw:#x}" if raw else "0"
    if kind == "address":
        return f"0x{raw:0{16 if size == 8 else 8}x}" if raw else "0"
    if kind == "version":
        return f"{raw >> 16}.{raw & 0xFFFF}"
    if kind in ("count", "size"):
        return f"{raw:,}"
    if kind in _TIMES:
        return _TIMES[kind](raw)
    return str(raw)


def _name(table: str, raw: int) -> str | None:
    if table == "MINIDUMP_STREAM_TYPE":
        known = STREAMS.get(raw)
        return known.name if known is not None else None
    return names.ENUMS[table].get(raw)


def characters(data: bytes) -> str:
    """Bytes as UTF-8; those that are none stay as surrogates, which renderers escape."""
    return data.decode("utf-8", "surrogateescape")


def guid(data: bytes) -> str:
    """A GUID as Microsoft writes it: its first three parts are little-endian numbers."""
    first, second, third = Struct("<IHH").unpack_from(data)
    tail = data[8:].hex()
    return f"{first:08x}-{second:04x}-{third:04x}-{tail[:4]}-{tail[4:]}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 thread`, `12,345 threads`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def moment(seconds: int) -> str:
    """Seconds since 1970 as a date: `2021-03-04 12:13:14 UTC`."""
    from time import gmtime, strftime

    return strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(seconds))


def _plain(raw: int) -> str:
    return str(raw) if -0x10000 < raw < 0x10000 else f"{raw:#x}"


def _time(raw: int) -> str:
    return f"{raw:#x} {moment(raw)}" if 0 < raw < _LATEST else _plain(raw)


def _filetime(raw: int) -> str:
    seconds = raw // _TICKS - _UNIX_OF_1601
    return f"{raw:#x} {moment(seconds)}" if 0 < seconds < _LATEST else _plain(raw)


_TIMES: dict[str, Callable[[int], str]] = {
    "time": _time,
    "filetime": _filetime,
    "ticks": lambda raw: f"{raw} ({raw / _TICKS:g} s)",
    "seconds": lambda raw: f"{raw} s",
    "minutes": lambda raw: f"{raw} minutes",
    "mhz": lambda raw: f"{raw} MHz",
}
