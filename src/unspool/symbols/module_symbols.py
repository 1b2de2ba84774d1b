"""All that can be known of the addresses of one module: its symbol tables and its DWARF.

Where there is no DWARF, a symbol file of Breakpad's has to do.
"""

from __future__ import annotations

from unspool.model import Module
from unspool.symbols.elf.symbols import ElfSymbols
from unspool.symbols.finders import DebugFile, DebugFiles, has_dwarf, has_symbols
from unspool.symbols.ids import debug_id, store_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.formats.elf import Elf
    from unspool.symbols.breakpad import BreakpadLines
    from unspool.symbols.native import NativeLines, SourcePlace

    Found = tuple[str, int | None, Sequence[SourcePlace]]


class ModuleSymbols:
    """Looks addresses of a module up. `module` is a copy that says which files were used.

    `refused` are debug files that are another module's, with the reason; `problems` what is
    broken or not read, in words. `library_missing` tells that there is DWARF and nothing
    to read it with. `lacking` are the files that would say more, as (kind, name, id).
    """

    def __init__(
        self,
        module: Module,
        elf: Elf | None,
        files: DebugFiles,
        *,
        lines: bool,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.problems: list[str] = []
        self.library_missing = False
        before = len(files.problems)
        debug = files.find(module, elf) if _wants_debug_file(elf, lines) else None
        self.refused = files.problems[before:]
        self._bias = _bias(module, elf, debug)
        self._symbols = ElfSymbols(elf, debug.elf if debug else None, bias=self._bias or 0)
        self.module = _described(module, elf, debug)
        self._has_dwarf = False
        self._lines = self._open_lines(elf, debug, progress) if lines else None
        self._breakpad: BreakpadLines | None = None
        if not (self._has_dwarf if lines else elf or debug):
            self._breakpad = self._open_breakpad(files, progress)
        self.lacking: list[tuple[str, str, str | None]] = []
        if not (self._has_dwarf or self._breakpad or debug) and _is_stripped(elf, lines):
            kind = "debuginfo" if self.module.code_id else "executable"
            self.lacking.append((kind, module.name, self.module.code_id))
        self.problems.extend(self._symbols.problems)

    def lookup(self, pc: int) -> Found | None:
        """A pc's function (mangled), its start as an address of the process, and its places.

        The places are from DWARF, innermost first, the last one in the function itself; none
        without DWARF. The name is the symbol table's where a symbol with a size covers the
        address, so that a function has the same name with and without DWARF: DWARF has one
        name for both parts of a function that the compiler split, and `symbolic` takes any
        of several symbols of one address.
        """
        found = self._look_up(pc - self._bias) if self._bias is not None else None
        if self._breakpad is not None and not (found and found[2]):
            other = self._breakpad.lookup(pc - self.module.base)
            if other is not None and (other[2] or found is None):
                return _moved(other, self.module.base)
        return _moved(found, self._bias or 0)

    def _look_up(self, address: int) -> Found | None:
        """The same by the symbol tables and DWARF, for an address of the file."""
        symbol = self._symbols.lookup(address)
        places, start = self._lines.lookup(address) if self._lines else ([], None)
        if symbol is not None and (symbol.size or not places or symbol.start == start):
            return symbol.name, symbol.start, places
        return (places[-1].function, start, places) if places else None

    def _open_breakpad(
        self, files: DebugFiles, progress: Callable[[str], None] | None
    ) -> BreakpadLines | None:
        if not (files.symbols.paths or files.symbols.stores):
            return None
        from unspool.symbols import native
        from unspool.symbols.breakpad import find_sym, open_sym

        identity = store_id(self.module.debug_id or "")
        path = find_sym(files.symbols, (self.module.name,), identity, self.refused)
        if path is None:
            return None
        if not native.available():
            self.library_missing = True
            return None
        self.module.debug_file = self.module.debug_file or path
        return open_sym(path, identity, progress=progress, problems=self.problems)

    def _open_lines(
        self, elf: Elf | None, debug: DebugFile | None, progress: Callable[[str], None] | None
    ) -> NativeLines | None:
        """The DWARF of the debug file, else of the module's own file."""
        source, path = (debug.elf, debug.path) if debug else (elf, self.module.file)
        if source is None or path is None or not has_dwarf(source):
            if debug is None or elf is None or self.module.file is None or not has_dwarf(elf):
                return None
            source, path = elf, self.module.file
        self._has_dwarf = True
        from unspool.symbols import native
        from unspool.symbols.finders import alternate_debug_file

        if not native.available():
            self.library_missing = True
            return None
        other = alternate_debug_file(source)
        if other:
            self.problems.append(
                f"parts of its debug information are in {other} (dwz), which is not read"
            )
        return native.open_lines(source, path, progress=progress, problems=self.problems)


def _moved(found: Found | None, by: int) -> Found | None:
    """What was found in a file's addresses, in those of the process."""
    if found is None or found[1] is None:
        return found
    return found[0], found[1] + by, found[2]


def _wants_debug_file(elf: Elf | None, lines: bool) -> bool:
    """Whether a separate debug file could say more than the module's own."""
    if elf is None:
        return True
    return not (has_dwarf(elf) if lines else has_symbols(elf))


def _is_stripped(elf: Elf | None, lines: bool) -> bool:
    """Whether there must be a file somewhere that says more than the module's own.

    A program with a symbol table was never stripped, or of its DWARF alone, which leaves a link.
    """
    if elf is None or not has_symbols(elf):
        return True
    return lines and elf.debug_link() is not None


def _bias(module: Module, elf: Elf | None, debug: DebugFile | None) -> int | None:
    if module.bias is not None:
        return module.bias
    source = elf or (debug.elf if debug else None)
    return source.load_bias(module.base) if source else None


def _described(module: Module, elf: Elf | None, debug: DebugFile | None) -> Module:
    code_id = module.code_id or (elf.build_id() if elf else None)
    known = module.debug_id
    if known is None and code_id:
        try:
            known = debug_id(code_id)
        except ValueError:
            known = None  # a report from elsewhere can say anything
    described = module.copy()
    described.code_id, described.debug_id = code_id, known
    if debug is not None:
        described.debug_file = debug.path
    return described
