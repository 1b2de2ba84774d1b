"""The code cache: heaps of blocks, found by a pc through a map with a byte for each segment."""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.hotspot.tables import VmTables

_MOST_HEAPS = 16
_ADDRESS_BITS = 48  # on aarch64, where libraries are near the end; 47 on x86-64
_MOST_SIZE = 4 << 30  # CODE_CACHE_SIZE_LIMIT is 2 GB

# A byte of the map of segments: no block is there; else how many segments to go back, of
# which 0 says that a block begins there. A block of more than 254 segments takes several hops.
_FREE = 0xFF
_MOST_HOPS = 1 << 14
_ALL_HOPS = 1 << 22  # for one process: a map that lies costs no more


class CodeHeap:
    """One heap: its code lies in `[low, high)`, of which the rest of the reservation is unused."""

    def __init__(self, name: str, low: int, high: int, map_at: int, shift: int) -> None:
        self.name = name
        self.low = low
        self.high = high
        self.map_at = map_at
        self.shift = shift


class CodeHeaps:
    """All heaps, and which block an address is in."""

    def __init__(self, tables: VmTables) -> None:
        self.tables = tables
        self.heaps = [self._heap(address) for address in _heap_addresses(tables)]
        self._hops = 0
        self._header = tables.size("HeapBlock")
        self._used = tables.maybe("HeapBlock::Header._used")

    def at(self, pc: int) -> CodeHeap | None:
        for heap in self.heaps:
            if heap.low <= pc < heap.high:
                return heap
        return None

    def block(self, pc: int) -> int | None:
        """What lies in the block around an address begins there; None if it is in none."""
        heap = self.at(pc)
        if heap is None or self._hops > _ALL_HOPS:
            return None
        reader = self.tables.reader
        segment = pc - heap.low >> heap.shift
        for _ in range(_MOST_HOPS):
            self._hops += 1
            back = reader.unsigned(heap.map_at + segment, 1)
            if back == _FREE or back > segment:
                return None
            if back == 0:
                break
            segment -= back
        else:
            return None
        header = heap.low + (segment << heap.shift)
        if self._used is not None and not self.tables.get(header, self._used):
            return None
        return header + self._header

    def _heap(self, address: int) -> CodeHeap:
        tables, reader = self.tables, self.tables.reader
        memory = address + tables.offset("CodeHeap._memory")
        segments = address + tables.offset("CodeHeap._segmap")
        low = reader.pointer(memory + tables.offset("VirtualSpace._low"))
        high = reader.pointer(memory + tables.offset("VirtualSpace._high"))
        map_at = reader.pointer(segments + tables.offset("VirtualSpace._low"))
        shift = tables.get(address, tables.field("CodeHeap._log2_segment_size"))
        if not (0 < low < high <= low + _MOST_SIZE and 4 <= shift <= 16):
            raise FormatError(f"a heap from 0x{low:x} to 0x{high:x}", "HotSpot's code cache")
        return CodeHeap(self._name(address), low, high, map_at, shift)

    def _name(self, address: int) -> str:
        """What the JVM calls it. The tables do not tell where in the object the name is."""
        reader = self.tables.reader
        data = reader.read(address, self.tables.size("CodeHeap"))
        for at in range(0, len(data) - 7, 8):
            pointer = int.from_bytes(data[at : at + 8], "little")
            if pointer < 1 << 16 or pointer >> _ADDRESS_BITS:
                continue
            try:
                text = reader.string(pointer, 64)
            except Fault:
                continue
            if text.startswith(("CodeHeap '", "CodeCache")) and text.isprintable():
                return text
        return "CodeCache"


def _heap_addresses(tables: VmTables) -> list[int]:
    """The heaps; up to JDK 8 there is just one."""
    if tables.maybe("CodeCache._heaps") is None:
        return [tables.static("CodeCache._heap")]
    reader = tables.reader
    array = tables.static("CodeCache._heaps")
    length = tables.field("GrowableArrayBase._len", "GenericGrowableArray._len")
    number = tables.get(array, length)
    if not 0 < number <= _MOST_HEAPS:
        raise FormatError(f"{number} heaps", "HotSpot's code cache")
    data = reader.pointer(array + tables.offset("GrowableArray<int>._data"))
    return [reader.pointer(data + 8 * index) for index in range(number)]
