"""The files that a report lacks for its names, as text and as JSON."""

from __future__ import annotations

from unspool.render.escape import printable, well_formed
from unspool.symbols.missing import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.symbols.missing import MissingFile

SCHEMA = "unspool.missing/1"


def lines(missing: Sequence[MissingFile]) -> Iterator[str]:
    """One line a file: its id, its name, and what it is for. The ids come first, for `cut`."""
    rows = [
        (each.id or "no id", each.name, KINDS.get(each.kind, each.kind), each.purpose)
        for each in missing
    ]
    widths = [max((len(printable(row[at])) for row in rows), default=0) for at in range(3)]
    for row in rows:
        cells = [f"{printable(cell):{width}}" for cell, width in zip(row, widths, strict=False)]
        yield f"{'  '.join(cells)}  {row[3]}"


def document(missing: Sequence[MissingFile]) -> str:
    """The JSON document, which ends with a line feed."""
    import json

    files = [
        json.dumps(
            {
                "module": each.module,
                "kind": each.kind,
                "name": well_formed(each.name),
                "id": None if each.id is None else well_formed(each.id),
                "for": each.purpose,
                "addresses": each.addresses,
                "places": [well_formed(place) for place in each.places],
            },
            separators=(",", ":"),
        )
        for each in missing
    ]
    inside = "\n" + ",\n".join(files) if files else ""
    return f'{{"schema":"{SCHEMA}",\n"files":[{inside}]}}\n'
