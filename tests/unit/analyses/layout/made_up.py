"""Address spaces of processes that never were, as lists of mappings and areas."""

from __future__ import annotations

from unspool.analyses.layout import Area, Layout
from unspool.analyses.layout.records import Kind
from unspool.analyses.layout.rules import blocks_of, holes_of
from unspool.analyses.layout.system import System
from unspool.model import TargetInfo
from unspool.targets.live.procfs import Mapping

GIB = 1 << 30


def mapping(start: int, end: int, permissions: str = "rw-p", path: str = "") -> Mapping:
    return Mapping(start, end, permissions, 0, 0, 0, path)


def area(
    start: int, end: int, kind: str = Kind.ANONYMOUS, name: str = "x", permissions: str = "rw-p"
) -> Area:
    return Area(start, end, kind, name, permissions=permissions)


def layout(
    areas: list[Area], *, word: int = 4, windows: bool = False, system: System | None = None,
    top: int = 4 * GIB,
) -> Layout:  # fmt: skip
    made = Layout(
        TargetInfo("live", "x86", pid=1), word, areas,
        source="made up", is_windows=windows, top=top, system=system or System(),
        mappings=len(areas),
    )  # fmt: skip
    made.holes = holes_of(areas, top)
    made.blocks = blocks_of(areas, [2 * GIB, 3 * GIB, 4 * GIB])
    return made
