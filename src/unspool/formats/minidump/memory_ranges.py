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


def ranges_of_list(file: DumpBytes, entries: Entries) -> Iterator[Range]:
    """The ranges of a MemoryListStream, each cut to what the file has."""
    where = streams.STREAMS[streams.MEMORY_LIST].name
    for start, size, rva in entries.rows(file.buffer):
        # Windows leaves descriptors of nothing: of threads that have ended, of a full dump.
        if size and rva:
            yield from held_range(file, start, size, rva, where)


def ranges_of_list64(file: DumpBytes, entries: Entries) -> Iterator[Range]:
    """The ranges of a Memory64ListStream, whose bytes lie behind each other from BaseRva on."""
    where = streams.STREAMS[streams.MEMORY64_LIST].name
    rva = entries.header["BaseRva"]
    for start, size in entries.rows(file.buffer):
        yield from held_range(file, start, size, rva, where)
        rva += size


def held_range(file: DumpBytes, start: int, size: int, rva: int, where: str) -> Iterator[Range]:
    """The range, cut to the file and to the address space; none if nothing of it is left."""
    if start + size > _TOP:
        file.note(where, f"0x{size:x} bytes at address 0x{start:x} go beyond the last address")
        size = _TOP - start
    if rva + size > file.size:
        what = f"the bytes of address 0x{start:x} go beyond the file's end"
        file.is_cut = True
        file.note(where, what)
        size = file.size - rva
    if size > 0:
        yield Range(start, size, rva)


def disjoint(file: DumpBytes, ranges: Iterable[Range]) -> list[Range]:
    """Ranges by address, none overlapping another: what starts first is kept whole.

    A stack is in the memory list and in its thread's record, and threads share stacks. Two
    ranges that have the same bytes for an address are no problem; others are noted.
    """
    result: list[Range] = []
    end = 0
    for each in sorted(ranges, key=_order):
        if result and each.start < end:
            last = result[-1]
            if each.rva - each.start != last.rva - last.start:
                what = f"addresses from 0x{each.start:x} are in two ranges"
                file.note("memory", what)
            if each.end <= end:
                continue
            skip = end - each.start
            each = Range(end, each.size - skip, each.rva + skip)
        result.append(each)
        end = each.end
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
