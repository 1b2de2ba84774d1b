"""The COFF symbol table that MinGW's linkers leave in a PE file: functions' names by RVA.

Microsoft's "PE Format", COFF Symbol Table; binutils' bfd for what MinGW writes into it.
"""

from __future__ import annotations

from struct import Struct

from unspool.formats.pe import MACHINE_I386, SYMBOL_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.pe import Pe

_SYMBOL = Struct("<8sIhHBB")
_U32_PAIR = Struct("<II")
_EXTERNAL, _STATIC, _WEAK_EXTERNAL = 2, 3, 105
_CLASSES = (_EXTERNAL, _STATIC, _WEAK_EXTERNAL)
_MAX_SYMBOLS = 8_000_000
_MAX_NAME = 1 << 16


def functions(pe: Pe) -> list[tuple[int, str]]:
    """(RVA, name) of the functions in a file's symbol table by RVA, one name for each.

    Empty for a stripped file and for an image in memory. Names are as in the source, or as
    C++ mangles them: without what i386 adds to them.
    """
    found: dict[int, tuple[int, str]] = {}
    plain = pe.machine != MACHINE_I386
    for rva, rank, name in _code_symbols(pe):
        if rva not in found or rank > found[rva][0]:
            found[rva] = rank, name if plain else undecorated(name)
    return [(rva, found[rva][1]) for rva in sorted(found)]


def undecorated(name: str, *, exported: bool = False) -> str:
    """A name of i386 as it is in the source.

    Its compilers write `_foo` for cdecl, `_foo@8` for stdcall, `@foo@8` for fastcall,
    `foo@@8` for vectorcall; GCC's C++ names are `__Z3foov`, its copies of a function
    `_foo@8.constprop.0`. MSVC's C++ names (`?foo@@YAXXZ`) say all that themselves. Names in
    an export table (`exported`) have lost cdecl's underscore: one there belongs to the name.
    """
    if name[:1] == "?":
        return name
    at = name.find("@", 1)
    size, dot, copy = name[at + 1 :].removeprefix("@").partition(".")
    if at > 0 and size.isascii() and size.isdigit():
        body = name[:at]
        if body[0] == "@" or (body[0] == "_" and name[at + 1] != "@"):
            body = body[1:]
        return body + dot + copy if body else name
    return name if exported else name.removeprefix("_") or name


def _code_symbols(pe: Pe) -> list[tuple[int, int, str]]:
    """(RVA, rank, name) of all that is defined in executable sections, and not of sections.

    Of several names for one address, functions' have a higher rank than labels of assembly
    language, and external ones a higher than those of one file.
    """
    table = pe.coff_symbols()
    if table is None:
        return []
    offset, count, strings_at = table
    count = min(count, _MAX_SYMBOLS)
    names = _Names(pe, strings_at)
    starts = [section.rva if section.executable else None for section in pe.sections]
    found = []
    auxiliary = 0
    raw_table = bytes(pe.buffer[offset : offset + SYMBOL_SIZE * count])
    for raw, value, section, kind, storage, more in _SYMBOL.iter_unpack(raw_table):
        if auxiliary:
            auxiliary -= 1
            continue
        auxiliary = more
        if storage not in _CLASSES or not 0 < section <= len(starts):
            continue
        start = starts[section - 1]
        is_function = kind & 0x30 == 0x20
        # Without a function's type it is a label of assembly language, an import's jump, or
        # (static, with a record behind it) the mark of an object file's piece of the section.
        if start is None or (not is_function and (kind or storage == _STATIC)):
            continue
        name = names.of(raw)
        if name:
            rank = 2 * is_function + (storage == _EXTERNAL)
            found.append((start + value, rank, name))
    return found


class _Names:
    """Names of symbols: eight bytes, or an offset into the string table where it is longer."""

    __slots__ = ("_left", "_strings")

    def __init__(self, pe: Pe, at: int) -> None:
        # The table's first four bytes are its size, those included.
        size = int.from_bytes(bytes(pe.buffer[at : at + 4]), "little")
        self._strings = bytes(pe.buffer[at : at + size])
        # Symbols that share a string are honest, a million that share a megabyte are not.
        self._left = 4 * len(self._strings)

    def of(self, raw: bytes) -> str:
        if raw[:4] != b"\0\0\0\0":
            return raw.rstrip(b"\0").decode("utf-8", "replace")
        start = _U32_PAIR.unpack(raw)[1]
        if start < 4 or self._left <= 0:
            return ""
        end = self._strings.find(b"\0", start, start + _MAX_NAME)
        if end < 0:
            return ""
        self._left -= end - start
        return self._strings[start:end].decode("utf-8", "replace")
