"""The modules of a minidump: by its module list, and where it has them, the Linux maps.

The list has what a walk needs to find each module's file: an ELF build id, or the GUID of the
PDB file, the link time and the size of a Windows module. A file is used only if that agrees,
since a dump holds too little of a module to compare it with.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from itertools import pairwise

from unspool.formats import notes
from unspool.formats.elf import PT_LOAD, Elf
from unspool.memory import Region
from unspool.model import Module
from unspool.targets.mapped_modules import MappedModules
from unspool.targets.minidump.files import MinidumpFiles, build_id, elf_id
from unspool.targets.module_files import Wanted, may_be_written
from unspool.targets.modules import MappedModule, headers_at, may_be_pe, modules_from_mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from unspool.arch.base import Arch
    from unspool.cursor import Buffer
    from unspool.formats.minidump.reader import ModuleRecord
    from unspool.formats.notes import FileMapping
    from unspool.memory import Loader, Memory
    from unspool.model import Finding
    from unspool.targets.base import Options
    from unspool.targets.minidump.regions import UnsplitRegion
    from unspool.targets.pe.files import PeFiles

_MAX_MODULES = 10_000
_PAGE = 0x1000
# Parts of one file that a list without maps names apart; linkers put them 2 MB from each other.
_APART = 4 << 20
_APPLE = ("macos", "ios")
_VDSO_NAMES = ("linux-gate.so", "linux-vdso.so.1", "[vdso]")


class MinidumpModules(MappedModules):
    """Finds a minidump's modules."""

    refused = "is not the file that was loaded"

    def __init__(
        self,
        records: Sequence[ModuleRecord],
        held: Memory,
        mappings: Sequence[FileMapping],
        auxv: dict[int, int],
        arch: Arch,
        system: str,
        options: Options,
        findings: list[Finding],
        *,
        specials: Iterable[Mapping[str, int]],
        is_code: Callable[[int], bool | None],
    ) -> None:
        """`mappings` are of files, by the Linux maps; `system` is "linux", "windows" or another.

        `is_code` tells whether an address was mapped executable, None if no stream says so.
        """
        super().__init__(MinidumpFiles(options, held), held, auxv, findings)
        self.arch = arch
        self.is_code = is_code
        self.system = system
        self.records = _usable(records)
        self._first = records[0].base if records else None
        self.others: list[Module] = []
        known = {record.base: record for record in self.records}
        entry = auxv.get(notes.AT_ENTRY)
        groups: list[list[FileMapping]] = []
        if mappings:
            self.mapped, groups = modules_from_mappings(
                mappings, held, arch.machine, entry, self._is_elf(known)
            )
        self._add_records(groups, entry)
        windows = [record for record in self.records if kind(record, system) == "pe"]
        if groups or windows:
            self._find_windows(groups, windows, specials)
        vdso = auxv.get(notes.AT_SYSINFO_EHDR)
        self.index([vdso] if vdso and held.region(vdso) is not None else [])
        self._add_others()

    def _add_others(self) -> None:
        """Puts modules of unknown kinds where they belong; none may reach into the next one."""
        taken = {module.base for module in self.modules}
        self.modules += [module for module in self.others if module.base not in taken]
        self.modules.sort(key=_base)
        for module, following in pairwise(self.modules):
            module.end = min(module.end, following.base)
        self.bases = [module.base for module in self.modules]

    @property
    def program(self) -> Module | None:
        """The program's module; where nothing tells, the first of the list, which it is."""
        for entry in self.mapped:
            if entry.wanted.is_program:
                return entry.module
        at = bisect_right(self.bases, self._first) - 1 if self._first is not None else -1
        return self.modules[at] if at >= 0 else None

    # --- which modules there are ------------------------------------------------------------

    def _is_elf(
        self, known: Mapping[int, ModuleRecord]
    ) -> Callable[[Sequence[FileMapping]], bool]:
        def is_elf(group: Sequence[FileMapping]) -> bool:
            record = known.get(group[0].start)
            if record is not None and record.codeview is not None:
                return True
            return any(self.is_code(mapping.start) for mapping in group)

        return is_elf

    def _add_records(
        self, groups: Sequence[Sequence[FileMapping]], entry: int | None
    ) -> None:
        """Gives the mapped modules their ids, and adds what is in no mapping."""
        found = sorted(self.mapped, key=_module_base)
        bases = [each.module.base for each in found]
        starts = {group[0].start for group in groups}
        last: MappedModule | None = None
        for record in self.records:
            what = kind(record, self.system)
            at = bisect_right(bases, record.base) - 1
            if at >= 0 and record.base < found[at].module.end:
                self._identify(found[at], record)
            elif what == "elf" and record.base not in starts and not self._is_vdso(record):
                if last is not None and _is_more_of(last, record):
                    last.module.end = record.base + record.size
                    continue
                last = self._unmapped(record, entry)
                self.mapped.append(last)
            elif what != "pe" and record.base not in starts:
                self.others.append(_other_module(record, what))

    def _is_vdso(self, record: ModuleRecord) -> bool:
        return _is_vdso_name(record.name) or record.base == self.auxv.get(notes.AT_SYSINFO_EHDR)

    def _identify(self, entry: MappedModule, record: ModuleRecord) -> None:
        module = entry.module
        end = record.base + record.size
        module.end = max(module.end, end)
        identity = elf_id(record)
        if identity and not entry.wanted.build_id:
            entry.wanted.build_id = identity
            module.code_id = build_id(record)

    def _unmapped(self, record: ModuleRecord, entry: int | None) -> MappedModule:
        """An ELF module that is known by its place and id alone."""
        end = record.base + record.size
        is_program = record.base == self._first if entry is None else record.base <= entry < end
        headers = headers_at(self.held, record.base)
        module = Module(
            0, os.path.basename(record.name) or f"image at 0x{record.base:x}", record.base, end,
            path=record.name or None,
            bias=headers.load_bias(record.base) if headers else None,
            code_id=(headers.build_id() if headers else None) or build_id(record),
        )  # fmt: skip
        wanted = Wanted(
            record.name, self.arch.machine,
            build_id=(headers.build_id() if headers else None) or elf_id(record),
            is_program=is_program, bias=module.bias, entry=entry if is_program else None,
        )  # fmt: skip
        return MappedModule(module, wanted, (), headers)

    def _find_windows(
        self,
        groups: Sequence[Sequence[FileMapping]],
        records: Sequence[ModuleRecord],
        specials: Iterable[Mapping[str, int]],
    ) -> None:
        from unspool.targets.minidump.pe import add_records, identify
        from unspool.targets.pe.loader_lists import read_lists

        word = self.arch.pointer_size
        lists = read_lists(self.held, specials, word)
        add_records(lists, records)
        # The program comes first, here as on Windows: a dump of a live Wine process has no PEB.
        if lists.program is None and any(record.base == self._first for record in records):
            lists.program = self._first
        self.take_pe(groups, self.held, lists, word, self.is_code)
        identify(self.windows, records)

    def make_pe_files(self, held: Memory, prefix: str | None) -> PeFiles:
        from unspool.targets.minidump.pe import MinidumpPeFiles

        return MinidumpPeFiles(self.files.options, held, prefix, self.records)

    # --- their bytes ------------------------------------------------------------------------

    def elf(self, entry: MappedModule) -> Elf | None:
        elf = super().elf(entry)
        if elf is not None and entry.module.bias is None:
            entry.module.bias = elf.load_bias(entry.module.base)
        return elf

    def loader(self, mapping: FileMapping, start: int) -> Loader:
        """A region loader for what a file has of a mapping, where that never changes.

        A core holds whatever was written to; a minidump does not, and the file would tell how
        it was before: relocated data (RELRO) of ELF files, and of PE files all but code.
        """
        plain = super().loader(mapping, start)

        def load() -> tuple[Buffer, int, int] | None:
            place = self.place_at(start)
            if place is None:
                return None
            if not isinstance(place[1], MappedModule):
                copied = self.copied_loader(start, mapping.end)
                return copied() if copied else None
            elf = self.elf(place[1])
            return plain() if elf is not None and not may_be_written(elf, mapping) else None

        return load

    def has(self, address: int) -> bool:
        """Whether an address is in a module."""
        at = bisect_right(self.bases, address) - 1
        return at >= 0 and address < self.modules[at].end

    def ranges(self) -> list[tuple[int, int]]:
        """The bounds of all modules, for where nothing else says what is mapped."""
        return [(module.base, module.end) for module in self.modules if module.base < module.end]

    def split(self, region: UnsplitRegion) -> list[Region]:
        """What of a module lies where in a region, by the module's file or headers."""
        window = self.window_at(region.start)
        if window is not None:
            from unspool.targets.minidump.pe import section_regions

            return section_regions(window, region, self.pe)
        at = bisect_right(self.bases, region.start) - 1
        entry = self._by_base.get(self.bases[at]) if at >= 0 else None
        if isinstance(entry, MappedModule):
            return self._segment_regions(entry, region)
        return []

    def _segment_regions(self, entry: MappedModule, region: UnsplitRegion) -> list[Region]:
        elf = self.elf(entry)
        headers, bias = elf or entry.headers, entry.module.bias
        if headers is None or bias is None:
            return []
        found = []
        for header in headers.program_headers():
            if header.type != PT_LOAD:
                continue
            low = bias + header.vaddr & -_PAGE
            high = bias + header.vaddr + header.memsz + _PAGE - 1 & -_PAGE
            start, end = max(low, region.start), min(high, region.end)
            if start >= end:
                continue
            load = None
            if elf is not None and not header.flags & 2:
                offset = (header.offset & -_PAGE) + start - low
                load = _bytes_loader(elf.buffer, offset, header.offset + header.filesz)
            found.append(
                Region(start, end, load, writable=bool(header.flags & 2),
                       executable=bool(header.flags & 1))
            )
        return found


def _bytes_loader(buffer: Buffer, offset: int, end: int) -> Loader:
    return lambda: (buffer, offset, end - offset)


def kind(record: ModuleRecord, system: str) -> str:
    """A module's kind as in `Module.kind`.

    Dumps of Wine processes have both. ELF modules have a build id of their own form; but old
    Breakpad wrote that as if it were a PDB file's. PE modules have a link time, though it is 0
    where the linker was told to leave it out (--no-insert-timestamp), for builds that repeat.
    """
    if system == "windows":
        return "pe"
    if system != "linux":
        return "macho" if system in _APPLE else "other"
    if _is_vdso_name(record.name):
        return "vdso"
    view = record.codeview
    if view is not None and view.kind == "elf":
        return "elf"
    named = view is not None and (view.name or "").lower().endswith(".pdb")
    unlike_elf = record.timestamp or elf_id(record) is None
    return "pe" if named or (unlike_elf and may_be_pe(record.name)) else "elf"


def _is_vdso_name(name: str) -> bool:
    return name in _VDSO_NAMES


def _usable(records: Sequence[ModuleRecord]) -> list[ModuleRecord]:
    """The records by address, one for each base, without those of no size or of no address."""
    found: dict[int, ModuleRecord] = {}
    for record in records:
        if record.size and record.base and len(found) < _MAX_MODULES:
            found.setdefault(record.base, record)
    return sorted(found.values(), key=_record_base)


def _is_more_of(entry: MappedModule, record: ModuleRecord) -> bool:
    """Whether a record is of a further segment of a module that has one already."""
    return (
        record.name == entry.wanted.path
        and elf_id(record) == entry.wanted.build_id
        and 0 <= record.base - entry.module.end < _APART
    )


def _other_module(record: ModuleRecord, what: str) -> Module:
    path = record.name
    name = "[vdso]" if what == "vdso" else os.path.basename(path)
    end = record.base + record.size
    return Module(
        0, name or f"image at 0x{record.base:x}", record.base, end,
        kind=what, path=None if what == "vdso" else path or None, code_id=elf_id(record),
    )  # fmt: skip


def _base(module: Module) -> int:
    return module.base


def _record_base(record: ModuleRecord) -> int:
    return record.base


def _module_base(entry: MappedModule) -> int:
    return entry.module.base
