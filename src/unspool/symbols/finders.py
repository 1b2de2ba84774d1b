"""Separate debug files: where they may lie, in order, and whether they are the right ones.

A finder is a name and a function that gives candidates; the first file that fits is taken.
A file fits if it has the module's build id; one that was found by a debug link in a module
without build id must have the link's checksum. Nothing is ever downloaded.
"""

from __future__ import annotations

import os

from unspool.errors import FormatError
from unspool.formats.elf import SHT_NOBITS, SHT_SYMTAB, Elf
from unspool.symbols.files import SymbolPaths, debuginfod_cache, open_elf, under_sysroot
from unspool.symbols.ids import link_checksum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from unspool.model import Module

    class SearchOptions(Protocol):
        """Where to look: see `targets.base.Options`."""

        @property
        def symbols(self) -> SymbolPaths | Sequence[str]: ...

        @property
        def sysroot(self) -> str | None: ...


SYSTEM_DEBUG_ROOT = "/usr/lib/debug"
_CODE = 4  # SHF_EXECINSTR


class DebugFile:
    """A separate debug file, and the finder that found it."""

    __slots__ = ("elf", "finder", "path")

    def __init__(self, path: str, elf: Elf, finder: str) -> None:
        self.path = path
        self.elf = elf
        self.finder = finder


class DebugFiles:
    """Finds debug files.

    `problems` are files that lay in the right place and were refused, and why.
    """

    def __init__(
        self, symbols: SymbolPaths | Sequence[str] = (), sysroot: str | None = None,
        system_root: str = SYSTEM_DEBUG_ROOT,
    ) -> None:  # fmt: skip
        self.symbols = symbols if isinstance(symbols, SymbolPaths) else SymbolPaths(symbols)
        self.sysroot = sysroot
        self.system_root = system_root
        self.problems: list[tuple[str, str]] = []

    def find(self, module: Module, elf: Elf | None) -> DebugFile | None:
        """The module's debug file, or None.

        `elf` is the module's own file, if there is one. Without it and without a build id
        there is nothing to find a debug file by.
        """
        build_id = checked_build_id(module.code_id or (elf.build_id() if elf else None))
        link = elf.debug_link() if elf else None
        seen: set[str] = {module.file} if module.file else set()
        for finder in _FINDERS:
            for path in finder(self, module, build_id, link):
                if path in seen:
                    continue
                seen.add(path)
                debug = open_elf(path)
                if debug is None or not has_symbols(debug):
                    continue
                why = _objection(debug, elf, build_id, link)
                if why is None:
                    return DebugFile(path, debug, _name_of(finder))
                self.problems.append((path, why))
        return None

    def by_build_id_in_symbols(
        self, _module: Module, build_id: str | None, _link: tuple[str, int] | None
    ) -> Iterator[str]:
        """--symbols, by build id."""
        if build_id:
            yield from self.symbols.by_build_id(build_id)

    def by_name_in_symbols(
        self, module: Module, _build_id: str | None, link: tuple[str, int] | None
    ) -> Iterator[str]:
        """--symbols, by name."""
        if self.symbols.paths:
            names = dict.fromkeys((link[0] if link else "", f"{module.name}.debug", module.name))
            for name in names:
                yield from self.symbols.by_name(name)

    def by_build_id_in_roots(
        self, _module: Module, build_id: str | None, _link: tuple[str, int] | None
    ) -> Iterator[str]:
        """/usr/lib/debug of the sysroot and of this machine, by build id."""
        if build_id and len(build_id) > 2:
            for root in self._debug_roots():
                yield f"{root}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"

    def by_debug_link(
        self, module: Module, _build_id: str | None, link: tuple[str, int] | None
    ) -> Iterator[str]:
        """The debug link, from beside the module on (gdb manual, "Separate Debug Files")."""
        if link is None:
            return
        name = link[0]
        if module.file:
            # Distributions keep /lib as a link to /usr/lib: the debug tree has one of them.
            for folder in dict.fromkeys(
                (os.path.dirname(module.file), os.path.dirname(os.path.realpath(module.file)))
            ):
                yield os.path.join(folder, name)
                yield os.path.join(folder, ".debug", name)
        for path in dict.fromkeys((module.path, module.file)):
            folder = os.path.dirname(path) if path else ""
            if folder.startswith("/"):
                for root in self._debug_roots():
                    yield f"{root}{folder}/{name}"
                    yield f"{root}{os.path.realpath(folder)}/{name}"

    def by_build_id_in_debuginfod_cache(
        self, _module: Module, build_id: str | None, _link: tuple[str, int] | None
    ) -> Iterator[str]:
        """What a debuginfod client of this user downloaded before."""
        if build_id:
            cache = debuginfod_cache()
            if cache:
                yield f"{cache}/{build_id}/debuginfo"

    def _debug_roots(self) -> Iterator[str]:
        if self.sysroot:
            inside = under_sysroot(self.sysroot, SYSTEM_DEBUG_ROOT)
            if inside:
                yield inside
        yield self.system_root


_FINDERS = (
    DebugFiles.by_build_id_in_symbols,
    DebugFiles.by_build_id_in_roots,
    DebugFiles.by_debug_link,
    DebugFiles.by_name_in_symbols,
    DebugFiles.by_build_id_in_debuginfod_cache,
)


def checked_build_id(build_id: str | None) -> str | None:
    """A build id that can become a path: a report from elsewhere says anything."""
    if not build_id or len(build_id) > 128 or build_id.strip("0123456789abcdef"):
        return None
    return build_id


def is_debug_file(elf: Elf) -> bool:
    """Whether the code was left out.

    `objcopy --only-keep-debug` and `eu-strip -f` keep the build id, and the latter program
    headers that still claim the code's bytes; only its sections tell.
    """
    return any(section.type == SHT_NOBITS and section.flags & _CODE for section in elf.sections())


def has_symbols(elf: Elf) -> bool:
    """Whether a file says more of its functions than a stripped one."""
    return has_dwarf(elf) or any(
        section.type == SHT_SYMTAB and section.size for section in elf.sections()
    )


def has_dwarf(elf: Elf) -> bool:
    """Whether there is DWARF of functions: .debug_info, or .zdebug_info of old compilers."""
    return any(elf.section(name) is not None for name in (".debug_info", ".zdebug_info"))


def alternate_debug_file(elf: Elf) -> str | None:
    """The file that dwz moved shared parts of the DWARF to, as .gnu_debugaltlink names it.

    Nothing here reads it: what lies there (names of some inlined functions) is missing.
    """
    section = elf.section(".gnu_debugaltlink")
    if section is None or section.size > 8192:
        return None
    try:
        buffer, start, end = elf.section_data(section)
    except FormatError:
        return None
    return bytes(buffer[start:end]).partition(b"\0")[0].decode("utf-8", "replace")


def _objection(
    debug: Elf, elf: Elf | None, build_id: str | None, link: tuple[str, int] | None
) -> str | None:
    """Why `debug` is not the module's debug file, in words; None if it is."""
    if elf is not None and (debug.machine, debug.elf_class) != (elf.machine, elf.elf_class):
        return "it is for another CPU"
    theirs = debug.build_id()
    if build_id and theirs == build_id:
        return None
    if build_id and (theirs or link is None):
        return f"its build id is {theirs or 'missing'}, the module's {build_id}"
    if link is None:
        return "neither a build id nor a debug link says that it belongs to the module"
    found = link_checksum(debug.buffer)
    if found != link[1]:
        return f"its checksum is {found:08x}, the module's debug link has {link[1]:08x}"
    return None


def _name_of(finder: object) -> str:
    return str(getattr(finder, "__name__", finder)).replace("_", " ")
