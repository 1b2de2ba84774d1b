"""Names and lines out of Breakpad's symbol files (`name.sym`), where there is nothing better.

Such a file is made from a module's debug information, by `dump_syms`. Its addresses count from
where the module is loaded, and its names are demangled, with parameters.
(Breakpad's document "Symbol files".)
"""

from __future__ import annotations

from unspool.symbols.files import map_file, sym_id
from unspool.symbols.function_names import as_elsewhere, without_parameters
from unspool.symbols.pe.symbols import REACH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from unspool.symbols.files import SymbolPaths
    from unspool.symbols.native import NativeLines, SourcePlace

    Progress = Callable[[str], None] | None


class BreakpadLines:
    """Look-ups in a symbol file by offset from the module's base; `path` is the file's."""

    def __init__(self, lines: NativeLines, path: str) -> None:
        self._lines = lines
        self.path = path

    def lookup(self, offset: int) -> tuple[str, int | None, list[SourcePlace]] | None:
        """A function's name, its start as an offset, and places as `NativeLines.lookup` has them.

        Of what has no lines (PUBLIC records) that is the nearest name before it, if it is near:
        whatever else lies between the two may have no record.
        """
        places, start = self._lines.lookup(offset)
        if not places:
            label = self._lines.label(offset)
            near = label is not None and offset - label[1] < REACH
            return (_as_elsewhere(label[0]), label[1], []) if label and near else None
        for place in places:
            place.function = _as_elsewhere(place.function)
        return places[-1].function, start, places


def find_sym(
    symbols: SymbolPaths,
    names: Iterable[str],
    store_id: str | None,
    refused: list[tuple[str, str]],
) -> str | None:
    """The symbol file of a module that is known by these names, or None.

    `store_id` is its id as symbol stores write it. Files with another go to `refused`.
    """
    if not store_id:
        return None
    for name in dict.fromkeys(names):
        for path in symbols.sym_candidates(name, store_id):
            buffer = map_file(path)
            found = sym_id(buffer) if buffer is not None else None
            if found == store_id.upper():
                return path
            refused.append((path, f"its id is {found or 'missing'}, the module's {store_id}"))
    return None


def open_sym(
    path: str, store_id: str, *, progress: Progress, problems: list[str]
) -> BreakpadLines | None:
    """The symbol file at `path`, which has that id. None, with a problem said, if it is broken."""
    from unspool.symbols import native

    lines = native.open_file(
        path, f"sym{store_id}", what="symbol file", progress=progress, problems=problems
    )
    return BreakpadLines(lines, path) if lines is not None else None


def _as_elsewhere(name: str) -> str:
    """GNU's demangler, which made the name, puts a space between two brackets; LLVM's does not."""
    name = as_elsewhere(without_parameters(name))
    while "> >" in name:
        name = name.replace("> >", ">>")
    return name.replace("< <", "<<")
