"""Finds the files of a minidump's ELF modules, and proves them by the ids that the dump has.

Breakpad wrote the first 16 bytes of the build id as a GUID (a CodeView record of the form RSDS)
until 2016, and writes the whole of it since (BpEL). Where a module has none it makes 16 bytes
of the start of its code (Breakpad's common/linux/file_id.cc), which a file can prove as well.
"""

from __future__ import annotations

import os

from unspool.symbols.files import open_elf, under_sysroot
from unspool.symbols.ids import code_hash
from unspool.targets.module_files import ModuleFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.elf import Elf
    from unspool.formats.minidump.reader import ModuleRecord
    from unspool.targets.module_files import Wanted

_DELETED = " (deleted)"
_SHORT = 16


def elf_id(record: ModuleRecord) -> str | None:
    """What identifies a module's file, in hex: its build id, 16 bytes of it, or of its code."""
    view = record.codeview
    if view is None:
        return None
    raw = view.build_id if view.kind == "elf" else view.guid
    return raw.hex() if raw and any(raw) else None


def build_id(record: ModuleRecord) -> str | None:
    """The module's build id in hex, if the dump has the whole of it."""
    found = elf_id(record)
    return found if found and len(found) > 2 * _SHORT else None


class MinidumpFiles(ModuleFiles):
    """Finds files by id; those without one by name alone, where the user says they may be."""

    def _candidates(self, wanted: Wanted) -> Iterator[str]:
        if wanted.build_id:
            yield from super()._candidates(wanted)
            if len(wanted.build_id) == 2 * _SHORT and self.options.symbols.paths:
                yield from self._by_short_id(wanted.build_id)
            return
        options = self.options
        path = wanted.path.removesuffix(_DELETED)
        if wanted.is_program and options.executable:
            yield options.executable
        inside = under_sysroot(options.sysroot, path) if options.sysroot and path else None
        if inside:
            yield inside
        if options.symbols.paths:
            yield from options.symbols.by_name(os.path.basename(path))

    def _by_short_id(self, wanted: str) -> Iterator[str]:
        for path in self.options.symbols.all_elfs():
            elf = open_elf(path)
            if elf is not None and (elf.build_id() or "").startswith(wanted):
                yield path

    def objection(self, wanted: Wanted, elf: Elf) -> str | None:
        if wanted.build_id and len(wanted.build_id) == 2 * _SHORT:
            theirs = elf.build_id()
            known = theirs[: 2 * _SHORT] if theirs else code_hash(elf).hex()
            if known == wanted.build_id and elf.machine == wanted.machine:
                return None
        return super().objection(wanted, elf)
