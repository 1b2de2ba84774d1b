"""The modules of a running process: their headers from its memory, their files by inode.

A file that a path names now need not be the one that was mapped: packages are upgraded
while programs run. /proc/PID/map_files gives the mapped file itself, to root; a path is
good if device and inode are the mapping's, or else if the build ids agree.
"""

from __future__ import annotations

import os
from bisect import bisect_right

from unspool.formats import notes
from unspool.formats.elf import PF_W, PT_LOAD, Elf, is_elf
from unspool.formats.notes import FileMapping
from unspool.image import Image
from unspool.memory import Memory, Region
from unspool.model import Finding, Module
from unspool.symbols.files import map_file, open_elf
from unspool.targets.module_files import ModuleFiles, Wanted
from unspool.targets.modules import MappedModule, headers_at, modules_from_mappings, vdso_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.targets.base import Options
    from unspool.targets.procfs import Mapping, Maps, Process

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


class LiveFiles(ModuleFiles):
    """Finds the file of a mapping: the mapped one, else one with its build id."""

    def __init__(self, options: Options, heads: Memory, process: Process, maps: Maps) -> None:
        super().__init__(options, heads)
        self.process = process
        self.maps = maps

    def mapped(self, wanted: Wanted) -> tuple[str, Elf] | None:
        """The mapped file itself, by a path that leads to its inode."""
        mapping = self.maps.at(wanted.mappings[0].start)
        if mapping is None:
            return None
        for path in self._own_paths(wanted):
            try:
                status = os.stat(path)
            except (OSError, ValueError):
                continue
            if (status.st_dev, status.st_ino) == (mapping.device, mapping.inode):
                elf = open_elf(path)
                if elf is not None and wanted.build_id in (None, elf.build_id()):
                    return path, elf
        return None

    def _own_paths(self, wanted: Wanted) -> Iterator[str]:
        path = wanted.path.removesuffix(_DELETED)
        first = wanted.mappings[0]
        if path == wanted.path:
            yield path
            # The process may have another root, in a container for example.
            yield f"{self.process.path}/root{path}"
        yield f"{self.process.path}/map_files/{first.start:x}-{first.end:x}"
        if wanted.is_program:
            yield f"{self.process.path}/exe"

    def _candidates(self, wanted: Wanted) -> Iterator[str]:
        yield from self._own_paths(wanted)
        yield from super()._candidates(wanted)

    def objection(self, wanted: Wanted, elf: Elf) -> str | None:
        if not wanted.build_id:
            return "device and inode differ from the mapped file's, and that has no build id"
        return super().objection(wanted, elf)


class LiveModules:
    """Modules of a process and their images; files are opened when they are needed.

    `memory` is to be set to the target's memory, which images read through.
    """

    def __init__(
        self,
        process: Process,
        maps: Maps,
        heads: Memory,
        auxv: dict[int, int],
        machine: int,
        options: Options,
    ) -> None:
        self.auxv = auxv
        self.heads = heads
        self.memory = heads
        self.options = options
        self.findings: list[Finding] = []
        self.files = LiveFiles(options, heads, process, maps)
        mappings = [
            FileMapping(each.start, each.end, each.offset, each.path)
            for each in maps.mappings
            if each.is_file
        ]
        entry = auxv.get(notes.AT_ENTRY)
        self._mapped = modules_from_mappings(mappings, heads, machine, entry, self._is_elf)
        self.modules = [entry.module for entry in self._mapped]
        self._by_base = {entry.module.base: entry for entry in self._mapped}
        self._opened: dict[int, Elf | None] = {}
        self._vdso: Image | None = None
        self._add_vdso(maps)
        pairs = [(mapping.start, entry) for entry in self._mapped for mapping in entry.mappings]
        self._places = sorted(pairs, key=_start)
        self._starts = [start for start, _ in self._places]

    def entry_points(self) -> list[int]:
        """Entry points of the program and of the dynamic linker, as addresses."""
        points = [self.auxv[notes.AT_ENTRY]] if notes.AT_ENTRY in self.auxv else []
        base = self.auxv.get(notes.AT_BASE)
        headers = headers_at(self.heads, base) if base else None
        if base and headers is not None:
            points.append(headers.entry + headers.load_bias(base))
        return points

    def image(self, module: Module) -> Image | None:
        """A module's unwind data, from its file, else from the process's memory."""
        if module.kind == "vdso":
            return self._vdso
        entry = self._by_base[module.base]
        elf = self._elf(entry)
        if (elf is None and entry.headers is None) or module.bias is None:
            return None
        return Image(
            self.memory, module.bias, file=elf, mapped=entry.headers,
            find_debug=lambda: self._debug_file(entry, elf),
        )  # fmt: skip

    def file_bytes(self, mapping: Mapping) -> Elf | None:
        """The file to read a mapping's bytes from; None if they are not the file's any more.

        What the dynamic linker has relocated it often makes read-only afterwards (RELRO): such
        pages belong to a segment that the file calls writable.
        """
        index = bisect_right(self._starts, mapping.start) - 1
        if index < 0 or self._starts[index] != mapping.start:
            return None
        elf = self._elf(self._places[index][1])
        if elf is None:
            return None
        end = mapping.offset + mapping.end - mapping.start
        for header in elf.program_headers():
            if header.type == PT_LOAD and header.flags & PF_W:
                low = header.offset & ~0xFFF
                if low < end and mapping.offset < header.offset + header.filesz:
                    return None
        return elf

    def _elf(self, entry: MappedModule) -> Elf | None:
        """The module's file; remembers it, or that there is none."""
        base = entry.module.base
        if base not in self._opened:
            self._opened[base] = None
            found = self.files.mapped(entry.wanted) or self.files.find(entry.wanted)
            if isinstance(found, tuple):
                entry.module.file, elf = found
                self._opened[base] = elf
                entry.module.code_id = entry.module.code_id or elf.build_id()
                if entry.module.bias is None:
                    entry.module.bias = elf.load_bias(entry.module.base)
            elif found:
                self.findings.append(
                    Finding(
                        "file_refused",
                        f"{found[0].path} is not the file that the process has mapped: "
                        f"{found[0].why}",
                        detail=f"give the right {entry.module.name} with --symbols",
                    )
                )
        return self._opened[base]

    def _debug_file(self, entry: MappedModule, elf: Elf | None) -> Elf | None:
        from unspool.symbols.finders import find_debug_file

        return find_debug_file(entry.module, elf or entry.headers, self.options)

    def _is_elf(self, group: Sequence[FileMapping]) -> bool:
        """Whether mappings whose first bytes are not at hand are an image's."""
        found = self.files.maps.at(group[0].start)
        if found is None or not any(
            (mapping := self.files.maps.at(each.start)) and mapping.executable for each in group
        ):
            return False
        data = map_file(f"{self.files.process.path}/root{group[0].path}")
        return data is not None and is_elf(data)

    def _add_vdso(self, maps: Maps) -> None:
        for mapping in maps.mappings:
            if mapping.path == "[vdso]":
                found = vdso_module(len(self.modules), self.heads, mapping.start)
                if found is not None:
                    module, self._vdso = found
                    self.modules.append(module)


def _start(pair: tuple[int, MappedModule]) -> int:
    return pair[0]
