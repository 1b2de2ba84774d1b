"""Finding PE and PDB files in the directories that the user gave: by name, id, and in stores.

A symbol store is a directory that Microsoft's `symstore` filled, or a debugger's cache:
`name/id/name`, or `na/name/id/name` where it has two tiers. Its servers ignore the case of
letters, so copies of stores spell names in any. In place of a file there may be a cabinet with
it (`name.dl_`, `name.pd_`) or a note where it lies (`file.ptr`): `stored_files`.

Breakpad keeps its symbol files the same way, as `name/id/name.sym`.
"""

from __future__ import annotations

import os

from unspool.errors import FormatError
from unspool.formats.pe import Pe
from unspool.symbols.files import map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unspool.formats.pe import Section
    from unspool.symbols.files import SymbolPaths

# Names that differ in case alone; a directory made to hold more is not searched on.
_MAX_SPELLINGS = 16
_HEX = "0123456789abcdef"
_CONTAINS_CODE = 0x20


def open_pe(path: str) -> Pe | None:
    """The PE file at `path`, or None if there is none that can be read."""
    buffer = map_file(path)
    if buffer is None:
        return None
    try:
        return Pe(buffer)
    except FormatError:
        return None


def sym_name(name: str) -> str:
    """What Breakpad's symbol file of a module is called.

    A PDB file's name loses its ending, a program's and a library's stay whole.
    """
    return f"{name[:-4] if name.lower().endswith('.pdb') else name}.sym"


def base_name(path: str) -> str:
    r"""The last part of a path as Windows or Linux writes it: `a.pdb` of `C:\src\a.pdb`.

    Empty if that is no file's name. What is returned never leads out of a directory.
    """
    name = path.replace("\\", "/").rpartition("/")[2]
    return "" if name in (".", "..") or "\0" in name or len(name) > 255 else name


def holds_code(pe: Pe) -> bool:
    """Whether a file has the code of its program; `objcopy --only-keep-debug` leaves it out."""
    return any(_is_code(section) and section.raw_size for section in pe.sections)


def _is_code(section: Section) -> bool:
    return section.executable or bool(section.characteristics & _CONTAINS_CODE)


class PeFiles:
    """PE and PDB files of `--symbols`, by what is asked for."""

    def __init__(self, paths: SymbolPaths) -> None:
        self._paths = paths
        self._listings: dict[str, dict[str, list[str]]] = {}
        self._images: dict[str, list[str]] | None = None
        self._pdbs: dict[str, list[str]] | None = None
        self._by_code_id: dict[str, list[str]] | None = None
        self.problems: list[tuple[str, str]] = []

    def images(self, name: str, code_id: str | None) -> Iterator[str]:
        """See `SymbolPaths.pe_candidates`."""
        name = base_name(name)
        seen: set[str] = set()
        if code_id:
            yield from _new(self._stored(name, code_id), seen)
        if self._images is None:
            self._images = _named(self._paths.pe_files())
        yield from _new(_by_name(self._images, name, code_id), seen)
        if code_id:
            yield from _new(self._with_code_id(code_id.lower()), seen)

    def pdbs(self, name: str, store_id: str | None) -> Iterator[str]:
        """See `SymbolPaths.pdb_candidates`."""
        name = base_name(name)
        seen: set[str] = set()
        if store_id:
            yield from _new(self._stored(name, store_id), seen)
        if self._pdbs is None:
            self._pdbs = _named(self._paths.pdb_files())
        yield from _new(_by_name(self._pdbs, name, store_id), seen)

    def syms(self, name: str, store_id: str) -> Iterator[str]:
        """Breakpad's symbol files in symbol-store layout; see `SymbolPaths.sym_candidates`."""
        name = base_name(name)
        if not name or not store_id or store_id.lower().strip(_HEX):
            return
        for root in (*self._paths.paths, *self._paths.stores):
            yield from self._spelled(root, (name, store_id, sym_name(name)))

    def _with_code_id(self, code_id: str) -> list[str]:
        """PE files under another name: a copy that was renamed, a program's `.bak`."""
        if self._by_code_id is None:
            self._by_code_id = {}
            for path in self._paths.pe_files():
                pe = open_pe(path)
                if pe is not None and holds_code(pe):
                    self._by_code_id.setdefault(pe.code_id.lower(), []).append(path)
        return self._by_code_id.get(code_id, [])

    def _stored(self, name: str, identifier: str) -> Iterator[str]:
        """Files in symbol-store layout, in every directory."""
        if not name or not identifier or identifier.lower().strip(_HEX):
            return  # a report from elsewhere says anything; this becomes a path
        for root in (*self._paths.paths, *self._paths.stores):
            for parts in ((name, identifier), (name[:2], name, identifier)):
                yield from self._spelled(root, (*parts, name))
                yield from self._stand_ins(root, (*parts, f"{name[:-1]}_"), name, identifier)
                yield from self._stand_ins(root, (*parts, "file.ptr"), name, identifier)

    def _stand_ins(
        self, root: str, parts: tuple[str, ...], name: str, identifier: str
    ) -> Iterator[str]:
        for path in self._spelled(root, parts):
            from unspool.symbols.stored_files import Unusable, behind

            try:
                yield behind(path, name, identifier)
            except Unusable as why:
                problem = (path, str(why))
                if problem not in self.problems:
                    self.problems.append(problem)

    def _spelled(self, root: str, parts: tuple[str, ...]) -> Iterator[str]:
        """Files at `root` and `parts`, in whatever case they are spelled."""
        found = [root]
        for part in parts:
            found = [
                os.path.join(folder, entry)
                for folder in found
                for entry in self._listing(folder).get(part.lower(), [])
            ][:_MAX_SPELLINGS]
        return (path for path in found if os.path.isfile(path))

    def _listing(self, folder: str) -> dict[str, list[str]]:
        """A directory's entries by their names in lower case."""
        known = self._listings.get(folder)
        if known is None:
            known = self._listings[folder] = {}
            try:
                names = sorted(os.listdir(folder))
            except (OSError, ValueError):
                names = []
            for name in names:
                known.setdefault(name.lower(), []).append(name)
        return known


def _named(paths: Iterable[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for path in paths:
        named.setdefault(os.path.basename(path).lower(), []).append(path)
    return named


def _by_name(named: dict[str, list[str]], name: str, identifier: str | None) -> list[str]:
    """Files of that name; not those that a store keeps under another identifier."""
    found = named.get(name.lower(), [])
    return [path for path in found if not _is_stored(path)] if identifier else found


def _is_stored(path: str) -> bool:
    folder, name = os.path.split(path)
    above, identifier = os.path.split(folder)
    return (
        os.path.basename(above).lower() == name.lower()
        and len(identifier) > 8
        and not identifier.lower().strip(_HEX)
    )


def _new(paths: Iterable[str], seen: set[str]) -> Iterator[str]:
    for path in paths:
        if path not in seen:
            seen.add(path)
            yield path
