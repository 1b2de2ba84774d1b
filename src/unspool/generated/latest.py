"""Ranges of addresses that overlap, the later one hiding the earlier: code that was replaced."""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Latest:
    """Finds the last of `[starts[i], ends[i])` that covers an address.

    A live frame keeps its code, so where a later range covers but a part of an earlier one, the
    rest still belongs to that. A group of ranges that overlap is sorted out when an address in
    it is asked for: most code is never asked for, and most never overlaps.
    """

    def __init__(self, starts: Sequence[int], ends: Sequence[int]) -> None:
        self.starts = starts
        self.ends = ends
        self._order = sorted(range(len(starts)), key=starts.__getitem__)
        # Of each group that overlaps: where it starts, ends, and in `_order` begins.
        self._group_starts: list[int] = []
        self._group_ends: list[int] = []
        self._first: list[int] = []
        self._sorted_out: dict[int, tuple[list[int], list[int]]] = {}
        self._make_groups()

    def _make_groups(self) -> None:
        starts, ends = self.starts, self.ends
        reach = -1
        for at, index in enumerate(self._order):
            start, end = starts[index], ends[index]
            if start >= reach:
                if self._first:
                    self._group_ends.append(reach)
                self._group_starts.append(start)
                self._first.append(at)
                reach = end
            elif end > reach:
                reach = end
        if self._first:
            self._group_ends.append(reach)
        self._first.append(len(self._order))

    def find(self, address: int) -> int | None:
        """The index of the last range that covers an address."""
        group = bisect_right(self._group_starts, address) - 1
        if group < 0 or address >= self._group_ends[group]:
            return None
        first, after = self._first[group], self._first[group + 1]
        if after - first == 1:
            return self._order[first]
        if group not in self._sorted_out:
            self._sorted_out[group] = self._sort_out(self._order[first:after])
        bounds, owners = self._sorted_out[group]
        return owners[bisect_right(bounds, address) - 1]

    def any_in(self, low: int, high: int) -> bool:
        """Whether any range has an address in `[low, high)`."""
        group = bisect_right(self._group_starts, high - 1) - 1
        return group >= 0 and self._group_ends[group] > low

    def _sort_out(self, indexes: list[int]) -> tuple[list[int], list[int]]:
        """(where a range becomes the last one, which), by address."""
        starts, ends = self.starts, self.ends
        edges = sorted({*(starts[each] for each in indexes), *(ends[each] for each in indexes)})
        bounds: list[int] = []
        owners: list[int] = []
        open_: list[int] = []  # the last one first
        at = 0
        for edge in edges:
            while at < len(indexes) and starts[indexes[at]] <= edge:
                heappush(open_, -indexes[at])
                at += 1
            while open_ and ends[-open_[0]] <= edge:
                heappop(open_)
            if open_ and (not owners or owners[-1] != -open_[0]):
                bounds.append(edge)
                owners.append(-open_[0])
        return bounds, owners
