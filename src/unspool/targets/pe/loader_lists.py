"""What the Windows loader of a Wine process knows of its modules, for both word sizes.

The lists hang on the PEB, which every thread's TEB points at; any thread will do.
"""

from __future__ import annotations

from unspool.memory import Memory
from unspool.wine import layouts, loader_list
from unspool.wine.teb import read_teb, search

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from unspool.memory import Region
    from unspool.wine.loader_list import LoaderEntry
    from unspool.wine.teb import Teb

# One is enough; a hostile core has a million threads that point nowhere.
_MOST_TRIED = 1000


class LoaderLists:
    """Modules by their bases. `program` is the base of the program's, if the PEB is at hand.

    `complete` says that the lists were read to their ends.
    """

    def __init__(self) -> None:
        self.entries: dict[int, LoaderEntry] = {}
        self.program: int | None = None
        self.complete = False

    def add(self, memory: Memory, peb: int, word: int) -> None:
        """Adds the list of one PEB."""
        entries, why = loader_list.read(memory, peb, word)
        for entry in entries:
            self.entries.setdefault(entry.base, entry)
        self.complete = bool(entries) and why is None
        if self.program is None:
            first = entries[0].base if entries else None
            self.program = loader_list.image_base(memory, peb, word) or first


def read_lists(memory: Memory, specials: Iterable[Mapping[str, int]], word: int) -> LoaderLists:
    """The lists of a process. `specials` are threads' registers, see `model.Thread.special`."""
    lists = LoaderLists()
    teb = next(_tebs(memory, specials, word), None)
    if teb is not None:
        lists.add(memory, teb.peb, word)
        if word == 8 and teb.wow_offset:
            other = read_teb(memory, teb.address + teb.wow_offset, layouts.TEB32)
            if other is not None:
                lists.add(memory, other.peb, 4)
    return lists


def _tebs(memory: Memory, specials: Iterable[Mapping[str, int]], word: int) -> Iterator[Teb]:
    """TEBs that threads point at, else those that lie about in memory."""
    name, layout = ("gs_base", layouts.TEB64) if word == 8 else ("fs_base", layouts.TEB32)
    bases = dict.fromkeys(special.get(name, 0) for special in specials)
    for base in list(bases)[:_MOST_TRIED]:
        teb = read_teb(memory, base, layout) if base else None
        if teb is not None:
            yield teb
    # A TEB lies in a small region, and looking through a large one reads all its pages.
    for region in sorted(memory.regions, key=_size):
        yield from search(Memory([region]), layout)


def _size(region: Region) -> int:
    return region.end - region.start
