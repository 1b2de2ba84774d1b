"""The areas of a layout as rows that a person can read: what belongs together is one.

An image is one row, whatever its sections; a thread's stack and its guard are one; a run of
small things (libraries, files, bits of memory) with little between them is one.
"""

from __future__ import annotations

from unspool.analyses.layout import Hole
from unspool.analyses.layout.records import Kind

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
_SMALL = 1 << 20
# Within a run nothing larger than this lies between two rows.
_APART = 16 << 20
# More rows of threads than these are put together as well.
_MOST_THREADS = 48
_NAMED = 3

WORDS = {
    Kind.EXECUTABLE: "program", Kind.PROGRAM: "Windows program", Kind.LIBRARY: "libraries",
    Kind.BUILTIN: "builtin DLLs", Kind.NATIVE: "native DLLs", Kind.HEAP: "heaps",
    Kind.WINDOWS_HEAP: "Windows heaps", Kind.STACK: "stacks", Kind.WINDOWS_STACK: "Windows stacks",
    Kind.WINE_STACK: "Wine's own stacks", Kind.GUARD: "guards", Kind.TLS: "thread-local storage",
    Kind.TEB: "TEBs", Kind.PEB: "PEBs", Kind.KUSER: "KUSER_SHARED_DATA",
    Kind.DISPATCHER: "dispatcher page", Kind.KERNEL: "pages of the kernel",
    Kind.CODE: "anonymous code", Kind.FILE: "files", Kind.LOCALE: "locales",
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
    def permissions(self) -> str:
        """Those of its areas if they agree."""
        found = {area.permissions for area in self.areas}
        return found.pop() if len(found) == 1 else "····"


def rows(layout: Layout, names: dict[int, str]) -> list[Row]:
    """The layout's rows by address. `names` are those of modules, by index."""
    single = [_row(group, names) for group in _groups(layout.areas)]
    many = sum(1 for row in single if row.threads) > _MOST_THREADS
    return list(_runs(single, many))


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
    if last.end != area.start or not (last.threads and last.threads == area.threads):
        return False
    # The guard is below its stack, the signal stack above the TEB.
    return (last.kind in _STACKS and area.kind == last.kind) or last.kind in {
        Kind.GUARD, *_BLOCKS
    }  # fmt: skip


def _row(areas: list[Area], names: dict[int, str]) -> Row:
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


def _runs(found: Sequence[Row], many: bool) -> Iterator[Row]:
    run: list[Row] = []
    for row in found:
        joins = _joins(row, many)
        if run and joins and row.start - run[-1].end <= _APART:
            run.append(row)
            continue
        yield from _one(run)
        run = []
        if joins:
            run = [row]
        else:
            yield row
    yield from _one(run)


def _joins(row: Row, many: bool) -> bool:
    if row.threads:
        return many
    return row.kind in _IMAGES or (row.kind in _BITS and row.end - row.start < _SMALL)


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
        text = f"{len(members)} {_ONE.get(word, word) if len(members) == 1 else word}"
        if kind in _IMAGES:
            shown = [member.areas[0].name.split(" ")[0] for member in members[:_NAMED]]
            text += f" ({', '.join(shown)}{', …' if len(members) > _NAMED else ''})"
        parts.append(text)
    kind = min(counts.items(), key=lambda each: _weight(each[1]))[0]
    yield Row([area for row in run for area in row.areas], kind, ", ".join(parts))


def _weight(members: Sequence[Row]) -> tuple[bool, int]:
    return members[0].kind not in _IMAGES, -sum(row.size for row in members)
