"""The Windows modules of a minidump: what its list says of them, and their files by id.

A Windows dump lists link time, size and checksum, which are in the file's header as well, and
the CodeView record with the GUID of the PDB file. Dumps of Wine processes that we write do too.
"""

from __future__ import annotations

from unspool.formats.codeview import CodeView
from unspool.memory import Region
from unspool.symbols.pe.files import base_name
from unspool.targets.pe.files import PeFiles
from unspool.targets.pe.regions import code_loader
from unspool.wine.loader_list import LoaderEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unspool.formats.minidump.reader import ModuleRecord
    from unspool.formats.pe import Pe
    from unspool.memory import Memory
    from unspool.targets.base import Options
    from unspool.targets.pe.files import WantedPe
    from unspool.targets.pe.loader_lists import LoaderLists
    from unspool.targets.pe.modules import MappedPe

_PAGE = 0x1000


def add_records(lists: LoaderLists, records: Sequence[ModuleRecord]) -> None:
    """Adds the dump's list to what memory has of the loader's own."""
    for record in records:
        lists.entries.setdefault(
            record.base,
            LoaderEntry(
                record.base, record.size, 0, record.name, base_name(record.name), record.timestamp
            ),
        )
    lists.complete = lists.complete or bool(records)


def identify(modules: Sequence[MappedPe], records: Sequence[ModuleRecord]) -> None:
    """Notes the ids of PDB files, for who has no other file of a module."""
    known = {record.base: record for record in records}
    for entry in modules:
        record = known.get(entry.module.base)
        view = codeview(record) if record is not None else None
        if view is not None:
            entry.module.debug_id, entry.module.pdb_name = view.debug_id, view.name or None


def codeview(record: ModuleRecord) -> CodeView | None:
    """A module's CodeView record of the form RSDS."""
    view = record.codeview
    if view is None or view.kind != "pdb70" or not view.guid or not any(view.guid):
        return None
    return CodeView(view.name or "", view.guid, view.age or 0)


class MinidumpPeFiles(PeFiles):
    """Finds files by link time and size, or the PDB file's GUID; others if the user names them."""

    def __init__(
        self, options: Options, held: Memory, prefix: str | None, records: Sequence[ModuleRecord]
    ) -> None:
        super().__init__(options, held, prefix)
        self.records = {record.base: record for record in records}

    def candidates(self, wanted: WantedPe) -> Iterator[str]:
        record = self.records.get(wanted.base)
        if wanted.code_id or (record is not None and codeview(record) is not None):
            yield from super().candidates(wanted)
            if record is not None and not wanted.path:
                yield from self._here(record.name)
            return
        if wanted.is_program and self.options.executable:
            yield self.options.executable
        if self.options.symbols.paths:
            yield from self.options.symbols.pe_candidates(wanted.name, None)

    def objection(self, wanted: WantedPe, pe: Pe) -> str | None:
        record = self.records.get(wanted.base)
        known = codeview(record) if record is not None else None
        found = pe.codeview() if known is not None else None
        if known is not None and found is not None and found.debug_id != known.debug_id:
            return f"its PDB file's id is {found.debug_id}, the loaded one's {known.debug_id}"
        return super().objection(wanted, pe)


def section_regions(
    entry: MappedPe, region: Region, find_file: Callable[[MappedPe], Pe | None]
) -> list[Region]:
    """The sections of a module in a region that no stream describes, with their protection."""
    pe = find_file(entry) or entry.headers
    if pe is None:
        return []
    base = entry.module.base
    found = [Region(base, base + _PAGE, None)]
    for section in pe.sections:
        size = max(section.virtual_size, section.raw_size)
        low, high = base + section.rva, base + section.rva + (size + _PAGE - 1 & -_PAGE)
        start, end = max(low, region.start), min(high, region.end)
        if start < end:
            load = code_loader(entry, start, end, find_file) if section.executable else None
            found.append(
                Region(start, end, load, writable=section.writable, executable=section.executable)
            )
    return found
