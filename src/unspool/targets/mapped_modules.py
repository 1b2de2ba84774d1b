"""The modules of a process and their files: what cores and running processes share."""

from __future__ import annotations

from bisect import bisect_right

from unspool.formats import notes
from unspool.formats.elf import PT_LOAD, Elf
from unspool.image import Image
from unspool.memory import Memory
from unspool.model import Finding, Module
from unspool.targets.modules import MappedModule, headers_at, vdso_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unspool.formats.notes import FileMapping
    from unspool.targets.module_files import ModuleFiles


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
        self.modules: list[Module] = []
        self._opened: dict[int, Elf | None] = {}
        self._vdso: Image | None = None
        self._by_base: dict[int, MappedModule] = {}
        self._places: list[tuple[FileMapping, MappedModule]] = []
        self._starts: list[int] = []

    def index(self, vdsos: Iterable[int]) -> None:
        """To be called once `mapped` is complete. `vdsos` are addresses of a vdso, if any."""
        self.modules = [entry.module for entry in self.mapped]
        self._by_base = {entry.module.base: entry for entry in self.mapped}
        for base in vdsos:
            found = vdso_module(len(self.modules), self.held, base)
            if found is not None:
                module, self._vdso = found
                self.modules.append(module)
        places = ((mapping, entry) for entry in self.mapped for mapping in entry.mappings)
        self._places = sorted(places, key=_start)
        self._starts = [mapping.start for mapping, _ in self._places]

    def place_at(self, address: int) -> tuple[FileMapping, MappedModule] | None:
        """The file mapping that contains an address, and its module."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address < self._places[at][0].end:
            return self._places[at]
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

    def image(self, module: Module) -> Image | None:
        """A module's unwind data, from its file, else from the process's memory."""
        if module.kind == "vdso":
            return self._vdso
        entry = self._by_base.get(module.base)
        if entry is None:
            return None
        elf = self.elf(entry)
        headers = elf or entry.headers
        if headers is None or module.bias is None:
            return None
        return Image(
            self.memory, module.bias, file=elf, mapped=entry.headers,
            find_debug=lambda: self.files.debug_file(module, headers),
        )  # fmt: skip

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
            elif found:
                self.findings.append(
                    Finding(
                        "file_refused",
                        f"{found[0].path} {self.refused}: {found[0].why}",
                        detail=f"give the right {module.name} with {self.remedy}",
                    )
                )
        return self._opened[module.base]


def _bias_by_mapping(elf: Elf, mappings: Sequence[FileMapping]) -> int | None:
    """The bias by which segment each mapping must be of."""
    for mapping in mappings:
        for header in elf.program_headers():
            if header.type == PT_LOAD and header.offset & ~0xFFF == mapping.offset:
                return mapping.start - (header.vaddr & ~0xFFF)
    return None


def _start(place: tuple[FileMapping, MappedModule]) -> int:
    return place[0].start
