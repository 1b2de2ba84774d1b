"""The memory of a minidump as regions: what it holds, and what is known to have been around.

A minidump holds pieces: stacks, a few bytes of code, with luck more. How large the mapping was
that a piece is of, and whether it could be written or executed, is in other streams: the Linux
maps or Windows' memory information. Without either the modules tell which addresses are code.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.memory import Memory, Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from unspool.cursor import Buffer
    from unspool.targets.live.procfs import Mapping

    Split = Callable[["UnsplitRegion"], list[Region]]

_TOP = 1 << 64

# Memory protection and state of pages (winnt.h): PAGE_READWRITE, PAGE_WRITECOPY and their
# executable forms; PAGE_GUARD pages fault when they are touched.
_WRITABLE, _EXECUTABLE, _GUARD = 0x04 | 0x08 | 0x40 | 0x80, 0x10 | 0x20 | 0x40 | 0x80, 0x100
_COMMIT = 0x1000


class Span:
    """A mapping that a stream lists: its bounds, protection, and the block it was reserved in."""

    __slots__ = ("block", "end", "executable", "start", "writable")

    def __init__(
        self, start: int, end: int, writable: bool, executable: bool, block: int = 0
    ) -> None:
        self.start = start
        self.end = end
        self.writable = writable
        self.executable = executable
        self.block = block


class Spans:
    """Mappings by address; none overlaps the next."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.spans: list[Span] = []
        for span in sorted(spans, key=_start):
            if self.spans:
                span.start = max(span.start, self.spans[-1].end)
            if span.start < span.end:
                self.spans.append(span)
        self.starts = [span.start for span in self.spans]

    def at(self, address: int) -> Span | None:
        """The mapping that contains an address."""
        index = bisect_right(self.starts, address) - 1
        if index >= 0 and address < self.spans[index].end:
            return self.spans[index]
        return None

    def is_code(self, address: int) -> bool | None:
        """Whether an address was mapped executable; None if no stream says."""
        span = self.at(address)
        return span.executable if span is not None else None

    def block_at(self, address: int) -> tuple[int, int] | None:
        """The bounds of what was reserved in one call: of a Windows stack with its guard page."""
        index = bisect_right(self.starts, address) - 1
        if index < 0 or address >= self.spans[index].end:
            return None
        spans, block = self.spans, self.spans[index].block
        first = last = index
        while first and spans[first - 1].block == block:
            first -= 1
        while last + 1 < len(spans) and spans[last + 1].block == block:
            last += 1
        return min(block, spans[first].start) or spans[first].start, spans[last].end


def spans_of_maps(mappings: Iterable[Mapping]) -> Spans:
    """The mappings of a Linux process."""
    return Spans(Span(each.start, each.end, each.writable, each.executable) for each in mappings)


def spans_of_information(records: Iterable[tuple[int, int, int, int, int]]) -> Spans:
    """The committed pages of MINIDUMP_MEMORY_INFO: base, size, allocation base, state, protect."""
    return Spans(
        Span(
            base, min(base + size, _TOP),
            bool(protect & _WRITABLE and not protect & _GUARD), bool(protect & _EXECUTABLE), block,
        )
        for base, size, block, state, protect in records
        if state & _COMMIT
    )  # fmt: skip


def disjoint(pieces: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Pieces of memory as (start, end, offset in the file) without overlaps, by address.

    Of bytes that several pieces hold the first one's are taken. What follows in the file where
    it follows in memory is one piece.
    """
    found: list[tuple[int, int, int]] = []
    for start, end, offset in sorted(pieces, key=_first):
        if found:
            last_start, last_end, last_offset = found[-1]
            if start < last_end:
                start, offset = last_end, offset + last_end - start
            if start < end and start == last_end and offset == last_offset + start - last_start:
                found[-1] = last_start, end, last_offset
                continue
        if start < end:
            found.append((start, end, offset))
    return found


class UnsplitRegion(Region):
    """A part of a module whose file may say which of it is code; until somebody asks all is."""

    __slots__ = ()


class SplitMemory(Memory):
    """Memory with modules of which no stream says how they were mapped.

    Their files tell, and those of a large program are hundreds: a module is split into its
    segments when an address in it is first looked up.
    """

    def __init__(self, regions: Iterable[Region], split: Split) -> None:
        super().__init__(regions)
        self._split = split

    def region(self, address: int) -> Region | None:
        region = super().region(address)
        if isinstance(region, UnsplitRegion):
            self._replace(region)
            region = super().region(address)
        return region

    def split_all(self) -> None:
        """Asks all modules now. Afterwards this is memory like any other."""
        for region in [each for each in self.regions if isinstance(each, UnsplitRegion)]:
            self._replace(region)

    def _replace(self, region: UnsplitRegion) -> None:
        parts = _inside(self._split(region), region)
        at = bisect_right(self._starts, region.start) - 1
        # In place: whoever records what is read has these very lists.
        self.regions[at : at + 1] = parts
        self._starts[at : at + 1] = [part.start for part in parts]


def _inside(parts: Iterable[Region], whole: Region) -> list[Region]:
    """Regions cut to another one's bounds, without overlaps; the gaps stay unmapped."""
    found: list[Region] = []
    end = whole.start
    for part in sorted(parts, key=_region_start):
        if part.start >= end and part.end <= whole.end and part.start < part.end:
            found.append(part)
            end = part.end
    return found or [Region(whole.start, whole.end, None, executable=True)]


class Pieces:
    """What a dump holds, cut where mappings begin and end.

    `regions` are by address. `loose` are those in no mapping: as yet they are data.
    """

    def __init__(
        self, buffer: Buffer, pieces: Sequence[tuple[int, int, int]], spans: Spans
    ) -> None:
        self.buffer = buffer
        self.spans = spans
        self.regions: list[Region] = []
        self.loose: list[Region] = []
        for start, end, offset in pieces:
            self._add(start, end, offset)

    def _add(self, start: int, end: int, offset: int) -> None:
        spans = self.spans.spans
        at = max(bisect_right(self.spans.starts, start) - 1, 0)
        while start < end:
            while at < len(spans) and spans[at].end <= start:
                at += 1
            span = spans[at] if at < len(spans) else None
            if span is not None and span.start <= start:
                stop = min(end, span.end)
                self._hold(start, stop, offset, span)
            else:
                stop = min(end, span.start) if span is not None else end
                self._hold(start, stop, offset, None)
            offset += stop - start
            start = stop

    def _hold(self, start: int, end: int, offset: int, span: Span | None) -> None:
        buffer, size = self.buffer, end - start
        region = Region(
            start,
            end,
            lambda: (buffer, offset, size),
            writable=span.writable if span is not None else True,
            executable=span.executable if span is not None else False,
            mapping=(span.start, span.end) if span is not None else None,
        )
        self.regions.append(region)
        if span is None:
            self.loose.append(region)

    def rests(self) -> list[tuple[Region, int, int]]:
        """The parts of mappings that are not held: something like a held region, start, end."""
        found: list[tuple[Region, int, int]] = []
        regions, at = self.regions, 0
        for span in self.spans.spans:
            like = Region(
                span.start, span.end, None, writable=span.writable, executable=span.executable
            )
            start = span.start
            while at < len(regions) and regions[at].start < span.end:
                if regions[at].start > start:
                    found.append((like, start, regions[at].start))
                start = max(start, regions[at].end)
                at += 1
            if start < span.end:
                found.append((like, start, span.end))
        return found


def gaps(
    ranges: Iterable[tuple[int, int]], regions: Sequence[Region]
) -> list[tuple[int, int]]:
    """The parts of disjoint ranges, by address, that no region covers."""
    found = []
    starts = [region.start for region in regions]
    for start, end in ranges:
        at = max(bisect_right(starts, start) - 1, 0)
        while start < end:
            while at < len(regions) and regions[at].end <= start:
                at += 1
            stop = min(end, regions[at].start) if at < len(regions) else end
            if start < stop:
                found.append((start, stop))
            if at >= len(regions):
                break
            start = max(stop, regions[at].end)
    return found


def _start(span: Span) -> int:
    return span.start


def _first(piece: tuple[int, int, int]) -> int:
    return piece[0]


def _region_start(region: Region) -> int:
    return region.start
