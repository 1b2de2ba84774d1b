"""Debug files of PE modules: which may be the right ones, and whether they are.

Two kinds. A PE file with DWARF or a symbol table, made by `objcopy --only-keep-debug`, or the
program before it was stripped. And a PDB file, named in the image's debug directory.

What identifies a PE file's build is its CodeView record (a GUID), and not its time stamp:
`strip` and `objcopy` write the time at which they ran, into both files. Without a record a
debug link's checksum decides, and without that the code itself, or stamp and layout.
"""

from __future__ import annotations

import os

from unspool.errors import FormatError
from unspool.formats.elf import parse_debug_link
from unspool.formats.pe import Pe
from unspool.symbols.files import is_pdb, map_file, under_sysroot
from unspool.symbols.ids import link_checksum, store_id
from unspool.symbols.pe.files import base_name, holds_code, open_pe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.model import Module
    from unspool.symbols.finders import DebugFiles

# No more of a section is compared; a build that differs elsewhere alone is hard to imagine.
_COMPARED = 16 << 20
_DISCARDABLE = 0x02000000


class PeDebugFiles:
    """Finds debug files of PE modules where `files` looks for those of ELF modules.

    `refused` are files that lay in the right place and are not the module's, and why.
    """

    def __init__(self, files: DebugFiles) -> None:
        self._files = files
        self.refused: list[tuple[str, str]] = []

    def module_file(self, module: Module) -> tuple[str, Pe] | None:
        """The module's own file where a report is all that is known of it, by its code id."""
        if not module.code_id:
            return None
        for path in self._own(module):
            pe = open_pe(path)
            if pe is not None and holds_code(pe) and pe.code_id.lower() == module.code_id.lower():
                return path, pe
        return None

    def dwarf(self, module: Module, pe: Pe | None) -> tuple[str, Pe] | None:
        """A separate PE file with DWARF or a symbol table.

        `pe` is the module's own file, or its headers in memory.
        """
        link = debug_link(pe) if pe else None
        refused = []
        seen = {module.file}
        for path in self._separate(module, link):
            if path in seen:
                continue
            seen.add(path)
            debug = open_pe(path)
            if debug is None or not has_symbols(debug):
                continue
            why = _objection(debug, pe, module, link)
            if why is None:
                # A WoW64 process has 64- and 32-bit modules of the same names.
                return path, debug
            refused.append((path, why))
        self.refused += refused
        return None

    def pdb(
        self, module: Module, pe: Pe | None, id_of: Callable[[str], str | None]
    ) -> tuple[str, str] | None:
        """The path and debug id of the module's PDB file; `id_of` reads the latter from a file."""
        codeview = pe.codeview() if pe else None
        wanted = codeview.debug_id if codeview else (module.debug_id or "").lower()
        if not wanted:
            return None
        recorded = codeview.path if codeview else ""
        seen = set()
        for path in self._pdbs(module, pe, recorded, store_id(wanted)):
            if path in seen:
                continue
            seen.add(path)
            if not _starts_as_pdb(path):
                continue
            found = id_of(path)
            if found == wanted:
                return path, wanted
            self.refused.append((path, f"its id is {found or 'missing'}, the module's {wanted}"))
        return None

    def pdb_names(self, module: Module, pe: Pe | None) -> list[str]:
        """What the module's PDB file may be called, the likeliest first.

        Its image says, and may be missing, while the report may say; most are called as the
        module is.
        """
        codeview = pe.codeview() if pe else None
        recorded = base_name(codeview.path if codeview else module.pdb_name or "")
        names = dict.fromkeys((recorded, os.path.splitext(base_name(module.name))[0] + ".pdb"))
        return [name for name in names if name]

    def pdb_id(self, module: Module, pe: Pe | None) -> str | None:
        """The id of the module's PDB file as symbol stores write it; None without one."""
        codeview = pe.codeview() if pe else None
        known = codeview.debug_id if codeview else module.debug_id
        return store_id(known) if known else None

    def lacking(
        self, module: Module, headers: Pe | None, file: Pe | None, lines: bool
    ) -> Iterator[tuple[str, str, str | None]]:
        """What would say more of a module without debug information, as (kind, name, id).

        `headers` are of its `file`, or of the image in memory. The image itself counts if it
        is not at hand: its exports are names, and its headers say what its PDB file is called.
        """
        if file is None:
            yield "image", module.name, module.code_id
        codeview = headers.codeview() if headers else None
        if headers is not None and (codeview is None or not codeview.path):
            link = debug_link(headers)
            if link is not None:
                yield "debuginfo", link[0], module.debug_id or f"crc {link[1]:08x}"
            return
        identity = self.pdb_id(module, headers)
        if identity and lines:
            yield "pdb", self.pdb_names(module, headers)[0], identity

    # --- where they may be ------------------------------------------------------------

    def _own(self, module: Module) -> Iterator[str]:
        sysroot = self._files.sysroot
        if module.file:
            yield module.file
        if module.path and module.path.startswith("/"):
            inside = under_sysroot(sysroot, module.path) if sysroot else module.path
            if inside:
                yield inside
        yield from self._files.symbols.pe_candidates(module.name, module.code_id)

    def _separate(self, module: Module, link: tuple[str, int] | None) -> Iterator[str]:
        stem = os.path.splitext(module.name)[0]
        names = [f"{module.name}.debug", f"{stem}.debug", module.name]
        if link:
            names.insert(0, link[0])
        for name in dict.fromkeys(names):
            yield from self._files.symbols.pe_candidates(name, None)
        yield from self._files.by_debug_link(module, None, link)

    def _pdbs(
        self, module: Module, pe: Pe | None, recorded: str, store: str
    ) -> Iterator[str]:
        names = self.pdb_names(module, pe)
        for name in names:
            yield from self._files.symbols.pdb_candidates(name, store)
        if module.file:
            for folder in dict.fromkeys(
                (os.path.dirname(module.file), os.path.dirname(os.path.realpath(module.file)))
            ):
                for name in names:
                    yield from _spelled(folder, name)
        place = linux_path(recorded)
        if place:
            inside = under_sysroot(self._files.sysroot, place) if self._files.sysroot else place
            if inside:
                yield inside


def has_dwarf(pe: Pe) -> bool:
    """Whether there is DWARF of functions."""
    section = pe.section(".debug_info")
    return section is not None and section.raw_size > 0


def has_symbols(pe: Pe) -> bool:
    """Whether a file says more of its functions than a stripped one."""
    return has_dwarf(pe) or pe.coff_symbols() is not None


def debug_link(pe: Pe) -> tuple[str, int] | None:
    """(file name, CRC-32) of .gnu_debuglink, or None. Its name is in the file alone."""
    section = pe.section(".gnu_debuglink")
    if section is None or not 0 < section.virtual_size <= 4096:
        return None
    try:
        return parse_debug_link(pe.read(section.rva, section.virtual_size))
    except FormatError:
        return None


def linux_path(recorded: str) -> str | None:
    """Where a path that a linker recorded is on Linux, where that can be told.

    Linkers that run on Linux write its paths, and those under Wine see it as drive Z.
    """
    path = recorded.replace("\\", "/")
    if path[:3].lower() == "z:/":
        path = path[2:]
    return path if path.startswith("/") and "\0" not in path else None


def _spelled(folder: str, name: str) -> Iterator[str]:
    """Files of that name in whatever case: Windows does not mind, and linkers neither."""
    yield os.path.join(folder, name)
    try:
        entries = os.listdir(folder)
    except (OSError, ValueError):
        return
    for entry in sorted(entries):
        if entry.lower() == name.lower():
            yield os.path.join(folder, entry)


def _starts_as_pdb(path: str) -> bool:
    buffer = map_file(path)
    return buffer is not None and is_pdb(buffer)


# --- whether they are ---------------------------------------------------------------------


def _objection(
    debug: Pe, pe: Pe | None, module: Module, link: tuple[str, int] | None
) -> str | None:
    """Why `debug` is not the module's debug file, in words; None if it is."""
    if pe is not None and (debug.machine, debug.is_64) != (pe.machine, pe.is_64):
        return "it is for another CPU"
    codeview, theirs = pe.codeview() if pe else None, debug.codeview()
    wanted = codeview.debug_id if codeview else module.debug_id
    if wanted and theirs:
        if theirs.debug_id == wanted.lower():
            return None
        return f"its id is {theirs.debug_id}, the module's {wanted}"
    if link is not None:
        found = link_checksum(debug.buffer)
        if found == link[1]:
            return None
        return f"its checksum is {found:08x}, the module's debug link has {link[1]:08x}"
    if pe is None:
        # Of a report. Of equals the stamp is no proof that they are one build, but to differ
        # they would have to be made in the same second, and be of one size.
        if module.code_id and debug.timestamp and debug.code_id.lower() == module.code_id.lower():
            return None
        return "neither an id nor a debug link says that it belongs to the module"
    return _objection_by_layout(debug, pe)


def _objection_by_layout(debug: Pe, pe: Pe) -> str | None:
    """For a program and the one that it was before it was stripped, or its debug file."""
    mapped = {section.rva: section for section in debug.sections}
    code = []
    for section in pe.sections:
        other = mapped.get(section.rva)
        if section.characteristics & _DISCARDABLE:
            continue  # the debug link was added afterwards
        if other is None or other.virtual_size != section.virtual_size:
            return f"it has no section at 0x{section.rva:x} of the size of the module's"
        if section.executable:
            code.append(section)
    if not pe.mapped and holds_code(debug):
        for section in code:
            if _bytes(pe, section.rva) != _bytes(debug, section.rva):
                return f"its code in section {section.name} is another"
        return None if code else "it has no code to compare with the module's"
    if pe.timestamp and debug.timestamp == pe.timestamp:
        return None
    return "neither an id, a debug link nor its time stamp says that it belongs to the module"


def _bytes(pe: Pe, rva: int) -> bytes:
    found = pe.located(rva)
    if found is None:
        return b""
    buffer, start, end = found
    return bytes(buffer[start : min(end, start + _COMPARED)])
