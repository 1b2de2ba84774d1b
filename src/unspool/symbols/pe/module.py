"""All that can be known of the addresses of one PE module: DWARF, PDB, COFF symbols, exports.

Where there is neither DWARF nor a PDB file, a symbol file of Breakpad's has to do.

Everything here counts from the image's base (RVAs): a separate debug file can have another
preferred base than the module, and a symcache of a PE or PDB file counts like that anyway.
"""

from __future__ import annotations

from unspool.formats.pe import MACHINE_I386
from unspool.model import Module
from unspool.symbols.demangle import demangle, is_mangled
from unspool.symbols.files import forget
from unspool.symbols.function_names import as_elsewhere, without_arguments
from unspool.symbols.pe.dwarf import as_elf
from unspool.symbols.pe.finders import PeDebugFiles, has_dwarf, has_symbols
from unspool.symbols.pe.symbols import REACH, PeSymbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.formats.pe import Pe
    from unspool.pe_image import PeImage
    from unspool.symbols.breakpad import BreakpadLines
    from unspool.symbols.finders import DebugFiles
    from unspool.symbols.module_symbols import Found
    from unspool.symbols.native import NativeLines, SourcePlace

    Progress = Callable[[str], None] | None


class PeModuleSymbols:
    """Looks addresses of a PE module up, as `ModuleSymbols` does for an ELF module.

    `image` is the target's, or None where a report is all that is known of the module: its
    file is then looked for by its code id.
    """

    def __init__(
        self,
        module: Module,
        image: PeImage | None,
        files: DebugFiles,
        *,
        lines: bool,
        progress: Progress = None,
    ) -> None:
        self._problems: list[str] = []
        self.library_missing = False
        self._base = module.base
        self._finder = PeDebugFiles(files)
        if image is None:
            module, image = self._image_of_file(module)
        self._file = image.file if image else None
        headers = self._file or (image.headers if image else None)
        self._plain_c = headers is not None and headers.machine == MACHINE_I386
        self._from_pdb = False
        self._breakpad: BreakpadLines | None = None
        debug = self._find_debug(module, headers, lines)
        self._lines, used = (None, None)
        if lines:
            self._lines, used = self._open_lines(module, headers, debug, progress)
            if used is None and self._lines is None and not self.library_missing:
                self._breakpad = self._open_breakpad(module, headers, files, progress)
                used = self._breakpad.path if self._breakpad else None
        tables = [pe for pe in (debug[1] if debug else None, self._file) if pe is not None]
        if image is None and debug is not None:
            # Of a report: its sections are those of the module, without their bytes.
            image = _image_of(module, debug[1])
        self._symbols = PeSymbols(image, tables) if image else None
        self.refused = self._finder.refused
        self.module = _described(module, headers, used or (debug[0] if debug else None))
        self._image = image
        self.lacking: list[tuple[str, str, str | None]] = []
        there = debug or self._lines or self._breakpad or self.library_missing
        if not there and not _own_has(self._file, lines):
            self.lacking = list(self._finder.lacking(module, headers, self._file, lines))

    @property
    def from_pdb(self) -> bool:
        """Whether a PDB file knows names and lines."""
        return self._lines is not None and self._from_pdb

    @property
    def problems(self) -> list[str]:
        """What is broken or not read, in words; look-ups can add to it.

        Not that the dump lacks something where there is no file to have it from.
        """
        return self._problems + (self._image.problems if self._image and self._file else [])

    def lookup(self, pc: int) -> Found | None:
        """See `ModuleSymbols.lookup`; the name is that of the debug information if there is one.

        It is as good as a symbol's, and a symbol table takes ten milliseconds to read.
        """
        rva = pc - self._base
        label = None
        if self._lines is not None:
            places, start = self._lines.lookup(rva)
            for place in places:
                place.function = self._as_written(place.function)
            if places:
                name = self._scoped(places[-1], start)
                return name, None if start is None else start + self._base, places
            if self._from_pdb:
                label = self._lines.label(rva)
        if self._breakpad is not None:
            found = self._breakpad.lookup(rva)
            if found is not None and found[2]:
                return found[0], None if found[1] is None else found[1] + self._base, found[2]
            if found is not None and found[1] is not None:
                label = found[0], found[1]
        if self._symbols is not None:
            named = self._symbols.lookup(rva, label)
        else:
            named = label if label and rva - label[1] < REACH else None
        return (self._as_written(named[0]), named[1] + self._base, []) if named else None

    def _scoped(self, place: SourcePlace, start: int | None) -> str:
        """The function's name with its namespaces.

        DWARF has no mangled name for C++ functions that only their file sees: of
        `shop::(anonymous namespace)::hidden` it gives `hidden`.
        """
        name = place.function
        local = place.language == "cpp" and not self._from_pdb and not is_mangled(name)
        if local and start is not None and self._symbols is not None:
            symbol = self._symbols.symbol_at(start)
            if symbol is not None and is_mangled(symbol):
                return symbol
        return name

    def _as_written(self, name: str) -> str:
        """A function's name as other sources have it.

        In PDB files names have parameters, and the library takes an underscore from those that
        GNU ld writes: `ZN3foo3barEv`. In DWARF of i386 `std@4` is a stdcall function.
        """
        if is_mangled(name):
            return name
        if self._from_pdb:
            if name.startswith("Z") and demangle(f"_{name}") != f"_{name}":
                return f"_{name}"
            return as_elsewhere(without_arguments(name) or name)
        if self._plain_c:
            body, at, size = name.rpartition("@")
            if at and size.isascii() and size.isdigit():
                return body.removeprefix("@") or name
        return name

    def _open_breakpad(
        self, module: Module, headers: Pe | None, files: DebugFiles, progress: Progress
    ) -> BreakpadLines | None:
        if not (files.symbols.paths or files.symbols.stores):
            return None
        from unspool.symbols.breakpad import find_sym, open_sym

        identity = self._finder.pdb_id(module, headers)
        names = (*self._finder.pdb_names(module, headers), module.name)
        path = find_sym(files.symbols, names, identity, self._finder.refused)
        if path is None or identity is None:
            return None
        return open_sym(path, identity, progress=progress, problems=self._problems)

    def _image_of_file(self, module: Module) -> tuple[Module, PeImage | None]:
        found = self._finder.module_file(module)
        if found is None:
            return module, None
        path, pe = found
        return _with_file(module, path), _image_of(module, pe)

    def _find_debug(self, module: Module, headers: Pe | None, lines: bool) -> tuple[str, Pe] | None:
        """A separate debug file, if it could say more than the module's own."""
        if _own_has(self._file, lines):
            return None
        return self._finder.dwarf(module, headers)

    def _open_lines(
        self, module: Module, headers: Pe | None, debug: tuple[str, Pe] | None, progress: Progress
    ) -> tuple[NativeLines | None, str | None]:
        """What knows lines, and its file's path if that is not the module's own."""
        from unspool.symbols import native

        own = self._file
        source = None
        if own is not None and module.file and has_dwarf(own):
            source = module.file, own
        elif debug is not None and has_dwarf(debug[1]):
            source = debug
        if not native.available():
            codeview = headers.codeview() if headers else None
            self.library_missing = source is not None or bool(codeview and codeview.path)
            return None, None
        if source is not None:
            path, pe = source
            found = native.open_file(
                path, None, content=lambda: _dwarf(pe), progress=progress, problems=self._problems
            )
            return found, path if pe is not own else None
        pdb = self._finder.pdb(module, headers, native.debug_id)
        if pdb is None:
            return None, None
        self._from_pdb = True
        path, identity = pdb
        return (
            native.open_file(
                path, f"pdb{identity}", what="PDB", progress=progress, problems=self._problems
            ),
            path,
        )


def _own_has(own: Pe | None, lines: bool) -> bool:
    """Whether the module's own file says all that a debug file could."""
    return own is not None and (has_dwarf(own) if lines else has_symbols(own))


def _image_of(module: Module, pe: Pe) -> PeImage:
    """A module of which there is nothing but a file."""
    from unspool.memory import Memory
    from unspool.pe_image import PeImage

    return PeImage(Memory(), module.base, pe, pe)


def _dwarf(pe: Pe) -> bytes:
    data = as_elf(pe)
    forget(pe.buffer)
    return data


def _described(module: Module, headers: Pe | None, debug_file: str | None) -> Module:
    """The module, with what its file says of it and its debug file."""
    codeview = headers.codeview() if headers else None
    known = _with_file(module, module.file)
    known.code_id = module.code_id or (headers.code_id if headers else None)
    known.debug_id = module.debug_id or (codeview.debug_id if codeview else None)
    known.pdb_name = module.pdb_name or (codeview.name if codeview else None) or None
    known.debug_file = debug_file or module.debug_file
    return known


def _with_file(module: Module, path: str | None) -> Module:
    copy = module.copy()
    copy.file = path
    return copy
