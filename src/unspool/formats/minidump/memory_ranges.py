"""The memory that a minidump holds: two kinds of lists, and stacks that only threads know of."""

from __future__ import annotations

from bisect import bisect_right

from unspool.formats.minidump import streams
from unspool.formats.minidump.records import Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unspool.formats.minidump.dump_bytes import DumpBytes
    from unspool.formats.minidump.lists import Entries

_TOP = 1 << 64


def ranges_of_list(file: DumpBytes, entries: Entries) -> list[Range]:
    """The ranges of a MemoryListStream, each cut to what the file has."""
    # Windows leaves descriptors of nothing: of threads that have ended, of a full dump.
    listed = (
        Range(start, size, rva) for start, size, rva in entries.rows(file.buffer) if size and rva
    )
    return _held_ranges(file, listed, streams.STREAMS[streams.MEMORY_LIST].name)


def ranges_of_list64(file: DumpBytes, entries: Entries) -> list[Range]:
    """The ranges of a Memory64ListStream, whose bytes lie behind each other from BaseRva on."""

    def listed() -> Iterator[Range]:
        rva = entries.header["BaseRva"]
        for start, size in entries.rows(file.buffer):
            yield Range(start, size, rva)
            rva += size

    return _held_ranges(file, listed(), streams.STREAMS[streams.MEMORY64_LIST].name)


def _held_ranges(file: DumpBytes, listed: Iterable[Range], where: str) -> list[Range]:
    """What the file holds of ranges. Of a file that was cut, all are told as one problem."""
    found: list[Range] = []
    cut = lost = 0
    for each in listed:
        file.is_cut |= each.rva <= file.size < each.rva + each.size
        part = held_range(file, each)
        if part is not None:
            found.append(part)
        left = each.size - (part.size if part is not None else 0)
        if left:
            cut += 1
            lost += left
    if cut:
        what = f"ranges that go beyond the end of the file or of memory: {cut}, of {lost} bytes"
        file.note(where, what)
    return found


def held_range(file: DumpBytes, each: Range) -> Range | None:
    """A range cut to the file and to the address space; None if nothing of it is left."""
    size = min(each.size, _TOP - each.start, file.size - each.rva)
    return Range(each.start, size, each.rva) if size > 0 else None


def disjoint(file: DumpBytes, ranges: Iterable[Range]) -> list[Range]:
    """Ranges by address, none overlapping another: what starts first is kept whole.

    A stack is in the memory list and in its thread's record, and threads share stacks. Two
    ranges that have the same bytes for an address are no problem; others are noted.
    """
    result: list[Range] = []
    twice: list[int] = []
    end = 0
    for each in sorted(ranges, key=_order):
        if result and each.start < end:
            last = result[-1]
            if each.rva - each.start != last.rva - last.start:
                twice.append(each.start)
            if each.end <= end:
                continue
            skip = end - each.start
            each = Range(end, each.size - skip, each.rva + skip)
        result.append(each)
        end = each.end
    if twice:
        what = (
            f"ranges with other bytes for the same addresses: {len(twice)}, from 0x{twice[0]:x} on"
        )
        file.note("memory", what)
    return result


def _order(each: Range) -> tuple[int, int]:
    return each.start, -each.size


def part_at(ranges: list[Range], start: int, size: int) -> Range | None:
    """What disjoint ranges have of `size` bytes at `start` in one piece, from `start` on."""
    at = bisect_right(ranges, start, key=_start) - 1
    if at < 0 or start >= ranges[at].end:
        return None
    found = ranges[at]
    return Range(start, min(size, found.end - start), found.rva + start - found.start)


def _start(each: Range) -> int:
    return each.start
