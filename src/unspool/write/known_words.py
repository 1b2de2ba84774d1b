"""Words of a process that are no pointers, tell nothing, and that a walk cannot do without.

The numbers in structures by which they are recognised: code segments, flags, distances, ids of
threads, sizes of stacks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.wine.process import WineProcess
    from unspool.wine.teb import Teb
    from unspool.write.ranges import Range

_PAGE = 0x1000


def of_signal_frames(reads: Sequence[Range], word: int) -> Iterator[Range]:
    """The flags and sizes of `stack_t` records, which the walk reads as three words."""
    for address, size in reads:
        if size == 3 * word:
            yield address + word, address + size


def structures(wine: WineProcess) -> Iterator[Range]:
    """Where pointers may lead that belong to Wine's own bookkeeping: TEBs, the PEB, frames of
    system calls on stacks that no walk came to."""
    for thread in wine.threads.values():
        for frame in thread.frames:
            yield frame.address, frame.address + frame.layout.size
        for teb in (thread.teb, thread.teb32):
            if teb is not None:
                yield teb.address, teb.address + teb.layout.size
                yield teb.peb, teb.peb + _PAGE


def of_wine(wine: WineProcess, reads: Sequence[Range]) -> Iterator[Range]:
    """Ids and distances in TEBs, what marks contexts, and Windows exceptions."""
    from unspool.wine import layouts

    for thread in wine.threads.values():
        yield from _of_teb(thread.teb)
        for frame in thread.frames:
            yield frame.address + frame.layout.cs, frame.address + frame.layout.cs + 2
        if thread.teb32 is not None:
            yield from _of_teb(thread.teb32)
    for address, size in reads:
        for layout in (layouts.CONTEXT_X86_64, layouts.CONTEXT_I386):
            if size == layout.size:
                yield address + layout.flags, address + layout.flags + 4
                yield address + layout.cs, address + layout.cs + 2
        for word, (_, _, parameters_at) in layouts.EXCEPTION_RECORD.items():
            if size == parameters_at + 2 * word:
                yield address, address + size


def _of_teb(teb: Teb) -> Iterator[Range]:
    layout = teb.layout
    for offset in (layout.pid, layout.tid):
        yield teb.address + offset, teb.address + offset + layout.word
    yield teb.address + layout.wow_offset, teb.address + layout.wow_offset + 4
