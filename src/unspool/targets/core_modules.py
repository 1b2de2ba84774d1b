"""The modules of a core and their files: by NT_FILE, the link map, or headers in memory."""

from __future__ import annotations

import os
from bisect import bisect_right

from unspool.formats import notes
from unspool.formats.elf import ET_DYN, ET_EXEC, PT_LOAD, Elf, is_elf
from unspool.formats.notes import FileMapping
from unspool.image import Image
from unspool.memory import Memory, Region
from unspool.model import Finding, Module
from unspool.symbols.files import map_file
from unspool.targets.module_files import ModuleFiles, Wanted
from unspool.targets.modules import (
    MappedModule,
    headers_at,
    image_size,
    modules_from_mappings,
    vdso_module,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unspool.cursor import Buffer
    from unspool.memory import Loader
    from unspool.targets.base import Options
    from unspool.targets.core import CoreNotes

# The largest programs load a few thousand.
_MAX_MODULES = 10_000


class CoreModules:
    """Finds a core's modules; opens their files when they are first needed."""

    def __init__(
        self,
        core: CoreNotes,
        held: Memory,
        listed: Mapping[int, bool],
        machine: int,
        word: int,
        options: Options,
    ) -> None:
        """`listed` says of each segment's start whether it may be executed, bytes or none."""
        self.auxv = core.auxv
        self.held = held
        self.listed = listed
        self.machine = machine
        self.word = word
        self.name = core.info[1] if core.info else ""
        self.files = ModuleFiles(options, held)
        self.memory = held
        self.findings: list[Finding] = []
        self._opened: dict[int, Elf | None] = {}
        self._images: dict[int, Image] = {}
        self.mapped: list[MappedModule] = []
        if core.files:
            entry = self.auxv.get(notes.AT_ENTRY)
            self.mapped = modules_from_mappings(core.files, held, machine, entry, self._is_elf)
        else:
            self._from_link_map()
        self._from_headers()
        self.modules = [entry.module for entry in self.mapped]
        self._by_base = {entry.module.base: entry for entry in self.mapped}
        self._add_vdso()
        self._mappings = sorted(
            ((mapping, entry) for entry in self.mapped for mapping in entry.mappings),
            key=_mapping_start,
        )
        self._starts = [mapping.start for mapping, _ in self._mappings]

    def report_to(self, findings: list[Finding]) -> None:
        """Makes `findings` the list that refused files are reported in from now on."""
        findings.extend(self.findings)
        self.findings = findings

    @property
    def program(self) -> Module | None:
        """The program's module, if it is known."""
        for entry in self.mapped:
            if entry.wanted.is_program:
                return entry.module
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

    def mapping_at(self, address: int) -> FileMapping | None:
        """The file mapping of a module that contains an address."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self._mappings[index][0].end:
            return self._mappings[index][0]
        return None

    def loader(self, mapping: FileMapping, start: int) -> Loader:
        """A region loader for the file's bytes from `start` on."""

        def load() -> tuple[Buffer, int, int] | None:
            index = bisect_right(self._starts, mapping.start) - 1
            elf = self.elf(self._mappings[index][1])
            if elf is None:
                return None
            return elf.buffer, mapping.offset + start - mapping.start, mapping.end - start

        return load

    def unlisted_regions(self, memory: Memory) -> list[Region]:
        """Mappings of files that the core has no segment for, as regions.

        gcore leaves out what it does not dump; qemu-user's cores list segments but no files.
        The protection comes from the file's own segments.
        """
        regions = []
        for entry in self.mapped:
            if all(memory.region(mapping.start) for mapping in entry.mappings):
                continue
            elf = self.elf(entry)
            bias = entry.module.bias
            for mapping in entry.mappings:
                if memory.region(mapping.start) is not None:
                    continue
                flags = _flags(elf, mapping.start - bias) if elf and bias is not None else 1
                regions.append(
                    Region(
                        mapping.start,
                        mapping.end,
                        self.loader(mapping, mapping.start),
                        writable=bool(flags & 2),
                        executable=bool(flags & 1),
                    )
                )
        return regions

    def image(self, module: Module) -> Image | None:
        """A module's unwind data from its file, else from its memory."""
        if module.base in self._images:
            return self._images[module.base]
        entry = self._by_base.get(module.base)
        if entry is None:
            return None
        elf = self.elf(entry)
        if (elf is None and entry.headers is None) or module.bias is None:
            return None
        return Image(
            self.memory, module.bias, file=elf, mapped=entry.headers,
            find_debug=lambda: self._debug_file(entry, elf),
        )  # fmt: skip

    def elf(self, entry: MappedModule) -> Elf | None:
        """The module's verified file; remembers it, or that there is none."""
        base = entry.module.base
        if base not in self._opened:
            self._opened[base] = None
            found = self.files.find(entry.wanted)
            if isinstance(found, tuple):
                entry.module.file, self._opened[base] = found
                self._learn(entry, found[1])
            elif found:
                self.findings.append(
                    Finding(
                        "file_refused",
                        f"{found[0].path} is not the file that crashed: {found[0].why}",
                        detail=f"give the right {entry.module.name} with --symbols or --sysroot",
                    )
                )
        return self._opened[base]

    def _learn(self, entry: MappedModule, elf: Elf) -> None:
        """Takes from the file what the core did not hold."""
        module = entry.module
        module.code_id = module.code_id or elf.build_id()
        if module.bias is None:
            module.bias = _bias_by_mapping(elf, entry.mappings)

    def _debug_file(self, entry: MappedModule, elf: Elf | None) -> Elf | None:
        from unspool.symbols.finders import find_debug_file

        return find_debug_file(entry.module, elf or entry.headers, self.files.options)

    def _is_elf(self, group: Sequence[FileMapping]) -> bool:
        """Whether mappings whose first page the core lacks are an image's.

        The kernel lists every mapping with its protection, so an image has an executable
        one. gcore leaves out what it does not dump: then the file itself must be looked at.
        """
        executable = [self.listed.get(mapping.start) for mapping in group]
        if any(executable):
            return True
        if None not in executable:
            return False
        buffer = map_file(group[0].path)
        return buffer is not None and is_elf(buffer)

    def _from_link_map(self) -> None:
        """Modules of a core without NT_FILE."""
        from unspool.targets.link_map import program_bias, read_link_map

        phdr = self.auxv.get(notes.AT_PHDR)
        entry = self.auxv.get(notes.AT_ENTRY)
        if phdr is None:
            return
        count = self.auxv.get(notes.AT_PHNUM, 0)
        program = Wanted(
            self._program_path(), self.machine, is_program=True, entry=entry,
            bias=program_bias(self.held, phdr, count, None),
        )  # fmt: skip
        headers = headers_at(self.held, phdr & ~0xFFF)
        if headers is not None:
            program.build_id = headers.build_id()
        found = self.files.find(program)
        elf = found[1] if isinstance(found, tuple) else None
        bias = program_bias(self.held, phdr, count, elf)
        if bias is not None:
            self._add_unmapped(program, bias, found if isinstance(found, tuple) else None)
        for item in read_link_map(self.held, phdr, count, self.word, elf)[1:]:
            if item.name and item.name.startswith("/"):
                wanted = Wanted(
                    item.name, self.machine, bias=item.bias, dynamic=item.dynamic
                )
                headers = headers_at(self.held, item.bias)
                wanted.build_id = headers.build_id() if headers else None
                library = self.files.find(wanted)
                self._add_unmapped(
                    wanted, item.bias, library if isinstance(library, tuple) else None
                )

    def _program_path(self) -> str:
        """AT_EXECFN's string, which execve was given."""
        address = self.auxv.get(31, 0)
        raw = self.held.read_available(address, 4096).split(b"\0")[0]
        return raw.decode("utf-8", "surrogateescape") or self.name

    def _add_unmapped(
        self,
        wanted: Wanted,
        bias: int,
        found: tuple[str, Elf] | None,
        headers: Elf | None = None,
    ) -> bool:
        """A module known by its bias alone; its mappings are its file's segments.

        False if there are none: then no module has been added.
        """
        headers = headers or headers_at(self.held, bias)
        elf = found[1] if found else headers
        if elf is None:
            return False
        loads = [header for header in elf.program_headers() if header.type == PT_LOAD]
        size = image_size(elf)
        if not size:
            return False
        low = min(header.vaddr for header in loads) & ~0xFFF
        if bias + low < 0:
            return False
        mappings = [
            FileMapping(
                bias + (header.vaddr & ~0xFFF),
                bias + (header.vaddr + header.filesz + 0xFFF & ~0xFFF),
                header.offset & ~0xFFF,
                wanted.path,
            )
            for header in loads
            if header.filesz
        ]
        module = Module(
            len(self.mapped), os.path.basename(wanted.path) or wanted.path, bias + low,
            bias + low + size, path=wanted.path, bias=bias,
            code_id=wanted.build_id or elf.build_id(),
        )  # fmt: skip
        wanted.mappings = mappings
        entry = MappedModule(module, wanted, mappings, headers)
        self.mapped.append(entry)
        if found:
            module.file, self._opened[module.base] = found
        return True

    def _from_headers(self) -> None:
        """Images that nothing names, by their headers in memory.

        What is left of a process whose linker list is unreadable, or an image that a
        runtime mapped by itself.
        """
        known = sorted((entry.module.base, entry.module.end) for entry in self.mapped)
        known.reverse()
        reach = 0
        vdso = self.auxv.get(notes.AT_SYSINFO_EHDR)
        for region in self.held.regions:
            base = region.start
            while known and known[-1][0] <= base:
                reach = max(reach, known.pop()[1])
            if region.writable or base == vdso or base < reach:
                continue
            if len(self.mapped) >= _MAX_MODULES:
                return
            headers = headers_at(self.held, base)
            if headers is None or headers.machine != self.machine:
                continue
            if headers.type not in (ET_EXEC, ET_DYN):
                continue  # a core, in the memory of whoever looked at it
            entry_point = self.auxv.get(notes.AT_ENTRY)
            end = base + min(max(image_size(headers), 0x1000), 1 << 40)
            is_program = entry_point is not None and base <= entry_point < end
            path = self._program_path() if is_program else ""
            bias = headers.load_bias(base)
            wanted = Wanted(
                path, self.machine, build_id=headers.build_id(), is_program=is_program,
                bias=bias, entry=entry_point if is_program else None,
            )  # fmt: skip
            if self._add_unmapped(wanted, bias, None, headers):
                self.mapped[-1].module.name = os.path.basename(path) or f"image at 0x{base:x}"

    def _add_vdso(self) -> None:
        base = self.auxv.get(notes.AT_SYSINFO_EHDR)
        found = vdso_module(len(self.mapped), self.held, base) if base else None
        if found is not None:
            module, image = found
            self.modules.append(module)
            self._images[module.base] = image


def _bias_by_mapping(elf: Elf, mappings: Sequence[FileMapping]) -> int | None:
    """The bias by which segment each mapping must be of."""
    for mapping in mappings:
        for header in elf.program_headers():
            if header.type == PT_LOAD and header.offset & ~0xFFF == mapping.offset:
                return mapping.start - (header.vaddr & ~0xFFF)
    return None


def _flags(elf: Elf, address: int) -> int:
    """Flags of the segment that a file address is in, by pages."""
    for header in elf.program_headers():
        low = header.vaddr & ~0xFFF
        if header.type == PT_LOAD and low <= address < header.vaddr + header.memsz:
            return header.flags
    return 0


def _mapping_start(pair: tuple[FileMapping, MappedModule]) -> int:
    return pair[0].start
