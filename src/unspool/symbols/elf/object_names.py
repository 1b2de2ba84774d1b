"""Names of code that an ELF object in the process's memory describes: of a JIT compiler's code."""

from __future__ import annotations

from unspool.symbols.elf.symbols import ElfSymbols
from unspool.symbols.finders import has_dwarf
from unspool.symbols.symbolicate import to_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.formats.elf import Elf
    from unspool.generated.code import CodeNames
    from unspool.model import Location
    from unspool.symbols.native import NativeLines


class ObjectNames:
    """Looks addresses of the process up in an object that has such addresses itself.

    Without `lines` in its symbol table alone.
    """

    def __init__(self, elf: Callable[[], Elf | None], *, lines: bool) -> None:
        self._elf = elf
        self._wants_lines = lines
        self._opened: tuple[ElfSymbols, NativeLines | None] | None = None

    def locate(self, pc: int) -> Location | None:
        """What the object says of an address; None if nothing."""
        symbols, lines = self._open()
        symbol = symbols.lookup(pc)
        places, start = lines.lookup(pc) if lines is not None else ([], None)
        if symbol is not None and (symbol.size or not places or symbol.start == start):
            return to_location((symbol.name, symbol.start, places), None, pc)
        return to_location((places[-1].function, start, places), None, pc) if places else None

    def _open(self) -> tuple[ElfSymbols, NativeLines | None]:
        if self._opened is None:
            elf = self._elf()
            lines = None
            if elf is not None and self._wants_lines and has_dwarf(elf):
                from unspool.symbols import native

                lines = native.open_object(elf, []) if native.available() else None
            self._opened = ElfSymbols(elf), lines
        return self._opened


class CompletedNames:
    """Names of one who knows the code best, with files and lines that an object has of it."""

    def __init__(self, names: CodeNames, objects: ObjectNames) -> None:
        self._names = names
        self._objects = objects

    def locate(self, pc: int) -> Location | None:
        """What is known of an address; None if nothing."""
        known = self._names.locate(pc)
        if known is None or known.file is not None:
            return known
        other = self._objects.locate(pc)
        # Of code without any DWARF Wasmtime makes some whose lines are offsets in the binary.
        if other is not None and other.file is not None and not other.file.endswith(".wasm"):
            known.file, known.line, known.inlines = other.file, other.line, other.inlines
        return known


class WasmLines:
    """Names of WebAssembly code, with files and lines by the DWARF of its binary."""

    def __init__(self, names: CodeNames, dwarf: Callable[[int], tuple[int, bytes] | None]) -> None:
        self._names = names
        self._dwarf = dwarf
        self._opened: dict[int, tuple[int, NativeLines | None]] = {}

    def locate(self, pc: int) -> Location | None:
        """What is known of an address; None if nothing."""
        known = self._names.locate(pc)
        if known is None or known.wasm_offset is None or known.file is not None:
            return known
        start, lines = self._open(known.wasm_module)
        places = lines.lookup(known.wasm_offset - start)[0] if lines is not None else []
        if places:
            found = to_location((places[-1].function, None, places), None, pc)
            known.file, known.line, known.inlines = found.file, found.line, found.inlines
        return known

    def _open(self, module: int) -> tuple[int, NativeLines | None]:
        if module not in self._opened:
            from unspool.symbols import native

            found = self._dwarf(module) if native.available() else None
            opened = (found[0], native.open_wasm(found[1])) if found else (0, None)
            self._opened[module] = opened
        return self._opened[module]
