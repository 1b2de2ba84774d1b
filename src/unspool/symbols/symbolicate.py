"""Names the frames of a report: functions, files, lines, inlined calls.

It needs the report and the modules' files, never the process: a report that was made on
the machine of the crash can be named on another one.

A frame is a real function's. `Location.function` is that function, and `file` and `line`
are where in *it* the frame is: for a call that was expanded in place, the line that made
the outermost such call. `Location.inlines` are the expanded calls, innermost first, each
with the place inside of it. Read from the first inlined call to the frame itself, that is
the stack as the source code has it.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError
from unspool.memory import Fault
from unspool.model import Finding, Inline, Location, Module, Report
from unspool.model.target import ModuleRanges
from unspool.symbols.demangle import function_name, is_mangled
from unspool.symbols.module_symbols import ModuleSymbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from unspool.formats.elf import Elf
    from unspool.generated.code import CodeNames
    from unspool.pe_image import PeImage
    from unspool.symbols.finders import DebugFiles, SearchOptions
    from unspool.symbols.missing import MissingFile
    from unspool.symbols.module_symbols import Found
    from unspool.symbols.pe.module import PeModuleSymbols

    AnySymbols = ModuleSymbols | PeModuleSymbols
    Progress = Callable[[str], None] | None

_NATIVE = ("elf", "vdso")


def symbolicate(
    report: Report,
    elf_of: Callable[[Module], Elf | None],
    options: SearchOptions,
    *,
    pe_of: Callable[[Module], PeImage | None] | None = None,
    code_names: Callable[[Module, bool], CodeNames | None] | None = None,
    subject_names: Callable[[int], Location | None] | None = None,
    lines: bool = True,
    progress: Progress = None,
    missing: list[MissingFile] | None = None,
) -> Report:
    """A copy of the report whose locations have names; it shares the report's stacks.

    `elf_of` gives a module's own file or image if it is at hand, `pe_of` that of a module of
    kind "pe", `code_names` the names of code that the process has made; only modules that a
    frame is in are asked for. `subject_names` tells what is known of a frame's subject that no
    module names. `options` says where debug files may be. Without `lines` names
    come from symbol tables alone, which is faster. A location that has a function already stays
    as it is. `progress` is called with a sentence before something that takes seconds.

    With a list `missing` the report may be of another machine: functions without lines are
    looked up as well, what it says is kept where nothing better is found, and files that would
    say more are appended to the list.

    `Location.function_offset` is that of the look-up pc; what is shown for a frame is it
    plus `frame.pc - frame.lookup_pc`. Whatever the files hold, nothing is raised: files
    that are no good are findings.
    """
    naming = _Naming(
        report, elf_of, options, pe_of=pe_of, code_names=code_names, lines=lines,
        progress=progress, missing=missing,
    )  # fmt: skip
    for module, pcs in _by_module(report.modules, naming.unnamed()):
        if module.kind in _NATIVE or module.kind == "pe":
            naming.by_files(module, pcs)
        else:
            naming.as_generated(module, pcs)
    _name_subjects(report, naming.named, naming.names_of, subject_names)
    return naming.result()


class _Naming:
    """What is known so far of a report's addresses, and what may be asked for more."""

    def __init__(
        self,
        report: Report,
        elf_of: Callable[[Module], Elf | None],
        options: SearchOptions,
        *,
        pe_of: Callable[[Module], PeImage | None] | None,
        code_names: Callable[[Module, bool], CodeNames | None] | None,
        lines: bool,
        progress: Progress,
        missing: list[MissingFile] | None,
    ) -> None:
        self.report = report
        self.elf_of = elf_of
        self.options = options
        self.pe_of = pe_of
        self.code_names = code_names
        self.lines = lines
        self.progress = progress
        self.missing = missing
        self.named = dict(report.locations)
        self.kept = self.named if missing is not None else {}
        # Whoever named some of a module's addresses with lines had its debug information, and
        # that does not know the rest.
        self.have_lines = {each.module for each in self.named.values() if each.file is not None}
        self.modules = {module.index: module for module in report.modules}
        self.findings = _Findings()
        self._files: DebugFiles | None = None

    def unnamed(self) -> list[int]:
        """Sorted look-up pcs without a function; of another machine's, without a line as well."""
        known, for_lines = self.named, self.lines and self.missing is not None
        return sorted(
            pc
            for pc in lookup_pcs(self.report)
            if pc not in known
            or known[pc].function is None
            or known[pc].is_numbered
            or (for_lines and known[pc].file is None and known[pc].module not in self.have_lines)
        )

    def names_of(self, module: Module) -> CodeNames | None:
        return self.code_names(module, self.lines) if self.code_names else None

    def as_generated(self, module: Module, pcs: list[int]) -> None:
        """Names addresses in code that the process has made."""
        names = self.names_of(module)
        for pc in pcs:
            self._keep(pc, _of_generated(names, module, pc))
        if self.missing is not None and module.wasm is not None and names is None:
            from unspool.symbols.missing import lacking_wasm

            self.missing += lacking_wasm(module, [self.named[pc] for pc in pcs], self.lines)

    def by_files(self, module: Module, pcs: list[int]) -> None:
        """Names addresses in a module whose files can be had."""
        symbols = self._symbols(module)
        for pc in pcs:
            self._keep(pc, _locate(symbols, module, pc))
        found = [self.named[pc] for pc in pcs]
        if self.missing is not None and symbols.lacking and module.index not in self.have_lines:
            from unspool.symbols.missing import lacking_files

            self.missing += lacking_files(module, symbols.lacking, found, self.lines)
        self.modules[module.index] = symbols.module
        self.findings.add(symbols, found)

    def _symbols(self, module: Module) -> AnySymbols:
        if self._files is None:
            from unspool.symbols.finders import DebugFiles

            self._files = DebugFiles(self.options.symbols, self.options.sysroot)
        if module.kind == "pe":
            from unspool.symbols.pe.module import PeModuleSymbols

            image = self.pe_of(module) if self.pe_of else None
            return PeModuleSymbols(
                module, image, self._files, lines=self.lines, progress=self.progress
            )
        return ModuleSymbols(
            module, self.elf_of(module), self._files, lines=self.lines, progress=self.progress
        )

    def _keep(self, pc: int, new: Location) -> None:
        """Keeps what says more of an address, of equals the old one."""
        old = self.kept.get(pc)
        if old is not None and (new.file is None or old.file is not None):
            unnamed = old.function is None or old.is_numbered
            new = new if unnamed and new.function is not None else old
        self.named[pc] = new

    def result(self) -> Report:
        report = self.report
        return Report(
            report.target,
            [self.modules[module.index] for module in report.modules],
            report.stacks,
            crash=report.crash,
            locations=self.named,
            findings=[*report.findings, *self.findings.found],
        )


def _name_subjects(
    report: Report,
    named: dict[int, Location],
    code_names: Callable[[Module], CodeNames | None],
    subject_names: Callable[[int], Location | None] | None = None,
) -> None:
    """Adds locations of what frames work on; the code's own name is that of what works."""
    for stack in report.stacks:
        for index, subject in stack.subjects.items():
            if subject in named:
                continue
            code = named.get(stack.frames[index].lookup_pc)
            number = code.module if code is not None else None
            known = subject_names(subject) if subject_names is not None else None
            if known is not None:
                known.module = number
                named[subject] = known
                continue
            module = report.modules[number] if number is not None else None
            if module is not None:
                code = _of_generated(code_names(module), module, subject)
            named[subject] = code or Location()


def locate(report: Report) -> Report:
    """A copy of the report whose locations say which module an address is in, nothing more."""
    locations = dict(report.locations)
    unknown = sorted(pc for pc in lookup_pcs(report) if pc not in locations)
    for module, pcs in _by_module(report.modules, unknown):
        locations.update((pc, Location(module.index)) for pc in pcs)
    _name_subjects(report, locations, lambda each: None)
    return Report(
        report.target, report.modules, report.stacks,
        crash=report.crash, locations=locations, findings=report.findings,
    )  # fmt: skip


def name_ranges(report: Report, known: Iterable[tuple[int, int, str]]) -> dict[int, Location]:
    """Locations of frames in code whose names are known already, as (start, end, name)."""
    ranges = sorted(known)
    starts = [start for start, _, _ in ranges]
    pcs = []
    for pc in sorted(lookup_pcs(report)):
        at = bisect_right(starts, pc) - 1
        if at >= 0 and pc < ranges[at][1]:
            pcs.append(pc)
    named = {}
    for module, inside in _by_module(report.modules, pcs):
        for pc in inside:
            start, _, name = ranges[bisect_right(starts, pc) - 1]
            named[pc] = Location(module.index, name, pc - start)
    return named


def lookup_pcs(report: Report) -> set[int]:
    """The look-up pc of every frame, once. This is `Frame.lookup_pc`, without half a million
    calls of a property."""
    return {
        frame.pc if frame.exact else frame.pc - 1
        for stack in report.stacks
        for frame in stack.frames
    }


def _by_module(modules: Iterable[Module], pcs: list[int]) -> Iterator[tuple[Module, list[int]]]:
    """Sorted addresses by the module they are in; those in none are left out."""
    ranges = ModuleRanges(modules)
    grouped: dict[int, tuple[Module, list[int]]] = {}
    for pc in pcs:
        module = ranges.at(pc)
        if module is not None:
            grouped.setdefault(id(module), (module, []))[1].append(pc)
    yield from grouped.values()


def _of_generated(names: CodeNames | None, module: Module, pc: int) -> Location:
    try:
        found = names.locate(pc) if names is not None else None
    except (FormatError, Fault):
        found = None
    if found is None:
        return Location(module.index)
    found.module = module.index
    return found


def _locate(symbols: AnySymbols, module: Module, pc: int) -> Location:
    found = symbols.lookup(pc)
    return Location(module.index) if found is None else to_location(found, module.index, pc)


def to_location(found: Found, module: int | None, pc: int) -> Location:
    """A function, its start and its places, innermost first, as what a report says of a pc."""
    name, start, places = found
    # A name that lies in a file that dwz made is missing, with its place known.
    inlines = [Inline(function_name(p.function) or "?", p.file, p.line) for p in places[:-1]]
    return Location(
        module,
        function_name(name) or None,
        None if start is None else pc - start,
        places[-1].file if places else None,
        places[-1].line if places else None,
        tuple(inlines),
    )


class _Findings:
    """What a person should know of files that were no good, each thing once."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self._kinds: set[str] = set()

    def add(self, symbols: AnySymbols, locations: Iterable[Location]) -> None:
        for path, why in symbols.refused:
            self.found.append(
                Finding(
                    "debug_file_refused",
                    f"{path} is not the debug file of {symbols.module.name}: {why}",
                )
            )
        for problem in symbols.problems:
            self.found.append(Finding("debug_info", f"{symbols.module.name}: {problem}"))
        if symbols.library_missing:
            self._add_once("no_lines", "no files and lines: the library symbolic is not installed")
        if "mangled" not in self._kinds:
            from unspool.symbols.demangle import available

            if any(is_mangled(place.function or "") for place in locations) and not available():
                self._add_once(
                    "mangled", "names stay mangled: the library pydemumble is not installed"
                )

    def _add_once(self, kind: str, title: str) -> None:
        if kind not in self._kinds:
            self._kinds.add(kind)
            self.found.append(Finding(kind, title, detail="pip install 'unspool[symbols]'"))
