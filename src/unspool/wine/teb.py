"""Thread environment blocks: reading them, and finding those that no register points at.

Windows keeps its facts of a thread in the TEB: the bounds of its stack, its ids, its PEB. On
x86-64 it is what gs points at, whatever code the thread runs; on i386 fs does.
"""

from __future__ import annotations

from bisect import bisect_left
from struct import Struct

from unspool.memory import Fault
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.memory import Memory, Region
    from unspool.wine.layouts import TebLayout

_PAGE = 0x1000
# TEBs lie below 2 GB (4 GB where i386 programs may use that), so that 32-bit code can point
# at them, and in a process of ten thousand threads within less than this.
_HIGHEST = 1 << 32
_MOST_SEARCHED = 1 << 30


class Teb(Record):
    """What a TEB says. Addresses are of the process; `tid` is the Windows thread id.

    The stack is `[stack_limit, stack_base)`, and grows down to `allocation`. `wow_offset`
    is the distance to the thread's other TEB in a WoW64 process, or 0.
    """

    __slots__ = (
        "address", "allocation", "layout", "peb", "pid", "stack_base", "stack_limit", "tid",
        "wow_offset",
    )  # fmt: skip

    def __init__(
        self,
        address: int,
        layout: TebLayout,
        *,
        stack_base: int,
        stack_limit: int,
        allocation: int,
        peb: int,
        pid: int,
        tid: int,
        wow_offset: int,
    ) -> None:
        self.address = address
        self.layout = layout
        self.stack_base = stack_base
        self.stack_limit = stack_limit
        self.allocation = allocation
        self.peb = peb
        self.pid = pid
        self.tid = tid
        self.wow_offset = wow_offset


def read_teb(memory: Memory, address: int, layout: TebLayout) -> Teb | None:
    """The TEB at an address, or None if what lies there contradicts itself."""
    word = layout.word
    try:
        data = memory.read(address, layout.size)
    except Fault:
        return None

    def at(offset: int, size: int = word) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    base, limit = at(layout.stack_base), at(layout.stack_limit)
    if at(layout.self) != address or not limit < base or not at(layout.peb):
        return None
    # The CPU area of WoW64 lies between a 64-bit stack's base and the end of its page.
    if limit % _PAGE or base % (_PAGE if word == 4 else 16):
        return None
    allocation = at(layout.allocation)
    if not 0 < allocation <= limit:
        allocation = limit
    offset = int.from_bytes(data[layout.wow_offset : layout.wow_offset + 4], "little", signed=True)
    return Teb(
        address, layout, stack_base=base, stack_limit=limit, allocation=allocation,
        peb=at(layout.peb), pid=at(layout.pid), tid=at(layout.tid),
        wow_offset=offset if offset % _PAGE == 0 and abs(offset) <= 0x10000 else 0,
    )  # fmt: skip


def search(memory: Memory, layout: TebLayout) -> Iterator[Teb]:
    """Every TEB that lies in writable memory, by its pointer to itself at a page's start.

    For dumps whose notes lack the base of the segment: gcore's of i386 processes. Wine takes
    memory for them from the top of the lower 2 GB down: so does the search, since its caller
    stops once it has found what it wants, and a core's pages cost memory when they are read.
    """
    room = _MOST_SEARCHED
    low = [region for region in memory.regions if region.start < _HIGHEST]
    middle = bisect_left([region.start for region in low], _HIGHEST >> 1)
    for region in (*reversed(low[:middle]), *low[middle:]):
        if room <= 0:
            return
        if region.writable:
            room -= region.end - region.start
            for address in _self_pointers(region, layout):
                teb = read_teb(memory, address, layout)
                if teb is not None:
                    yield teb


def _self_pointers(region: Region, layout: TebLayout) -> list[int]:
    """The pages of a region that hold their own address where a TEB does."""
    window = region.window()
    if window is None:
        return []
    first = -(-window.low // _PAGE) * _PAGE
    count = (window.high - layout.size - first) // _PAGE + 1
    if count <= 0:
        return []
    word = Struct("<Q" if layout.word == 8 else "<I").unpack_from
    buffer, start = window.buffer, first - window.base + layout.self
    pages = range(first, first + count * _PAGE, _PAGE)
    return [page for page in pages if word(buffer, start + page - first)[0] == page]
