"""A process's memory, wherever its bytes come from.

`Memory` is the one thing that the unwinder knows of a target's bytes. A target
builds it of regions: bytes of the core where the core holds them, bytes of the
mapped file where it does not. A region's bytes are fetched when they are first
read, since a core maps hundreds of files and a walk touches a dozen.
"""

from __future__ import annotations

from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from unspool.cursor import Buffer

    Loader = Callable[[], tuple[Buffer, int, int] | None]


class Fault(Exception):
    """Memory that the target does not hold: `size` bytes wanted at `address`."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(address, size)
        self.address = address
        self.size = size

    def __str__(self) -> str:
        return f"0x{self.address:x}"


class Window:
    """Bytes of `[low, high)` as one buffer: address `a` is `buffer[a - base]`."""

    __slots__ = ("base", "buffer", "high", "low")

    def __init__(self, low: int, high: int, buffer: Buffer, base: int) -> None:
        self.low = low
        self.high = high
        self.buffer = buffer
        self.base = base


class Region:
    """An address range with one origin: `[start, end)`, its protection and its file.

    `load` answers (buffer, offset of `start` in it, bytes available) or None when the
    bytes cannot be had; it is called once. `path` and `file_offset` name the mapped file.
    `mapping` is the (start, end) of the mapping that the region is a part of: a mapping
    that the core holds in part is two regions.
    """

    __slots__ = (
        "_window", "end", "executable", "file_offset", "load", "mapping", "path", "start",
        "writable",
    )  # fmt: skip

    def __init__(
        self,
        start: int,
        end: int,
        load: Loader | None,
        *,
        writable: bool = False,
        executable: bool = False,
        path: str = "",
        file_offset: int = 0,
        mapping: tuple[int, int] | None = None,
    ) -> None:
        self.start = start
        self.end = end
        self.load = load
        self.writable = writable
        self.executable = executable
        self.path = path
        self.file_offset = file_offset
        self.mapping = mapping or (start, end)
        self._window: Window | None = None

    def window(self) -> Window | None:
        """The region's bytes, or None if they cannot be had. May be shorter than the region."""
        if self._window is None and self.load is not None:
            loaded = self.load()
            self.load = None
            if loaded is not None:
                buffer, offset, size = loaded
                size = min(size, self.end - self.start, len(buffer) - offset)
                if offset >= 0 and size > 0:
                    self._window = Window(
                        self.start, self.start + size, buffer, self.start - offset
                    )
        return self._window

    def around(self, address: int) -> Window | None:
        """The bytes around one of its addresses, or None if they cannot be had."""
        return self.window()

    def windows(self, low: int, high: int) -> Iterator[Window]:
        """Its bytes in `[low, high)` and maybe around, by address."""
        window = self.window()
        if window is not None:
            yield window


class Memory:
    """Reads a target's memory. Its regions never overlap, see `set_regions`."""

    def __init__(self, regions: Iterable[Region] = ()) -> None:
        self.regions: list[Region] = []
        self._starts: list[int] = []
        self.set_regions(regions)

    def set_regions(self, regions: Iterable[Region]) -> None:
        """Takes new regions. One that reaches into the next ends where that starts.

        A hostile program header table overlaps itself; this keeps every look-up a bisection,
        and one segment that claims everything from hiding the others. Of several with the
        same start the first is kept.
        """
        taken: list[Region] = []
        for region in sorted(regions, key=_region_start):
            if region.end <= region.start:
                continue
            if taken and region.start < taken[-1].end:
                if region.start == taken[-1].start:
                    continue
                taken[-1].end = region.start
            taken.append(region)
        self.regions = taken
        self._starts = [region.start for region in taken]

    def add_missing(self, regions: Iterable[Region]) -> None:
        """Adds regions where there is nothing yet."""
        added = [region for region in regions if self.region(region.start) is None]
        if added:
            self.set_regions([*self.regions, *added])

    def region(self, address: int) -> Region | None:
        """The region that contains `address`, whether or not its bytes can be had."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            region = self.regions[index]
            if address < region.end:
                return region
        return None

    def window(self, address: int) -> Window | None:
        """The bytes around `address` as one buffer, or None where there are none."""
        region = self.region(address)
        window = region.around(address) if region else None
        return window if window and window.low <= address < window.high else None

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at `address`, across regions. Raises `Fault`."""
        window = self.window(address)
        if window is None or size < 0:
            raise Fault(address, size)
        if address + size <= window.high:
            start = address - window.base
            return bytes(window.buffer[start : start + size])
        data = self.read_available(address, size)
        if len(data) < size:
            raise Fault(address + len(data), size - len(data))
        return data

    def read_available(self, address: int, size: int) -> bytes:
        """As many of `size` bytes at `address` as there are without a gap; maybe none."""
        parts = []
        while size > 0:
            window = self.window(address)
            if window is None:
                break
            part = min(size, window.high - address)
            start = address - window.base
            parts.append(bytes(window.buffer[start : start + part]))
            address += part
            size -= part
        return b"".join(parts)

    def peek(self, address: int, size: int) -> bytes:
        """As `read_available`, of what is looked at in passing: no minidump needs to hold it."""
        return Memory.read_available(self, address, size)

    def pieces(self, low: int, high: int) -> Iterator[tuple[int, Region, Buffer]]:
        """What there is of `[low, high)`, piece by piece: address, region and bytes, not copied."""
        at = max(bisect_right(self._starts, low) - 1, 0)
        for region in self.regions[at:]:
            if region.start >= high:
                return
            for window in region.windows(low, high) if region.end > low else ():
                start, end = max(low, window.low), min(high, window.high)
                if start < end:
                    view = memoryview(window.buffer)
                    yield start, region, view[start - window.base : end - window.base]

    def read_uint(self, address: int, size: int) -> int:
        """A little-endian unsigned integer of `size` bytes. Raises `Fault`."""
        return int.from_bytes(self.read(address, size), "little")

    def maybe_uint(self, address: int, size: int) -> int | None:
        """The same; None if nothing is there."""
        try:
            return self.read_uint(address, size)
        except Fault:
            return None

    def is_executable(self, address: int) -> bool:
        """Whether `address` is mapped executable, even if its bytes are not held."""
        region = self.region(address)
        return region is not None and region.executable


class RecordedMemory(Memory):
    """The same memory as another one, that remembers what is read of it: `reads`.

    They are (address, size) of what there was to read. What is looked at through a window, as
    stacks are, is not among them.
    """

    def __init__(self, memory: Memory) -> None:
        self.regions = memory.regions
        self._starts = memory._starts
        self.reads: list[tuple[int, int]] = []

    def read(self, address: int, size: int) -> bytes:
        data = super().read(address, size)
        self.reads.append((address, size))
        return data

    def read_available(self, address: int, size: int) -> bytes:
        data = super().read_available(address, size)
        self.reads.append((address, len(data)))
        return data


def _region_start(region: Region) -> int:
    return region.start
