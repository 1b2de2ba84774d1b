"""All that can be known of the addresses of one module: its symbol tables and its DWARF."""

from __future__ import annotations

from unspool.model import Module
from unspool.symbols.elf_symbols import ElfSymbols
from unspool.symbols.finders import DebugFile, DebugFiles, has_dwarf, has_symbols
from unspool.symbols.ids import debug_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.formats.elf import Elf
    from unspool.symbols.native import NativeLines, SourcePlace

    Found = tuple[str, int | None, Sequence[SourcePlace]]


class ModuleSymbols:
    """Looks addresses of a module up. `module` is a copy that says which files were used.

    `refused` are debug files that are another module's, with the reason; `problems` what is
    broken or not read, in words. `library_missing` tells that there is DWARF and nothing
    to read it with.
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
        self._lines = self._open_lines(elf, debug, progress) if lines else None
        self.problems.extend(self._symbols.problems)

    def lookup(self, pc: int) -> Found | None:
        """A pc's function (mangled), its start as an address of the process, and its places.

        The places are from DWARF, innermost first, the last one in the function itself; none
        without DWARF. The name is the symbol table's where a symbol with a size covers the
        address, so that a function has the same name with and without DWARF: DWARF has one
        name for both parts of a function that the compiler split, and `symbolic` takes any
        of several symbols of one address.
        """
        if self._bias is None:
            return None
        address = pc - self._bias
        symbol = self._symbols.lookup(address)
        places, start = self._lines.lookup(address) if self._lines else ([], None)
        if symbol is not None and (symbol.size or not places or symbol.start == start):
            return symbol.name, symbol.start + self._bias, places
        if places:
            return places[-1].function, None if start is None else start + self._bias, places
        return None

    def _open_lines(
        self, elf: Elf | None, debug: DebugFile | None, progress: Callable[[str], None] | None
    ) -> NativeLines | None:
        """The DWARF of the debug file, else of the module's own file."""
        source, path = (debug.elf, debug.path) if debug else (elf, self.module.file)
        if source is None or path is None or not has_dwarf(source):
            if debug is None or elf is None or self.module.file is None or not has_dwarf(elf):
                return None
            source, path = elf, self.module.file
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


def _wants_debug_file(elf: Elf | None, lines: bool) -> bool:
    """Whether a separate debug file could say more than the module's own."""
    if elf is None:
        return True
    return not (has_dwarf(elf) if lines else has_symbols(elf))


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
    return Module(
        module.index, module.name, module.base, module.end,
        path=module.path, kind=module.kind, bias=module.bias, code_id=code_id,
        debug_id=known, debug_file=debug.path if debug else module.debug_file, file=module.file,
    )  # fmt: skip
