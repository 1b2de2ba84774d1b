"""Nodes of structures and their fields, from the tables of the format."""

from __future__ import annotations

from unspool.analyses.anatomy.node import BYTES, Node
from unspool.analyses.anatomy.values import type_name, value_of
from unspool.formats.minidump.structures import LOCATION, LOCATION64, MEMORY_DESCRIPTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.anatomy.survey import Survey
    from unspool.formats.minidump.layout import Field, Layout

# Their fields are shown among those of the structure that they are in: Stack.Memory.Rva.
FLAT = (LOCATION, LOCATION64, MEMORY_DESCRIPTOR)


class Fields:
    """Makes the children of a structure's node. `rest` are those behind its fields."""

    __slots__ = ("layout", "rest", "survey")

    def __init__(self, survey: Survey, layout: Layout, rest: Sequence[Node] = ()) -> None:
        self.survey = survey
        self.layout = layout
        self.rest = rest

    def __call__(self, node: Node) -> list[Node]:
        end = self.rest[0].offset if self.rest else node.end
        return [*fields(self.survey, self.layout, node.offset, end), *self.rest]


def structure(
    survey: Survey,
    name: str,
    layout: Layout,
    offset: int,
    size: int,
    *,
    value: str = "",
    meaning: str = "",
    rest: Sequence[Node] = (),
) -> Node:
    """A structure of `size` bytes, which may be less than its layout has, or more."""
    return Node(
        name,
        layout.name,
        offset,
        size,
        value=value,
        meaning=meaning or layout.meaning,
        make=Fields(survey, layout, rest),
    )


def fields(
    survey: Survey, layout: Layout, base: int, end: int, prefix: str = "", purpose: str = ""
) -> Iterator[Node]:
    """A structure's fields up to `end`, and the bytes there that belong to none of them."""
    at = base
    for field in layout.fields:
        start = base + field.offset
        if start + field.size > end:
            break
        at = start + field.size
        yield from _field(survey, field, start, prefix, purpose)
    if at < end and not prefix:
        cut = end < base + layout.size
        yield Node("cut" if cut else "more", BYTES, at, end - at, value=shown(survey, at, end))


def shown(survey: Survey, start: int, end: int) -> str:
    """The first of some bytes."""
    data = survey.bytes(start, min(end - start, 16))
    return data.hex(" ") + (" …" if end - start > len(data) else "")


def _field(survey: Survey, field: Field, start: int, prefix: str, purpose: str) -> Iterator[Node]:
    name = prefix + field.name
    meaning = f"{purpose}: {field.meaning}" if purpose else field.meaning
    layout = field.layout
    if layout is None and field.show == "to:CPU_INFORMATION":
        layout = survey.cpu
    if layout is None:
        value, raw = value_of(field, survey.bytes(start, field.size), survey.system)
        yield Node(
            name, type_name(field), start, field.size, value=value, raw=raw, meaning=meaning,
            target=survey.targets.get(start), problem=survey.flaws.get(start),
        )  # fmt: skip
        return
    for index in range(field.count):
        each = start + index * layout.size
        own = f"{name}[{index}]" if field.count > 1 else name
        if layout in FLAT:
            inner = purpose or field.meaning
            yield from fields(survey, layout, each, each + layout.size, f"{own}.", inner)
        else:
            yield structure(survey, own, layout, each, layout.size, meaning=meaning)


class Reference:
    """A field that leads to something: `to` is what. `size` tells whether its size is known.

    `offset` is the field's in its structure; a location descriptor is its size and RVA, a
    memory descriptor an address before these.
    """

    __slots__ = ("field", "layout", "offset", "to")

    def __init__(self, field: Field, offset: int, to: str, layout: Layout | None) -> None:
        self.field = field
        self.offset = offset
        self.to = to
        self.layout = layout

    @property
    def size(self) -> int:
        return self.layout.size if self.layout is not None else self.field.size


_REFERENCES: dict[int, list[Reference]] = {}


def references(layout: Layout) -> list[Reference]:
    """The fields of a structure that lead to something, those of structures in it too."""
    known = _REFERENCES.get(id(layout))
    if known is None:
        known = _REFERENCES[id(layout)] = list(_references(layout, 0))
    return known


def _references(layout: Layout, base: int) -> Iterator[Reference]:
    for field in layout.fields:
        kind, _, to = field.show.partition(":")
        start = base + field.offset
        if field.layout in FLAT and kind == "to":
            for index in range(field.count):
                yield Reference(field, start + index * field.layout.size, to, field.layout)
        elif field.layout is not None:
            for index in range(field.count):
                yield from _references(field.layout, start + index * field.layout.size)
        elif kind == "rva" and to:
            yield Reference(field, start, to, None)
