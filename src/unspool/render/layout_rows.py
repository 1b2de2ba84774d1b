"""The areas of a layout as rows that a person can read: what belongs together is one.

An image is one row, whatever its sections; a thread's stack and its guard are one; a run of
small things (libraries, files, bits of memory) with little between them is one.
"""

from __future__ import annotations

from unspool.analyses.layout import Hole
from unspool.analyses.layout.records import Kind
from unspool.analyses.layout.rules import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.layout import Area, Layout

_IMAGES = {Kind.LIBRARY, Kind.BUILTIN, Kind.NATIVE}
_BITS = {
    Kind.FILE, Kind.LOCALE, Kind.ANONYMOUS, Kind.SHARED, Kind.RESERVED, Kind.DEVICE, Kind.KERNEL,
    Kind.GUARD, Kind.WINDOWS_HEAP, Kind.HEAP,
}  # fmt: skip
_STACKS = {Kind.STACK, Kind.WINDOWS_STACK, Kind.WINE_STACK, Kind.GUARD}
_BLOCKS = {Kind.TEB, Kind.PEB}
# Kinds that stay alone as long as there is room.
_ALONE = {Kind.EXECUTABLE, Kind.PROGRAM, Kind.KUSER, Kind.DISPATCHER, Kind.DOS}
_SMALL = 1 << 20
# Within a run nothing larger than this lies between two rows.
_APART = 16 << 20
# More rows of threads than these are put together as well.
_MOST_THREADS = 48
_NAMED = 3
# What a heap is called that has no memory there yet (`malloc`, `runtimes`).
_ROOM = "room of "

WORDS = {
    Kind.EXECUTABLE: "program", Kind.PROGRAM: "Windows program", Kind.LIBRARY: "libraries",
    Kind.BUILTIN: "builtin DLLs", Kind.NATIVE: "native DLLs", Kind.HEAP: "heaps",
    Kind.WINDOWS_HEAP: "Windows heaps", Kind.STACK: "stacks", Kind.WINDOWS_STACK: "Windows stacks",
    Kind.WINE_STACK: "Wine's own stacks", Kind.GUARD: "guards", Kind.TLS: "thread-local storage",
    Kind.TEB: "TEBs", Kind.PEB: "PEBs", Kind.KUSER: "KUSER_SHARED_DATA",
    Kind.DISPATCHER: "dispatcher page", Kind.KERNEL: "pages of the kernel",
    Kind.CODE: "code without a file", Kind.FILE: "files", Kind.LOCALE: "locales",
    Kind.SHARED: "shared memory", Kind.DEVICE: "devices", Kind.DOS: "DOS area",
    Kind.RESERVED: "held without access", Kind.ANONYMOUS: "anonymous memory",
}  # fmt: skip
_ONE = {
    "libraries": "library", "builtin DLLs": "builtin DLL", "native DLLs": "native DLL",
    "heaps": "heap", "Windows heaps": "Windows heap", "stacks": "stack", "files": "file",
    "Windows stacks": "Windows stack", "Wine's own stacks": "Wine's own stack", "guards": "guard",
    "TEBs": "TEB", "PEBs": "PEB", "pages of the kernel": "page of the kernel",
    "locales": "locale", "devices": "device",
}  # fmt: skip


class Row:
    """One or several areas as one line. `threads` are indexes of those whose it is."""

    __slots__ = ("areas", "end", "kind", "name", "size", "start", "threads")

    def __init__(self, areas: Sequence[Area], kind: str, name: str) -> None:
        self.areas = areas
        self.start = areas[0].start
        self.end = areas[-1].end
        self.size = sum(area.size for area in areas)
        self.kind = kind
        self.name = name
        self.threads = tuple(dict.fromkeys(t for area in areas for t in area.threads))

    @property
    def used(self) -> int:
        """Bytes of a heap without the room that it has for more; of other things all."""
        if self.kind != Kind.HEAP:
            return self.end - self.start
        return sum(area.size for area in self.areas if not area.name.startswith(_ROOM))

    @property
    def permissions(self) -> str:
        """Those of its areas if they agree."""
        found = {area.permissions for area in self.areas}
        return found.pop() if len(found) == 1 else "····"


def rows(layout: Layout, names: dict[int, str], most: int | None = None) -> list[Row]:
    """The layout's rows by address. `names` are those of modules, by index.

    Where there were more than `most` (at least 1), larger things that are further apart are one.
    """
    single = [_row(group, names) for group in _groups(layout.areas)]
    many = sum(1 for row in single if row.threads) > _MOST_THREADS
    found = list(_runs(single, _Joins(many, _SMALL, _APART, _IMAGES | _BITS)))
    for shift in range(4, 68, 4):
        if most is None or len(found) <= most:
            break
        kinds = set(WORDS) if shift == 64 else set(WORDS) - _ALONE
        joins = _Joins(many or shift > 8, _SMALL << shift, _APART << shift, kinds)
        found = list(_runs(single, joins))
    return found


def with_holes(found: Sequence[Row], holes: Sequence[Hole], least: int) -> Iterator[Row | Hole]:
    """Rows and the holes between them, by address; holes within a row are part of it."""
    at = 0
    for row in found:
        while at < len(holes) and holes[at].start < row.start:
            if holes[at].size >= least:
                yield holes[at]
            at += 1
        yield row
        while at < len(holes) and holes[at].end <= row.end:
            at += 1
    for hole in holes[at:]:
        if hole.size >= least:
            yield hole


def sums(layout: Layout) -> list[tuple[str, int, int]]:
    """(kind, areas, bytes), the largest first."""
    found: dict[str, tuple[int, int]] = {}
    for area in layout.areas:
        count, size = found.get(area.kind, (0, 0))
        found[area.kind] = count + 1, size + area.size
    return sorted(((kind, *each) for kind, each in found.items()), key=lambda each: -each[2])


def _groups(areas: Sequence[Area]) -> Iterator[list[Area]]:
    group: list[Area] = []
    for area in areas:
        if group and _together(group[-1], area):
            group.append(area)
            continue
        if group:
            yield group
        group = [area]
    if group:
        yield group


def _together(last: Area, area: Area) -> bool:
    if area.module is not None and last.module == area.module:
        return True
    if last.end == area.start and _ROOM in (last.name[: len(_ROOM)], area.name[: len(_ROOM)]):
        return _heap_name(last) == _heap_name(area)
    if last.end != area.start or not (last.threads and last.threads == area.threads):
        return False
    # The guard is below its stack, the signal stack above the TEB.
    return (last.kind in _STACKS and area.kind == last.kind) or last.kind in {
        Kind.GUARD, *_BLOCKS
    }  # fmt: skip


def _heap_name(area: Area) -> str:
    return area.name.removeprefix(_ROOM).partition(",")[0]


def _row(areas: list[Area], names: dict[int, str]) -> Row:
    if len(areas) > 1 and any(area.name.startswith(_ROOM) for area in areas):
        heap = next((area for area in areas if not area.name.startswith(_ROOM)), areas[0])
        row = Row(areas, Kind.HEAP, heap.name)
        row.name += f" ({size_of(row.used)}, and room)"
        return row
    first = next((area for area in areas if area.kind not in (Kind.GUARD,)), areas[0])
    if first.kind == Kind.TEB:
        first = next((area for area in areas if area.name.startswith("TEB")), first)
    if first.module is not None:
        name = names.get(first.module, first.name)
        words = {Kind.BUILTIN: " (builtin)", Kind.NATIVE: " (native)"}
        return Row(areas, first.kind, name + words.get(first.kind, ""))
    extra = ""
    if any(area.kind == Kind.GUARD for area in areas) and first.kind != Kind.GUARD:
        extra = " with its guard"
    elif first.kind == Kind.TEB and any(area.kind == Kind.WINE_STACK for area in areas):
        extra = " and signal stack"
    return Row(areas, first.kind, first.name + extra)


class _Joins:
    """Which rows may be one with their neighbours: how large, how far apart, of which kinds."""

    def __init__(self, threads: bool, small: int, apart: int, kinds: set[str]) -> None:
        self.threads = threads
        self.small = small
        self.apart = apart
        self.kinds = kinds

    def takes(self, row: Row) -> bool:
        if row.threads:
            return self.threads
        return row.kind in self.kinds and (row.kind in _IMAGES or row.used < self.small)


def _runs(found: Sequence[Row], joins: _Joins) -> Iterator[Row]:
    run: list[Row] = []
    for row in found:
        taken = joins.takes(row)
        if run and taken and row.start - run[-1].end <= joins.apart:
            run.append(row)
            continue
        yield from _one(run)
        run = []
        if taken:
            run = [row]
        else:
            yield row
    yield from _one(run)


def _one(run: Sequence[Row]) -> Iterator[Row]:
    if len(run) < 3:
        yield from run
        return
    counts: dict[str, list[Row]] = {}
    for row in run:
        counts.setdefault(row.kind, []).append(row)
    parts = []
    for kind, members in sorted(counts.items(), key=lambda each: _weight(each[1])):
        word = WORDS[kind]
        text = f"{len(members):,} {_ONE.get(word, word) if len(members) == 1 else word}"
        if kind in _IMAGES:
            shown = [member.areas[0].name.split(" ")[0] for member in members[:_NAMED]]
            text += f" ({', '.join(shown)}{', …' if len(members) > _NAMED else ''})"
        parts.append(text)
    kind = min(counts.items(), key=lambda each: _weight(each[1]))[0]
    joined = Row([area for row in run for area in row.areas], kind, ", ".join(parts))
    between = joined.end - joined.start - joined.size
    if between > _APART and between > joined.size:
        joined.name += f", with {size_of(between)} between them"
    yield joined


def _weight(members: Sequence[Row]) -> tuple[bool, int]:
    return members[0].kind not in _IMAGES, -sum(row.size for row in members)
