"""The COFF symbol table that MinGW's linkers leave in a PE file: functions' names by RVA.

Microsoft's "PE Format", COFF Symbol Table; binutils' bfd for what MinGW writes into it.
"""

from __future__ import annotations

from struct import Struct

from unspool.formats.pe import MACHINE_I386, SYMBOL_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.pe import Pe

# A name is eight bytes or, where the first four are 0, an offset into the string table.
_SYMBOL = Struct("<IIIhHBB")
_SHORT = Struct("<II")
_EXTERNAL, _STATIC, _WEAK_EXTERNAL = 2, 3, 105
_CLASSES = (_EXTERNAL, _STATIC, _WEAK_EXTERNAL)
_MAX_SYMBOLS = 8_000_000
_MAX_NAME = 1 << 16


class FunctionSymbols:
    """The functions in a file's symbol table, by RVA: `starts`, each once.

    None for a stripped file and for an image in memory. Names are decoded when they are asked
    for: most never are.
    """

    __slots__ = ("_best", "_decoded", "_names", "_plain", "starts")

    def __init__(self, pe: Pe) -> None:
        best: dict[int, tuple[int, int, int]] = {}
        table = pe.coff_symbols()
        if table is not None:
            self._names = _Names(pe, table[2])
            for rva, ranked in _code_symbols(pe, self._names.strings, *table[:2]):
                if rva not in best or ranked[0] > best[rva][0]:
                    best[rva] = ranked
        self.starts = sorted(best)
        self._best = best
        self._plain = pe.machine != MACHINE_I386
        self._decoded: dict[int, str] = {}

    def name(self, start: int) -> str:
        """The best name of the function at one of `starts`; empty if it has no end.

        It is as in the source, or as C++ mangles it: without what i386 adds to it.
        """
        name = self._decoded.get(start)
        if name is None:
            name = self._names.of(*self._best[start][1:])
            name = self._decoded[start] = name if self._plain else undecorated(name)
        return name


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


def _code_symbols(
    pe: Pe, strings: bytes, offset: int, count: int
) -> list[tuple[int, tuple[int, int, int]]]:
    """What is defined in executable sections, and not the sections: (RVA, (rank, name)).

    A name is as in the table, two numbers; what has none is left out. Of several names for one
    address, functions' have a higher rank than labels of assembly language, and external ones
    a higher than those of one file.
    """
    count = min(count, _MAX_SYMBOLS)
    starts = [section.rva if section.executable else None for section in pe.sections]
    found = []
    auxiliary = 0
    raw_table = bytes(pe.buffer[offset : offset + SYMBOL_SIZE * count])
    for first, second, value, section, kind, storage, more in _SYMBOL.iter_unpack(raw_table):
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
        if first == 0 and not (4 <= second < len(strings) and strings[second]):
            continue
        rank = 2 * is_function + (storage == _EXTERNAL)
        found.append((start + value, (rank, first, second)))
    return found


class _Names:
    """Names of symbols, decoded."""

    __slots__ = ("_left", "strings")

    def __init__(self, pe: Pe, at: int) -> None:
        # The table's first four bytes are its size, those included.
        size = int.from_bytes(bytes(pe.buffer[at : at + 4]), "little")
        self.strings = bytes(pe.buffer[at : at + size])
        # Symbols that share a string are honest, a million that share a megabyte are not.
        self._left = 4 * len(self.strings)

    def of(self, first: int, second: int) -> str:
        if first:
            return _SHORT.pack(first, second).rstrip(b"\0").decode("utf-8", "replace")
        if self._left <= 0:
            return ""
        end = self.strings.find(b"\0", second, second + _MAX_NAME)
        if end < 0:
            return ""
        self._left -= end - second
        return self.strings[second:end].decode("utf-8", "replace")
