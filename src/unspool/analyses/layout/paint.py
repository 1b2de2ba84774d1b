"""Puts names upon mappings: layers of labels, the surest first.

What is known of an address comes from many places that contradict each other at the edges: a
TEB lies in a mapping that a stack shares. Each source gives a layer of labels; what a layer
does not cover is left for the next one. A layer's pass is linear in labels and pieces.
"""

from __future__ import annotations

from unspool.analyses.layout.records import Area
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from unspool.targets.live.procfs import Mapping

    Piece = tuple[int, int, Mapping]
    # Says what a label makes of a mapping that it lies upon: (kind, name); None leaves it.
    Decide = Callable[[Mapping, "Label"], tuple[str, str] | None]


class Label(Record):
    """`[start, end)` is known to be something; `decide` may change that by the mapping."""

    __slots__ = ("decide", "end", "evidence", "kind", "module", "name", "start", "threads")

    def __init__(
        self,
        start: int,
        end: int,
        kind: str,
        name: str,
        evidence: str = "",
        *,
        threads: Sequence[int] = (),
        module: int | None = None,
        decide: Decide | None = None,
    ) -> None:
        self.start = start
        self.end = end
        self.kind = kind
        self.name = name
        self.evidence = evidence
        self.threads = threads
        self.module = module
        self.decide = decide


def apart(labels: Iterable[Label]) -> list[Label]:
    """Labels by address; what reaches back into an earlier one is cut off."""
    result = []
    reach = 0
    for label in sorted(labels, key=_start):
        start = max(label.start, reach)
        if start < label.end:
            if start != label.start:
                label = label.copy()
                label.start = start
            result.append(label)
            reach = label.end
    return result


def paint(
    mappings: Sequence[Mapping],
    layers: Iterable[Iterable[Label]],
    name_rest: Callable[[Mapping], Label],
) -> list[Area]:
    """The mappings in named pieces, by address. `name_rest` names what no layer knows."""
    pieces: list[Piece] = [(each.start, each.end, each) for each in mappings]
    areas: list[Area] = []
    for layer in layers:
        pieces = _layer(pieces, apart(layer), areas)
    for start, end, mapping in pieces:
        label = name_rest(mapping)
        areas.append(_area(start, end, mapping, label, label.kind, label.name))
    areas.sort(key=_start)
    return _joined(areas)


def _layer(pieces: Sequence[Piece], labels: Sequence[Label], areas: list[Area]) -> list[Piece]:
    """Adds an area for each label upon a piece; gives what is left of the pieces."""
    left = []
    at = 0
    for start, end, mapping in pieces:
        while at < len(labels) and labels[at].end <= start:
            at += 1
        index = at
        while index < len(labels) and labels[index].start < end:
            label = labels[index]
            index += 1
            low, high = max(start, label.start), min(end, label.end)
            said = label.decide(mapping, label) if label.decide else (label.kind, label.name)
            if said is None:
                continue
            if start < low:
                left.append((start, low, mapping))
            areas.append(_area(low, high, mapping, label, *said))
            start = high
        at = max(at, index - 1)
        if start < end:
            left.append((start, end, mapping))
    return left


def _area(start: int, end: int, mapping: Mapping, label: Label, kind: str, name: str) -> Area:
    return Area(
        start, end, kind, name,
        permissions=mapping.permissions, evidence=label.evidence, threads=label.threads,
        module=label.module, path=mapping.path,
        offset=mapping.offset + start - mapping.start if mapping.path else 0,
    )  # fmt: skip


def _joined(areas: Iterable[Area]) -> list[Area]:
    """Neighbours that say the same are one: an image's section lies in several mappings."""
    result: list[Area] = []
    for area in areas:
        last = result[-1] if result else None
        if (
            last is not None
            and last.end == area.start
            and (last.kind, last.name, last.permissions) == (area.kind, area.name, area.permissions)
            and (last.path, last.threads) == (area.path, area.threads)
            and (not area.path or last.offset + last.size == area.offset)
        ):
            last.end = area.end
        else:
            result.append(area)
    return result


def _start(each: Label | Area) -> int:
    return each.start
