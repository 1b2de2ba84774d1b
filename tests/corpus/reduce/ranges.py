"""Sets of addresses as ranges."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

PAGE = 0x1000


class Ranges:
    """Addresses that were added, as disjoint ranges in ascending order."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._added = list(ranges)
        self._merged: list[tuple[int, int]] | None = None

    def add(self, low: int, high: int) -> None:
        """Adds `[low, high)`."""
        if low < high:
            self._added.append((max(low, 0), high))
            self._merged = None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._all())

    def __contains__(self, address: int) -> bool:
        return bool(list(self.inside(address, address + 1)))

    def inside(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The parts of `[low, high)` that were added."""
        merged = self._all()
        for start, end in merged[max(bisect_right(merged, (low, 1 << 65)) - 1, 0) :]:
            if start >= high:
                return
            if end > low:
                yield max(start, low), min(end, high)

    def pages(self) -> Ranges:
        """All pages that any of the addresses is in."""
        return Ranges((low & -PAGE, high + PAGE - 1 & -PAGE) for low, high in self)

    def size(self) -> int:
        return sum(high - low for low, high in self)

    def _all(self) -> list[tuple[int, int]]:
        if self._merged is None:
            merged: list[tuple[int, int]] = []
            for low, high in sorted(self._added):
                if merged and low <= merged[-1][1]:
                    merged[-1] = merged[-1][0], max(merged[-1][1], high)
                else:
                    merged.append((low, high))
            self._merged = merged
        return self._merged
