"""What modules are called in Wasmtime's serialised descriptions: one module's, or a component's.

`environ::Module` (crates/environ/src/module.rs) begins with its name, its imports and its exports.
What comes before it in a component, and what of a module comes behind, is different in every
version and not decoded: descriptions are looked for, and known by what they begin with. See
`wasmtime_info` for the encoding.
"""

from __future__ import annotations

from itertools import islice

from unspool.cursor import Cursor
from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Strings = list[bytes] | None

_MAX_INFO = 8 << 20
_MAX_NAME = 1 << 16
# Places where a description may begin.
_MAX_PLACES = 1 << 18
# Since these versions `postcard` writes; a module's number is before it; its strings are, too.
_POSTCARD, _NUMBERED, _POOLED = 21, 38, 43
_IMPORT, _FUNCTION, _MAX_KIND = 0, 0, 4
_NUMBER = rb"[\x80-\xff]{0,4}[\x00-\x7f]"
_COUNT = rb"(?!\x00)" + _NUMBER
# The beginning of a string, before which an empty one may be: linkers make `(import "" "0" …)`.
_TEXT = (
    rb"\x00?(?:\x01[\x20-\x7e]|\x02[\x20-\x7e]{2}|[\x03-\x7f][\x20-\x7e]{3}"
    rb"|[\x80-\xff][\x01-\x7f][\x20-\x7e]{3})"
)


def module_name(info: bytes, version: tuple[int, ...]) -> str | None:
    """A module's name from its name section, if it has one; `info` is of that version.

    `Option<String>`, which is 0, or 1 and a length. Since 38 the module's number is before it,
    and since 43 a pool of strings as well, in which the name is the number of one. Of components
    the description begins otherwise, see `module_names`.
    """
    major = version[0] if version else 0
    cursor = Cursor(info)
    try:
        if major >= _NUMBERED:
            cursor.uleb()
        strings = _pool(cursor) if major >= _POOLED else None
        return _text(_name(cursor, strings, major))
    except FormatError:
        return None


def module_names(
    info: bytes, version: tuple[int, ...], functions: Mapping[int, tuple[int, int]]
) -> dict[int, str]:
    """The names of a component's modules, by their numbers, where there is no doubt.

    `functions` are the numbers of the first and the last function of its own of each module that
    has any. Before the first come as many as the description has as imports: with the imports
    numbered one by one and exports of functions that there are it is known from anything else.
    """
    major = version[0] if version else 0
    if major < _NUMBERED or not functions:
        return {}
    fitting: dict[int, list[_Beginning]] = {}
    for each in _beginnings(info[:_MAX_INFO], major, max(functions)):
        own = functions.get(each.number)
        if own is not None and each.fits(*own):
            fitting.setdefault(each.number, []).append(each)
    return {
        number: found[0].name
        for number, found in fitting.items()
        if len(found) == 1 and found[0].name
    }


class _Beginning:
    """The beginning of a module's description, as far as it is read. `exported` is the highest
    number of a function among its exports."""

    __slots__ = ("exported", "imported", "name", "number")

    def __init__(self, info: bytes, at: int, major: int) -> None:
        cursor = Cursor(info, at)
        self.number = cursor.uleb()
        strings = _pool(cursor) if major >= _POOLED else None
        name = _name(cursor, strings, major)
        self.name = _text(name)
        used = {name} if name else set()
        counts = [0] * (_MAX_KIND + 1)
        imports = _count(cursor)
        for _ in range(imports):
            if cursor.uleb() != _IMPORT:
                raise FormatError(".wasmtime.info", "no import")
            used |= {_string(cursor, strings), _string(cursor, strings)}
            kind, number = _entity(cursor)
            if number != counts[kind]:
                raise FormatError(".wasmtime.info", "imports out of order")
            counts[kind] += 1
        self.imported = counts[_FUNCTION]
        self.exported = -1
        exports = _count(cursor)
        names = set()
        for _ in range(exports):
            names.add(_string(cursor, strings))
            kind, number = _entity(cursor)
            if kind == _FUNCTION:
                self.exported = max(self.exported, number)
        if len(names) != exports or not imports + exports:
            raise FormatError(".wasmtime.info", "no module's exports")
        used |= names
        if strings is not None and not used.issuperset(strings):
            raise FormatError(".wasmtime.info", "strings that nothing has")
        b"\0".join(used).decode()

    def fits(self, first: int, last: int) -> bool:
        """Whether that may be the module that has these functions of its own."""
        return self.imported == first and self.exported <= last


def _beginnings(info: bytes, major: int, last: int) -> Iterator[_Beginning]:
    """What looks like a description of a module, with numbers up to `last`."""
    import re

    number = _NUMBER
    if last < 0x80:
        number = rb"[\x00-" + re.escape(bytes([last])) + rb"]"
    if major >= _POOLED:
        form = number + _COUNT + _TEXT
    else:
        # A name; none, and imports; neither of them, and exports.
        named = rb"\x01" + _TEXT
        unnamed = rb"\x00" + _COUNT + rb"\x00" + _TEXT + rb"|\x00\x00" + _COUNT + _TEXT
        form = number + rb"(?:" + named + rb"|" + unnamed + rb")"
    places = re.finditer(rb"(?=" + form + rb")", info, re.DOTALL)
    for each in islice(places, _MAX_PLACES):
        try:
            yield _Beginning(info, each.start(), major)
        except (FormatError, UnicodeDecodeError):
            continue


def _pool(cursor: Cursor) -> list[bytes]:
    return [cursor.take(_short(cursor.uleb())) for _ in range(_count(cursor))]


def _count(cursor: Cursor) -> int:
    count = cursor.uleb()
    # Whatever it is takes a byte at least.
    if count > cursor.end - cursor.offset:
        raise FormatError(".wasmtime.info", f"a list of {count}")
    return count


def _name(cursor: Cursor, strings: Strings, major: int) -> bytes:
    """The name; empty if there is none."""
    some = cursor.u8()
    if some > 1:
        raise FormatError(".wasmtime.info", f"an option that is {some}")
    if not some:
        return b""
    if major < _POSTCARD:
        return cursor.take(_short(cursor.u64()))
    return _string(cursor, strings)


def _string(cursor: Cursor, strings: Strings) -> bytes:
    number = cursor.uleb()
    if strings is None:
        return cursor.take(_short(number))
    if not 0 < number <= len(strings):  # 0 is nothing
        raise FormatError(".wasmtime.info", f"string {number} of {len(strings)}")
    return strings[number - 1]


def _entity(cursor: Cursor) -> tuple[int, int]:
    """What an import or export is: function, table, memory, global or tag, and its number."""
    kind, number = cursor.uleb(), cursor.uleb()
    if kind > _MAX_KIND:
        raise FormatError(".wasmtime.info", f"an entity of kind {kind}")
    return kind, number


def _text(name: bytes) -> str | None:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    return text if text and text.isprintable() else None


def _short(size: int) -> int:
    if size > _MAX_NAME:
        raise FormatError(".wasmtime.info", f"a name of {size} bytes")
    return size
