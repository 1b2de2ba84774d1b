"""A plan of reservations, found as Wine finds its own (`reserve_area`).

Wine has to take what is free of a range without touching what is there, and cannot ask what
that is. It tries to map the whole; where something is in the way it tries the two halves, and
theirs, down to the granularity of Windows: a binary search for the edges of holes. Here the
mappings are known, so that "does mmap succeed" is a look-up; the calls are counted, since each
would be a system call at every start of a program.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.layout.records import WINDOWS_KINDS, Kind, Plan, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.layout.records import Area

GRANULARITY = 0x10000
_WINE_GUARDS = ("guard of the Windows", "guard of the Unix", "guard of the signal")


class _Search:
    """The search for free parts of ranges among areas."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self.areas = areas
        self.starts = [each.start for each in areas]
        self.attempts = 0
        self.found: list[tuple[int, int]] = []

    def is_free(self, start: int, end: int) -> bool:
        """What mmap would say."""
        at = bisect_right(self.starts, start)
        if at and self.areas[at - 1].end > start:
            return False
        return at >= len(self.starts) or self.starts[at] >= end

    def is_full(self, start: int, end: int) -> bool:
        """Whether one area covers it all."""
        at = bisect_right(self.starts, start) - 1
        return at >= 0 and self.areas[at].end >= end

    def reserve(self, start: int, end: int) -> None:
        """Notes the free parts of `[start, end)`. Depth: what halves a 47-bit range, 31."""
        if start >= end:
            return
        if self.is_full(start, end):
            # Every granule and every half on the way to it fails; nobody has to try here.
            self.attempts += 2 * ((end - start) // GRANULARITY or 1) - 1
            return
        self.attempts += 1
        if self.is_free(start, end):
            if self.found and self.found[-1][1] == start:
                self.found[-1] = self.found[-1][0], end
            else:
                self.found.append((start, end))
            return
        half = (end - start) // 2 & -GRANULARITY
        if half:
            self.reserve(start, start + half)
            self.reserve(start + half, end)


def plan(areas: Sequence[Area], ranges: Sequence[tuple[str, int, int]]) -> Plan:
    """What to reserve of the ranges (name, start, end), and what lies in them already."""
    search = _Search(areas)
    steps: list[Step] = []
    for name, start, end in ranges:
        search.found = []
        search.reserve(start, end)
        taken = [(low, high, "reserve", "") for low, high in search.found]
        first = max(bisect_right(search.starts, start) - 1, 0)
        for area in areas[first:]:
            if area.start >= end:
                break
            low, high = max(area.start, start), min(area.end, end)
            if low < high:
                # Of a library all segments are one thing that is in the way.
                what = area.name.rpartition(" ")[0] if area.module is not None else area.name
                taken.append((low, high, tenant(area), what or area.name))
        steps += _with_rests(sorted(taken), start, end, name)
    return Plan(ranges, steps, search.attempts)


def tenant(area: Area) -> str:
    """Whose an area is: "held" without access, "windows", "foreign" or "unknown"."""
    if not area.accessible and area.kind in (Kind.RESERVED, Kind.ANONYMOUS, Kind.DOS):
        return "held"
    if area.kind in WINDOWS_KINDS:
        return "windows"
    if area.kind == Kind.GUARD:
        return "windows" if area.name.startswith(_WINE_GUARDS) else "foreign"
    if area.kind in (Kind.ANONYMOUS, Kind.SHARED, Kind.CODE, Kind.FILE, Kind.LOCALE):
        # Windows code has memory of its own, and maps files; nothing tells that apart.
        return "unknown"
    return "foreign"


def _with_rests(
    taken: Sequence[tuple[int, int, str, str]], start: int, end: int, name: str
) -> list[Step]:
    """The parts by address, with what is free and stays so: less than the granularity."""
    steps: list[Step] = []
    at = start
    for low, high, action, what in [*taken, (end, end, "", "")]:
        if at < low:
            steps.append(Step(at, low, "granule", name))
        if low < high:
            last = steps[-1] if steps else None
            same = last is not None and (last.action, last.what) == (action, what)
            if last is not None and same and last.end == low:
                last.end = high
            else:
                steps.append(Step(low, high, action, name, what))
        at = max(at, high)
    return steps
