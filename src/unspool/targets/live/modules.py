"""The modules of a running process: their headers from its memory, their files by inode.

A file that a path names now need not be the one that was mapped: packages are upgraded
while programs run. /proc/PID/map_files gives the mapped file itself, to root; a path is
good if device and inode are the mapping's, or else if the build ids agree.
"""

from __future__ import annotations

import os

from unspool.formats import notes
from unspool.formats.elf import Elf, is_elf
from unspool.formats.notes import FileMapping
from unspool.memory import Memory, Region
from unspool.model import Finding
from unspool.symbols.files import map_file, open_elf
from unspool.targets.mapped_modules import MappedModules
from unspool.targets.module_files import ModuleFiles, Refusal, Wanted, may_be_written
from unspool.targets.modules import MappedModule, modules_from_mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from unspool.arch.base import Arch
    from unspool.cursor import Buffer
    from unspool.targets.base import Options
    from unspool.targets.live import procfs
    from unspool.targets.live.procfs import Maps, Process
    from unspool.targets.pe.files import PeFiles

_DELETED = " (deleted)"
# Program headers, and the build id if it is where linkers put it.
_HEADERS = 8192


def read_headers(maps: Maps, memory: int) -> Memory:
    """The first bytes of every mapped file, and the vdso, as the process has them.

    They never change, so they may be read at any time; `memory` is a descriptor of
    /proc/PID/mem. What cannot be read is left out.
    """
    regions = []
    for mapping in maps.mappings:
        size = mapping.end - mapping.start
        if mapping.path != "[vdso]":
            if mapping.offset or not mapping.is_file or not mapping.readable:
                continue
            size = min(size, _HEADERS)
        try:
            data = os.pread(memory, min(size, 1 << 20), mapping.start)
        except OSError:
            continue
        regions.append(_region_of(mapping.start, data))
    return Memory(regions)


def _region_of(start: int, data: bytes) -> Region:
    return Region(start, start + len(data), lambda: (data, 0, len(data)), executable=True)


class MappedPaths:
    """Paths that lead to mapped files themselves, if any path does."""

    def __init__(self, process: Process, maps: Maps) -> None:
        self.process = process
        self.maps = maps

    def candidates(self, path: str, first: FileMapping, *, is_program: bool) -> Iterator[str]:
        """What may lead to the file of `first`, which was called `path`."""
        if not path.endswith(_DELETED):
            yield path
            # The process may have another root, in a container for example.
            yield f"{self.process.path}/root{path}"
        yield f"{self.process.path}/map_files/{first.start:x}-{first.end:x}"
        if is_program:
            yield f"{self.process.path}/exe"

    def same(self, path: str, first: FileMapping, *, is_program: bool) -> Iterator[str]:
        """Those that do lead there, by device and inode."""
        mapping = self.maps.at(first.start)
        if mapping is None:
            return
        for candidate in self.candidates(path, first, is_program=is_program):
            try:
                status = os.stat(candidate)
            except (OSError, ValueError):
                continue
            if (status.st_dev, status.st_ino) == (mapping.device, mapping.inode):
                yield candidate


class LiveFiles(ModuleFiles):
    """Finds the file of a mapping: the mapped one, else one with its build id."""

    def __init__(self, options: Options, heads: Memory, paths: MappedPaths) -> None:
        super().__init__(options, heads)
        self.paths = paths

    def find(self, wanted: Wanted) -> tuple[str, Elf] | list[Refusal]:
        return self.mapped(wanted) or super().find(wanted)

    def mapped(self, wanted: Wanted) -> tuple[str, Elf] | None:
        """The mapped file itself, by a path that leads to its inode."""
        first = wanted.mappings[0]
        for path in self.paths.same(wanted.path, first, is_program=wanted.is_program):
            elf = open_elf(path)
            if elf is not None and wanted.build_id in (None, elf.build_id()):
                return path, elf
        return None

    def _candidates(self, wanted: Wanted) -> Iterator[str]:
        yield from self.paths.candidates(
            wanted.path, wanted.mappings[0], is_program=wanted.is_program
        )
        yield from super()._candidates(wanted)

    def objection(self, wanted: Wanted, elf: Elf) -> str | None:
        if not wanted.build_id:
            return "device and inode differ from the mapped file's, and that has no build id"
        return super().objection(wanted, elf)


class LiveModules(MappedModules):
    """Finds the modules of a running process."""

    refused = "is not the file that the process has mapped"
    remedy = "--symbols"

    def __init__(
        self,
        process: Process,
        maps: Maps,
        heads: Memory,
        auxv: dict[int, int],
        arch: Arch,
        options: Options,
        findings: list[Finding],
        *,
        now: Memory,
        specials: Iterable[Mapping[str, int]],
    ) -> None:
        """`now` is the process's memory, `specials` are its threads' registers that lead there."""
        self.paths = MappedPaths(process, maps)
        super().__init__(LiveFiles(options, heads, self.paths), heads, auxv, findings)
        self.process = process
        self.maps = maps
        mappings = [
            FileMapping(each.start, each.end, each.offset, each.path)
            for each in maps.mappings
            if each.is_file
        ]
        entry = auxv.get(notes.AT_ENTRY)
        self.mapped, windows = modules_from_mappings(
            mappings, heads, arch.machine, entry, self._is_elf
        )
        self.find_pe(windows, now, specials, arch.pointer_size, self._is_code)
        self.index(each.start for each in maps.mappings if each.path == "[vdso]")

    def make_pe_files(self, held: Memory, prefix: str | None) -> PeFiles:
        from unspool.targets.live.pe_files import LivePeFiles

        return LivePeFiles(self.files.options, held, prefix, self.paths)

    def peeked(self) -> Iterable[int]:
        return [each.start for each in self.maps.mappings if each.readable and not each.is_file]

    def _is_code(self, address: int) -> bool | None:
        mapping = self.maps.at(address)
        return mapping is not None and mapping.executable

    def constant_bytes(self, mapping: procfs.Mapping) -> Buffer | None:
        """The file to read a mapping's bytes from; None if they are not the file's any more.

        What the dynamic linker has relocated it often makes read-only afterwards (RELRO): such
        pages belong to a segment that the file calls writable. Wine relocates whatever there
        is to relocate, so that any page of a PE module may be another than the file's.
        """
        place = self.place_at(mapping.start)
        if place is None or place[0].start != mapping.start:
            return None
        entry = place[1]
        elf = self.elf(entry) if isinstance(entry, MappedModule) else None
        return elf.buffer if elf is not None and not may_be_written(elf, place[0]) else None

    def _is_elf(self, group: Sequence[FileMapping]) -> bool:
        """Whether mappings whose first bytes are not at hand are an image's."""
        found = self.maps.at(group[0].start)
        if found is None or not any(
            (mapping := self.maps.at(each.start)) and mapping.executable for each in group
        ):
            return False
        data = map_file(f"{self.process.path}/root{group[0].path}")
        return data is not None and is_elf(data)
