"""Finds the programs and libraries of a report's modules on a machine that never ran them.

A report holds no bytes to compare with: a file is the module's if it has its build id, and for
no other reason. A module without one is named by a file that the user gives by its own path.
"""

from __future__ import annotations

import os

from unspool.symbols.files import SymbolPaths, debuginfod_cache, open_elf, under_sysroot
from unspool.symbols.finders import checked_build_id, is_debug_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.elf import Elf
    from unspool.model import Module
    from unspool.symbols.finders import SearchOptions


class OwnFiles:
    """ELF modules' own files; a method of it is the `elf_of` of `symbolicate`."""

    def __init__(self, options: SearchOptions) -> None:
        symbols = options.symbols
        self._symbols = symbols if isinstance(symbols, SymbolPaths) else SymbolPaths(symbols)
        self._sysroot = options.sysroot

    def find(self, module: Module) -> Elf | None:
        """The module's file, whose path becomes `module.file`; None if there is none."""
        build_id = checked_build_id(module.code_id)
        for path in dict.fromkeys(self._candidates(module, build_id)):
            elf = open_elf(path)
            if elf is None or is_debug_file(elf) or elf.build_id() != module.code_id:
                continue
            module.file = path
            return elf
        return None

    def _candidates(self, module: Module, build_id: str | None) -> Iterator[str]:
        symbols = self._symbols
        if module.code_id is None:
            for path in symbols.paths:
                if os.path.basename(path) == module.name:
                    yield path
        if build_id is None:
            return
        if symbols.paths:
            yield from symbols.by_build_id(build_id)
        path = module.path or ""
        if self._sysroot and path:
            inside = under_sysroot(self._sysroot, path)
            if inside:
                yield inside
        elif path.startswith("/"):
            yield path
        cache = debuginfod_cache()
        if cache:
            yield f"{cache}/{build_id}/executable"
