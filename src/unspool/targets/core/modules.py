"""The modules of a core and their files: by NT_FILE, the link map, or headers in memory."""

from __future__ import annotations

import os
from bisect import bisect_right

from unspool.formats import notes
from unspool.formats.elf import (
    ET_DYN,
    ET_EXEC,
    ET_REL,
    PF_X,
    PT_INTERP,
    PT_LOAD,
    SHF_EXECINSTR,
    Elf,
    is_elf,
)
from unspool.formats.notes import FileMapping
from unspool.memory import Memory, Region
from unspool.model import Finding, Module
from unspool.symbols.files import map_file
from unspool.targets.mapped_modules import MappedModules
from unspool.targets.module_files import ModuleFiles, Wanted
from unspool.targets.modules import MappedModule, headers_at, image_size, modules_from_mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from unspool.targets.base import Options
    from unspool.targets.core.target import CoreNotes

# The largest programs load a few thousand.
_MAX_MODULES = 10_000
_MAX_PATH = 4096


class CoreModules(MappedModules):
    """Finds a core's modules."""

    def __init__(
        self,
        core: CoreNotes,
        held: Memory,
        listed: Mapping[int, Region],
        machine: int,
        word: int,
        options: Options,
        findings: list[Finding],
        magic: Callable[[Region], bytes],
    ) -> None:
        """`listed` are the regions of all segments, with bytes or none, by their starts.

        `magic` gives the first bytes of a region of `held`, four if there are as many.
        """
        super().__init__(ModuleFiles(options, held), held, core.auxv, findings)
        self.listed = listed
        self.magic = magic
        self._starts_listed: list[int] = []
        self.machine = machine
        self.word = word
        self.name = core.info[1] if core.info else ""
        windows: list[list[FileMapping]] = []
        if core.files:
            entry = self.auxv.get(notes.AT_ENTRY)
            self.mapped, windows = modules_from_mappings(
                core.files, held, machine, entry, self._is_elf
            )
        else:
            self._from_link_map()
        self._from_headers()
        self.find_pe(
            windows, held, (status.special for status in core.statuses), word, self._is_code
        )
        vdso = self.auxv.get(notes.AT_SYSINFO_EHDR)
        self.index([vdso] if vdso else [])

    @property
    def program(self) -> Module | None:
        """The program's module, if it is known."""
        for entry in self.mapped:
            if entry.wanted.is_program:
                return entry.module
        return None

    def peeked(self) -> Iterable[int]:
        return (region.start for region in self.held.regions if self.magic(region)[:2] == b"MZ")

    def unlisted_regions(self, memory: Memory) -> list[Region]:
        """Mappings of files that the core has no segment for, as regions.

        gcore leaves out what it does not dump; qemu-user's cores list segments but no files.
        The protection comes from the file's own segments.
        """
        regions = self._unlisted_windows(memory)
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

    def _unlisted_windows(self, memory: Memory) -> list[Region]:
        if not self.windows:
            return []
        from unspool.targets.pe.regions import UnlistedRegion, is_code_of

        return [
            UnlistedRegion(
                mapping.start, mapping.end, self.loader(mapping, mapping.start),
                is_code_of(entry, self.pe),
            )
            for entry in self.windows
            for mapping in entry.mappings
            if memory.region(mapping.start) is None
        ]  # fmt: skip

    def _is_elf(self, group: Sequence[FileMapping]) -> bool:
        """Whether mappings whose first page the core lacks are an image's.

        The kernel lists every mapping with its protection, so an image has an executable
        one. gcore leaves out what it does not dump: then the file itself must be looked at.
        """
        regions = [self.listed.get(mapping.start) for mapping in group]
        if any(region is not None and region.executable for region in regions):
            return True
        if None not in regions:
            return False
        buffer = map_file(group[0].path)
        return buffer is not None and is_elf(buffer)

    def _is_code(self, address: int) -> bool | None:
        """Whether an address is mapped executable; None if no segment lists it."""
        if not self._starts_listed:
            self._starts_listed = sorted(self.listed)
        at = bisect_right(self._starts_listed, address) - 1
        region = self.listed[self._starts_listed[at]] if at >= 0 else None
        return region.executable if region and address < region.mapping[1] else None

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
            name = item.name
            if not name and item.bias == self.auxv.get(notes.AT_BASE) and elf is not None:
                # The linker's name for itself is the program's constant, which is not in cores.
                name = interpreter(elf)
            if name.startswith("/"):
                wanted = Wanted(name, self.machine, bias=item.bias, dynamic=item.dynamic)
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
            if self.magic(region) != b"\x7fELF":
                continue
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


def interpreter(elf: Elf) -> str:
    """The path of a program's dynamic linker; empty if it has none."""
    for header in elf.program_headers():
        if header.type == PT_INTERP and header.filesz < _MAX_PATH:
            data = bytes(elf.buffer[header.offset : header.offset + header.filesz])
            return data.split(b"\0")[0].decode("utf-8", "surrogateescape")
    return ""


def _flags(elf: Elf, address: int) -> int:
    """Flags of the segment that a file address is in, by pages."""
    for header in elf.program_headers():
        low = header.vaddr & ~0xFFF
        if header.type == PT_LOAD and low <= address < header.vaddr + header.memsz:
            return header.flags
    if elf.type == ET_REL:  # its sections lie in memory at their offsets
        for section in elf.sections():
            low = section.offset & ~0xFFF
            if section.flags & SHF_EXECINSTR and low <= address < section.offset + section.size:
                return PF_X
    return 0
