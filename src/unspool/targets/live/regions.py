"""Regions of a process's memory that are read when somebody asks for them.

Constant bytes come from the mapped file where it has them: its pages are shared and cost
nothing. What can be written to must not change while it is looked at: only the memory of a
process that does not run any more, whose core is being written, is read by `FrozenRegion`.
"""

from __future__ import annotations

import os

from unspool.memory import Region, Window

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.cursor import Buffer
    from unspool.memory import Loader
    from unspool.targets.live.modules import LiveModules
    from unspool.targets.live.procfs import Mapping, Maps

# Code that is not a file's is read in pieces: a JVM reserves 240 MB for it.
_CODE_PIECE = 1 << 20
_MOST_AT_ONCE = 64 << 20
# Most threads wait in a system call with less than a page on their stacks.
_PIECE_BITS = 12
_PIECE = 1 << _PIECE_BITS
# What is kept of all that was read; older pieces are read again if they are needed again.
_MOST_KEPT = 16 << 20


class ProcessRegions:
    """Makes regions of a process's mappings. `descriptor` is of its /proc/PID/mem.

    Before `modules` are known everything is read from there.
    """

    def __init__(self, descriptor: int, modules: LiveModules | None = None) -> None:
        self._descriptor = descriptor
        self.modules = modules
        self._kept: list[FrozenRegion] = []
        self._size = 0

    def constant(self, mapping: Mapping, low: int, high: int) -> list[Region]:
        """A part of a mapping: bytes that nobody writes to, or none of what can be written to."""
        step = high - low
        load = None
        modules = self.modules
        if mapping.executable and (not mapping.is_file or (modules and modules.window_at(low))):
            step = _CODE_PIECE
        parts = []
        for start in range(low, high, step):
            end = min(high, start + step)
            if mapping.executable or (mapping.readable and not mapping.writable):
                load = self._loader(mapping, start, end)
            region = Region(
                start, end, load,
                writable=mapping.writable, executable=mapping.executable,
                path=mapping.path, file_offset=mapping.offset + start - mapping.start,
                mapping=(mapping.start, mapping.end),
            )  # fmt: skip
            parts.append(region)
        return parts

    def _loader(self, mapping: Mapping, start: int, end: int) -> Loader:
        def load() -> tuple[Buffer, int, int] | None:
            if self.modules is not None and mapping.is_file and not mapping.writable:
                buffer = self.modules.constant_bytes(mapping)
                if buffer is not None:
                    return buffer, mapping.offset + start - mapping.start, end - start
            data = self.read(start, end)
            return None if data is None else (data, 0, len(data))

        return load

    def frozen(self, maps: Maps) -> list[Region]:
        """All mappings of a process that does not run any more."""
        regions: list[Region] = []
        for mapping in maps.mappings:
            if mapping.readable and mapping.writable:
                regions.append(FrozenRegion(self, mapping))
            else:
                regions += self.constant(mapping, mapping.start, mapping.end)
        return regions

    def read(self, start: int, end: int) -> bytes | None:
        """Bytes of the process's memory as they are now; None if that is gone."""
        if self._descriptor < 0 or end - start > _MOST_AT_ONCE:
            return None
        try:
            return os.pread(self._descriptor, end - start, start)
        except (OSError, OverflowError):  # the vsyscall page is beyond any file offset
            return None

    def keep(self, region: FrozenRegion, size: int) -> None:
        """Counts bytes that a region keeps; when they are too many, none does any more."""
        if self._size + size > _MOST_KEPT:
            for each in self._kept:
                each.forget()
            self._kept, self._size = [], 0
        self._kept.append(region)
        self._size += size

    def close(self) -> None:
        """Reads nothing any more; the descriptor is the caller's."""
        self._descriptor = -1


class FrozenRegion(Region):
    """A mapping that can be written to, of a process that does not run any more."""

    __slots__ = ("_owner", "_pieces")

    def __init__(self, owner: ProcessRegions, mapping: Mapping) -> None:
        super().__init__(
            mapping.start, mapping.end, None,
            writable=True, executable=mapping.executable,
            path=mapping.path, file_offset=mapping.offset,
        )  # fmt: skip
        self._owner = owner
        self._pieces: dict[int, Window] = {}

    def around(self, address: int) -> Window | None:
        return self._pieces.get(address >> _PIECE_BITS) or self._piece(address)

    def _piece(self, address: int) -> Window | None:
        start = max(self.start, address & -_PIECE)
        data = self._owner.read(start, min(self.end, (address & -_PIECE) + _PIECE))
        if not data:
            return None
        window = Window(start, start + len(data), data, start)
        self._owner.keep(self, len(data))
        self._pieces[address >> _PIECE_BITS] = window
        return window

    def windows(self, low: int, high: int) -> Iterator[Window]:
        at = max(low, self.start)
        while at < min(high, self.end):
            window = self.around(at)
            if window is None or window.high <= at:
                at = (at & -_PIECE) + _PIECE
                continue
            yield window
            at = window.high

    def window(self) -> Window | None:
        """All of it at once, for who searches through it. It is not kept."""
        data = self._owner.read(self.start, self.end)
        return Window(self.start, self.start + len(data), data, self.start) if data else None

    def forget(self) -> None:
        self._pieces.clear()
