"""The modules of a process and their files: what cores and running processes share."""

from __future__ import annotations

from bisect import bisect_right

from unspool.formats import notes
from unspool.formats.elf import PT_LOAD, Elf
from unspool.image import Image
from unspool.memory import Memory, Region
from unspool.model import Finding, Module
from unspool.targets.modules import MappedModule, headers_at, note_code, vdso_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from unspool.cursor import Buffer
    from unspool.formats.notes import FileMapping
    from unspool.formats.pe import Pe
    from unspool.memory import Loader
    from unspool.pe_image import PeImage
    from unspool.targets.module_files import ModuleFiles, Refusal
    from unspool.targets.pe.files import PeFiles
    from unspool.targets.pe.loader_lists import LoaderLists
    from unspool.targets.pe.modules import MappedPe

    Mapped = MappedModule | MappedPe

# Wine's Unix half: no Wine process is without it.
_NTDLL = "ntdll.so"


class MappedModules:
    """Finds modules' images; opens their files when they are first needed.

    `held` is the memory that the target itself holds, where modules' headers are looked for;
    `memory`, which images read through, is to be set to the target's whole memory. Files
    that were refused are reported in `findings`, in the words of `refused` and `remedy`.
    """

    refused = "is not the file that crashed"
    remedy = "--symbols or --sysroot"

    def __init__(
        self, files: ModuleFiles, held: Memory, auxv: dict[int, int], findings: list[Finding]
    ) -> None:
        self.files = files
        self.held = held
        self.memory = held
        self.auxv = auxv
        self.findings = findings
        self.mapped: list[MappedModule] = []
        self.windows: list[MappedPe] = []
        self.modules: list[Module] = []
        self.pe_files: PeFiles | None = None
        self._window_bases: list[int] = []
        self._opened: dict[int, Elf | None] = {}
        self._opened_pe: dict[int, Pe | None] = {}
        self._vdso: Image | None = None
        self._by_base: dict[int, Mapped] = {}
        self._places: list[tuple[FileMapping, Mapped]] = []
        self._starts: list[int] = []

    def index(self, vdsos: Iterable[int]) -> None:
        """To be called once `mapped` is complete. `vdsos` are addresses of a vdso, if any."""
        everything: list[Mapped] = [*self.mapped, *self.windows]
        self.modules = [
            entry.module
            for entry in everything
            if not (isinstance(entry, MappedModule) and entry.is_object)
        ]
        self._by_base = {entry.module.base: entry for entry in everything}
        for base in vdsos:
            found = vdso_module(len(self.modules), self.held, base)
            if found is not None:
                module, self._vdso = found
                self.modules.append(module)
        places = ((mapping, entry) for entry in everything for mapping in entry.mappings)
        self._places = sorted(places, key=_start)
        self._starts = [mapping.start for mapping, _ in self._places]

    def find_pe(
        self,
        groups: Sequence[Sequence[FileMapping]],
        process: Memory,
        specials: Iterable[Mapping[str, int]],
        word: int,
        is_code: Callable[[int], bool | None],
    ) -> None:
        """Finds PE modules, if this is a process that has any. To be called before `index`.

        `groups` are mappings of files that may be PE; `process` is the memory that headers and
        the loader's lists are read from, `specials` threads' registers that lead there.
        """
        if not groups and not any(each.module.name == _NTDLL for each in self.mapped):
            return
        from unspool.targets.pe.loader_lists import read_lists

        self.take_pe(groups, process, read_lists(process, specials, word), word, is_code)

    def take_pe(
        self,
        groups: Sequence[Sequence[FileMapping]],
        process: Memory,
        lists: LoaderLists,
        word: int,
        is_code: Callable[[int], bool | None],
    ) -> None:
        """Finds PE modules by what the loader is known to have loaded. See `find_pe`."""
        from unspool.targets.pe import modules as pe_modules
        from unspool.targets.pe.files import prefix_of

        # Wine's loader knows better than a name and a protection.
        mapped, self.mapped = self.mapped, []
        groups = list(groups)
        for entry in mapped:
            if entry.headers is None and entry.module.base in lists.entries:
                groups.append(entry.mappings)
            else:
                self.mapped.append(entry)
        others = [(each.start, each.end) for entry in self.mapped for each in entry.mappings]
        place = pe_modules.Place(groups, others, process, lists, word, is_code, self.peeked())
        self.windows = pe_modules.find_pe_modules(place)
        self._window_bases = [entry.module.base for entry in self.windows]
        prefix = prefix_of(mapping.path for group in groups for mapping in group)
        self.pe_files = self.make_pe_files(process, prefix)

    def make_pe_files(self, held: Memory, prefix: str | None) -> PeFiles:
        """What finds the files of PE modules. `prefix` is the Wine prefix, if it is known."""
        from unspool.targets.pe.files import PeFiles

        return PeFiles(self.files.options, held, prefix)

    def peeked(self) -> Iterable[int]:
        """The starts of regions that may hold an image that nothing names, by address."""
        return ()

    def windows_path(self) -> str | None:
        """The path of the Windows program that a Wine process runs."""
        for entry in self.windows:
            if entry.wanted.is_program:
                return entry.module.path
        return None

    def place_at(self, address: int) -> tuple[FileMapping, Mapped] | None:
        """The file mapping that contains an address, and its module."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address < self._places[at][0].end:
            return self._places[at]
        return None

    def window_at(self, address: int) -> MappedPe | None:
        """The PE module that an address is in."""
        at = bisect_right(self._window_bases, address) - 1
        if at >= 0 and address < self.windows[at].module.end:
            return self.windows[at]
        return None

    def entry_points(self) -> list[int]:
        """Entry points of the program and of the dynamic linker, as addresses."""
        points = [self.auxv[notes.AT_ENTRY]] if notes.AT_ENTRY in self.auxv else []
        base = self.auxv.get(notes.AT_BASE)
        if base:
            headers = headers_at(self.held, base)
            if headers is None:
                linker = next((e for e in self.mapped if e.module.base == base), None)
                headers = self.elf(linker) if linker else None
            if headers is not None:
                points.append(headers.entry + headers.load_bias(base))
        return points

    def holes(self) -> list[tuple[int, int]]:
        """Parts of modules that other code fills. To be called once `memory` is complete."""
        mapped = sorted(self.mapped, key=_base)
        bases = [entry.module.base for entry in mapped]
        suspects = []
        for region in self.memory.regions:
            at = bisect_right(bases, region.start) - 1
            if (
                at >= 0
                and region.end <= mapped[at].module.end
                and self.place_at(region.start) is None
                # Last: of some regions their files say that.
                and region.executable
            ):
                suspects.append((region, mapped[at]))
        if not suspects:
            return []
        from unspool.targets.holes import is_hole

        return [(region.start, region.end) for region, entry in suspects if is_hole(region, entry)]

    def image(self, module: Module) -> Image | PeImage | None:
        """A module's unwind data, from its file, else from the process's memory."""
        if module.kind == "vdso":
            return self._vdso
        entry = self._by_base.get(module.base)
        if entry is None:
            return None
        if not isinstance(entry, MappedModule):
            return self._pe_image(entry)
        elf = self.elf(entry)
        headers = elf or entry.headers
        if headers is None or module.bias is None:
            return None
        note_code(module, headers)
        return Image(
            self.memory, module.bias, file=elf, mapped=entry.headers,
            find_debug=lambda: self.files.debug_file(module, headers),
        )  # fmt: skip

    def _pe_image(self, entry: MappedPe) -> PeImage | None:
        pe = self.pe(entry)
        headers = pe or entry.headers
        if headers is None:
            return None
        from unspool.pe_image import PeImage
        from unspool.targets.pe.modules import note_pdb

        image = PeImage(
            self.memory, entry.module.base, headers, pe,
            find_stack_win=lambda: self.files.stack_win(entry.module, headers),
        )  # fmt: skip
        note_pdb(entry.module, image)
        return image

    def elf(self, entry: MappedModule) -> Elf | None:
        """The module's verified file; remembers it, or that there is none."""
        module = entry.module
        if module.base not in self._opened:
            self._opened[module.base] = None
            found = self.files.find(entry.wanted)
            if isinstance(found, tuple):
                module.file, elf = found
                self._opened[module.base] = elf
                # What the target did not hold.
                module.code_id = module.code_id or elf.build_id()
                if module.bias is None:
                    module.bias = _bias_by_mapping(elf, entry.mappings)
            else:
                self._refuse(module, found)
        return self._opened[module.base]

    def pe(self, entry: MappedPe) -> Pe | None:
        """A PE module's verified file; remembers it, or that there is none."""
        module = entry.module
        if module.base not in self._opened_pe:
            self._opened_pe[module.base] = None
            assert self.pe_files is not None
            found = self.pe_files.find(entry.wanted)
            if isinstance(found, tuple):
                module.file, pe = found
                self._opened_pe[module.base] = pe
                module.code_id = pe.code_id
                module.bias = module.base - pe.image_base
            else:
                self._refuse(module, found)
        return self._opened_pe[module.base]

    def rest(self, held: Region, start: int, end: int) -> list[Region]:
        """The part `[start, end)` of the mapping of `held`: bytes of mapped files, or none."""
        regions = []
        while start < end:
            place = self.place_at(start)
            mapping = place[0] if place else None
            stop = min(end, mapping.end) if mapping else end
            regions.append(
                Region(
                    start,
                    stop,
                    self.loader(mapping, start) if mapping else self.copied_loader(start, stop),
                    writable=held.writable,
                    executable=held.executable,
                    mapping=held.mapping,
                )
            )
            start = stop
        return regions

    def loader(self, mapping: FileMapping, start: int) -> Loader:
        """A region loader for the file's bytes from `start` on."""

        def load() -> tuple[Buffer, int, int] | None:
            place = self.place_at(mapping.start)
            buffer = self.file_bytes(place[1]) if place else None
            if buffer is None:
                return None
            return buffer, mapping.offset + start - mapping.start, mapping.end - start

        return load

    def copied_loader(self, start: int, end: int) -> Loader | None:
        """A region loader for what is mapped from no file: a PE module's code, copied."""
        entry = self.window_at(start)
        if entry is None:
            return None
        from unspool.targets.pe.regions import code_loader

        return code_loader(entry, start, end, self.pe)

    def file_bytes(self, entry: Mapped) -> Buffer | None:
        """The bytes of a module's verified file."""
        file = self.elf(entry) if isinstance(entry, MappedModule) else self.pe(entry)
        return file.buffer if file is not None else None

    def _refuse(self, module: Module, refusals: Sequence[Refusal]) -> None:
        """Reports why the likeliest file was not taken, if there was any."""
        if refusals:
            self.findings.append(
                Finding(
                    "file_refused",
                    f"{refusals[0].path} {self.refused}: {refusals[0].why}",
                    detail=f"give the right {module.name} with {self.remedy}",
                )
            )


def _bias_by_mapping(elf: Elf, mappings: Sequence[FileMapping]) -> int | None:
    """The bias by which segment each mapping must be of."""
    for mapping in mappings:
        for header in elf.program_headers():
            if header.type == PT_LOAD and header.offset & ~0xFFF == mapping.offset:
                return mapping.start - (header.vaddr & ~0xFFF)
    # A part of a segment that the program has mapped by itself.
    for mapping in mappings:
        for header in elf.program_headers():
            if header.type == PT_LOAD and 0 <= mapping.offset - header.offset < header.filesz:
                return mapping.start - (mapping.offset - header.offset + header.vaddr)
    return None


def _base(entry: MappedModule) -> int:
    return entry.module.base


def _start(place: tuple[FileMapping, Mapped]) -> int:
    return place[0].start
