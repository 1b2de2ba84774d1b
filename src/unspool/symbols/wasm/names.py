"""Names, files and lines of WebAssembly code out of the binary that it was compiled from."""

from __future__ import annotations

from unspool.formats.wasm import wasm_binary
from unspool.model import Finding
from unspool.model.report import wasm_number
from unspool.symbols.wasm.files import WasmFiles, debug_sections, open_modules
from unspool.symbols.wasm.source_map import named_file, source_map_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from unspool.formats.wasm_file import WasmModule
    from unspool.model import Location, Module, Report
    from unspool.symbols.files import SymbolPaths
    from unspool.symbols.native import NativeLines
    from unspool.symbols.wasm.files import WasmFile

    class Lines(Protocol):
        def fill(self, location: Location) -> None:
            """Adds what is known of a place: file, line, inlined calls."""
            ...

class WasmElsewhere:
    """Names of the WebAssembly code of a report; `names` is the `code_names` of `symbolicate`.

    `found` are the modules that a file was found for. What a person should know is in `findings`.
    """

    def __init__(self, report: Report, symbols: SymbolPaths | Sequence[str]) -> None:
        self.locations = report.locations
        self.files = WasmFiles(symbols)
        self.found: set[int] = set()
        self._findings: list[Finding] = []
        self._names: dict[int, WasmNames | None] = {}
        self._places: dict[int, set[tuple[int, int, int]]] = {}
        for location in self.locations.values():
            if location.module is None or location.wasm_function is None:
                continue
            if location.wasm_offset is not None:
                place = (location.wasm_module, location.wasm_function, location.wasm_offset)
                self._places.setdefault(location.module, set()).add(place)

    def names(self, module: Module, lines: bool) -> WasmNames | None:
        """The names of a module's code; None if no file fits, or several that say different
        things."""
        if module.index not in self._names:
            self._names[module.index] = self._open(module, lines)
        return self._names[module.index]

    @property
    def findings(self) -> list[Finding]:
        refused = [
            Finding("wasm_file_refused", f"{path} {why}")
            for path, why in self.files.problems
        ]
        return refused + self._findings

    def _open(self, module: Module, lines: bool) -> WasmNames | None:
        fitting = self.files.find(module, self._places.get(module.index, ()))
        if not fitting:
            return None
        self.found.add(module.index)
        named = [each for each in fitting if any(part.names for part in each.modules)]
        if len({_names_of(each) for each in named}) > 1:
            self._disagree(module, named, "names")
            return None
        first = (named or fitting)[0]
        _name_parts(module, fitting)
        found: Lines | None = None
        if lines and first.proved:
            found = self._dwarf(module, fitting) or source_map_of(fitting)
        return WasmNames(self.locations, first, found)

    def _dwarf(self, module: Module, fitting: Sequence[WasmFile]) -> WasmDwarf | None:
        """The debug information of the files that fit, or of those that they name."""
        from zlib import crc32

        found: dict[int, WasmDwarf] = {}
        for each in fitting:
            dwarf = WasmDwarf(each)
            if not dwarf.sections:
                continue
            parts = [bytes(data) for part in dwarf.sections for data in part.values()]
            found.setdefault(crc32(b"".join(parts)), dwarf)
        if len(found) > 1:
            self._disagree(module, fitting, "lines")
            return None
        return next(iter(found.values()), None) or _companion(self.files.symbols, fitting)

    def _disagree(self, module: Module, files: Sequence[WasmFile], what: str) -> None:
        paths = " and ".join(each.path for each in files[:2])
        self._findings.append(
            Finding(
                "wasm_file_refused",
                f"{module.name}: {paths} have the same code and different {what}",
                detail="give the right one by its own path, as --symbols FILE",
            )
        )


def add_lines(report: Report, symbols: SymbolPaths) -> None:
    """Completes a report that has names with files, lines and inlined calls."""
    elsewhere = WasmElsewhere(report, symbols)
    modules = {module.index: module for module in report.modules if module.wasm is not None}
    for pc, known in list(report.locations.items()):
        module = modules.get(known.module) if known.module is not None else None
        if module is not None and known.wasm_function is not None and known.file is None:
            names = elsewhere.names(module, True)
            report.locations[pc] = (names.locate(pc) if names is not None else None) or known
    report.findings += elsewhere.findings


class WasmDwarf:
    """Debug information of a binary's modules, in itself or in a file beside it."""

    def __init__(self, file: WasmFile, other: Sequence[WasmModule] | None = None) -> None:
        modules = file.modules if other is None else other
        self.sections = [debug_sections(module) for module in modules]
        if not any(self.sections):
            self.sections = []
        self._file = file
        self._opened: dict[int, NativeLines | None] = {}

    def fill(self, location: Location) -> None:
        """Adds file, line and inlined calls."""
        place = self._file.function(location.wasm_module, location.wasm_function or 0)
        if place is None or location.wasm_offset is None:
            return
        module, body = place
        code = module.code[0] if module.code else 0
        offset = location.wasm_offset - self._file.moved.get(location.wasm_module, 0)
        lines = self._lines(location.wasm_module)
        # DWARF of WebAssembly counts from the code section's contents (tool-conventions).
        places, start = lines.lookup(offset - code) if lines else ([], None)
        # It must have a function there. That is all that ties a file without code to the binary.
        if not places or start is None or not body[0] <= start + code < body[1]:
            return
        from unspool.symbols.symbolicate import to_location

        found = to_location((places[-1].function, None, places), None, 0)
        location.file, location.line, location.inlines = found.file, found.line, found.inlines
        location.function = location.function or found.function

    def _lines(self, module: int) -> NativeLines | None:
        if module not in self._opened:
            from unspool.symbols import native

            sections = self.sections[module] if module < len(self.sections) else {}
            usable = sections and native.available()
            self._opened[module] = native.open_wasm(wasm_binary(sections)) if usable else None
        return self._opened[module]


class WasmNames:
    """Names out of one file that fits, for the locations of a report."""

    def __init__(
        self, locations: dict[int, Location], file: WasmFile, lines: Lines | None
    ) -> None:
        self._locations = locations
        self._file = file
        self.lines = lines

    def locate(self, pc: int) -> Location | None:
        """What is known of a look-up pc, of which the report has the place in the binary."""
        known = self._locations.get(pc)
        if known is None or known.wasm_function is None:
            return None
        place = self._file.function(known.wasm_module, known.wasm_function)
        if place is None:
            return None
        made = known.copy()
        name = place[0].names.get(known.wasm_function, b"").decode("utf-8", "replace")
        if made.function is None or made.is_numbered:
            made.function = name or None
        if self.lines is not None and made.file is None:
            self.lines.fill(made)
        made.function = made.function or wasm_number(known.wasm_function)
        return made


def _name_parts(module: Module, fitting: Sequence[WasmFile]) -> None:
    """Names the modules of a component that the report has no name for."""
    names = {tuple(part.name for part in file.modules) for file in fitting}
    if module.wasm is None or len(names) > 1 or len(module.wasm.functions) < 2:
        return
    known = {number: name for number, name in enumerate(names.pop()) if name}
    module.wasm = module.wasm.copy()
    module.wasm.modules = {**known, **module.wasm.modules}


def _names_of(file: WasmFile) -> tuple[tuple[tuple[int, bytes], ...], ...]:
    return tuple(tuple(sorted(module.names.items())) for module in file.modules)


def _companion(symbols: SymbolPaths, fitting: Sequence[WasmFile]) -> WasmDwarf | None:
    """Debug information in a file without code: one with the same build id, or the one beside
    the binary that it names (tool-conventions, `external_debug_info`)."""
    for each in fitting:
        if len(each.modules) != 1:
            continue
        build_id = each.modules[0].build_id
        beside = named_file(each, "external_debug_info")
        paths = [beside] if beside else []
        for path in paths + (list(symbols.wasm_files()) if build_id else []):
            other = open_modules(path)
            if other is None or len(other) != 1 or other[0].bodies:
                continue
            if (build_id and other[0].build_id == build_id) or (path == beside and not build_id):
                dwarf = WasmDwarf(each, other)
                if dwarf.sections:
                    return dwarf
    return None
