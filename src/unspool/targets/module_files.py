"""Finds a module's own file on this machine and makes sure that it is the crashed one.

A wrong file gives wrong frames, so a file is used only if nothing speaks against it: its
build id, the bytes that the dump holds, and how its segments were mapped.
"""

from __future__ import annotations

import os

from unspool.formats.elf import ET_CORE, ET_REL, PF_W, PT_LOAD, Elf
from unspool.symbols.files import open_elf, under_sysroot
from unspool.symbols.finders import is_debug_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.formats.notes import FileMapping
    from unspool.formats.pe import Pe
    from unspool.formats.stack_win import StackWin
    from unspool.memory import Memory
    from unspool.model import Module
    from unspool.symbols.finders import DebugFiles
    from unspool.targets.base import Options

# Bytes compared in each mapping; enough to notice any rebuild, cheap on every core.
_COMPARED = 1 << 20
_DELETED = " (deleted)"


class Wanted:
    """What is known of a module before its file is found.

    `mappings` are the file's mappings, empty if the target does not list any. `entry` is the
    program's AT_ENTRY, if the module is the program; `dynamic` the address of its dynamic
    section, if the link map says so. `bias` goes with both, where known.
    """

    __slots__ = (
        "bias", "build_id", "dynamic", "entry", "is_program", "machine", "mappings", "path",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        machine: int,
        *,
        build_id: str | None = None,
        mappings: Sequence[FileMapping] = (),
        is_program: bool = False,
        bias: int | None = None,
        entry: int | None = None,
        dynamic: int | None = None,
    ) -> None:
        self.path = path
        self.machine = machine
        self.build_id = build_id
        self.mappings = mappings
        self.is_program = is_program
        self.bias = bias
        self.entry = entry
        self.dynamic = dynamic


class Refusal:
    """A file that was looked at and is not the crashed one, and why."""

    __slots__ = ("path", "why")

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why


class ModuleFiles:
    """Finds files by build id and path; `dump` is the memory that the dump itself holds."""

    def __init__(self, options: Options, dump: Memory) -> None:
        self.options = options
        self.dump = dump
        self._debug_files: DebugFiles | None = None

    @property
    def debug_files(self) -> DebugFiles:
        """Who finds separate debug files."""
        if self._debug_files is None:
            from unspool.symbols.finders import DebugFiles

            self._debug_files = DebugFiles(self.options.symbols, self.options.sysroot)
        return self._debug_files

    def debug_file(self, module: Module, elf: Elf) -> Elf | None:
        """The module's separate debug file, or None. `elf` is the module's own, or its headers."""
        found = self.debug_files.find(module, elf)
        return found.elf if found else None

    def stack_win(self, module: Module, pe: Pe) -> StackWin | None:
        """What a PE module's PDB file says of stack frames, if that is found."""
        from unspool.symbols.pe.frames import find_stack_win

        return find_stack_win(module, pe, self.debug_files)

    def find(self, wanted: Wanted) -> tuple[str, Elf] | list[Refusal]:
        """The path and ELF of the module's file, or why every candidate was refused."""
        refusals = []
        seen = set()
        for path in self._candidates(wanted):
            if path in seen:
                continue
            seen.add(path)
            elf = open_elf(path)
            if elf is None or (self.options.symbols.paths and is_debug_file(elf)):
                continue  # --symbols gives debug files for their own sake
            why = self.objection(wanted, elf)
            if why is None:
                return path, elf
            refusals.append(Refusal(path, why))
        return refusals

    def _candidates(self, wanted: Wanted) -> Iterator[str]:
        options = self.options
        path = wanted.path.removesuffix(_DELETED)
        if wanted.is_program and options.executable:
            yield options.executable
        if options.symbols.paths and wanted.build_id:
            yield from options.symbols.by_build_id(wanted.build_id)
        if options.sysroot and path:
            inside = under_sysroot(options.sysroot, path)
            if inside:
                yield inside
        elif path.startswith("/"):
            yield path
        if options.symbols.paths:
            yield from options.symbols.by_name(os.path.basename(path))
            if wanted.is_program or not wanted.build_id:
                # An old or stripped core names nothing: try whatever fits by its shape.
                yield from options.symbols.all_elfs()

    def objection(self, wanted: Wanted, elf: Elf) -> str | None:
        """Why `elf` cannot be the module's file, in words; None if nothing speaks against it."""
        if elf.type == ET_REL and elf.machine == wanted.machine and self._is_object(wanted):
            return self._objection_by_bytes(wanted, elf)
        if elf.type in (ET_CORE, ET_REL) or elf.machine != wanted.machine:
            return "it is for another CPU or no program or library"
        build_id = elf.build_id()
        if wanted.build_id:
            if build_id == wanted.build_id:
                return None
            return f"its build id is {build_id or 'missing'}, the crashed one's {wanted.build_id}"
        return self._objection_by_shape(wanted, elf) or self._objection_by_bytes(wanted, elf)

    def _is_object(self, wanted: Wanted) -> bool:
        """Whether the dump holds the header of an object file where the file was mapped.

        Runtimes map code that they have compiled before as it is: Wasmtime's .cwasm files.
        """
        first = wanted.mappings[0]
        held = self.dump.read_available(first.start, 64)
        return first.offset == 0 and held[:4] == b"\x7fELF" and held[16:18] == b"\1\0"

    def _objection_by_shape(self, wanted: Wanted, elf: Elf) -> str | None:
        loads = [header for header in elf.program_headers() if header.type == PT_LOAD]
        if not loads:
            return "it has nothing to load"
        if wanted.entry is not None and not _same_entry(elf.entry, wanted.entry, wanted.bias):
            return "its entry point is another"
        if wanted.dynamic is not None and wanted.bias is not None:
            expected = wanted.dynamic - wanted.bias
            if all(p.vaddr != expected for p in elf.program_headers() if p.type == 2):
                return "its dynamic section is elsewhere"
        for mapping in wanted.mappings:
            if not any(
                (load.offset & ~0xFFF) <= mapping.offset < load.offset + load.filesz + 0xFFF
                for load in loads
            ):
                return f"it has no segment at offset 0x{mapping.offset:x}, the crashed one has"
        return None

    def _objection_by_bytes(self, wanted: Wanted, elf: Elf) -> str | None:
        """Compares what the dump holds of segments that nobody can have written to."""
        for mapping in wanted.mappings:
            if may_be_written(elf, mapping):
                continue
            size = min(mapping.end - mapping.start, _COMPARED)
            held = self.dump.read_available(mapping.start, size)
            there = bytes(elf.buffer[mapping.offset : mapping.offset + len(held)])
            if there != held[: len(there)]:
                return f"its bytes at offset 0x{mapping.offset:x} differ from those in the core"
        return None


def may_be_written(elf: Elf, mapping: FileMapping) -> bool:
    """Whether a mapping is of a segment that the process can have written to.

    The file says so, not the mapping: relocated data is made read-only once it has been
    written (RELRO).
    """
    end = mapping.offset + mapping.end - mapping.start
    return any(
        header.offset & ~0xFFF < end and mapping.offset < header.offset + header.filesz
        for header in elf.program_headers()
        if header.type == PT_LOAD and header.flags & PF_W
    )


def _same_entry(stated: int, entry: int, bias: int | None) -> bool:
    """Whether a file's entry point is the running program's; by its page if nothing more."""
    if bias is None:
        return not (stated - entry) & 0xFFF
    return stated + bias == entry
