"""An address space as JSON: the contract `unspool.layout/1` (docs/layout.md)."""

from __future__ import annotations

from unspool.render.json import finding_record, quote, record_text
from unspool.render.layout_rows import sums

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unspool.analyses.layout import Area, Layout
    from unspool.analyses.layout.records import Plan

SCHEMA = "unspool.layout/1"


def chunks(layout: Layout, *, plan: bool = False) -> Iterator[str]:
    """The document in pieces, one record a line; they end with a line feed."""
    target = layout.target
    facts: dict[str, object] = {
        "kind": target.kind, "arch": target.arch, "os": target.os, "path": target.path,
        "pid": target.pid, "executable": target.executable, "wine": target.wine,
    }  # fmt: skip
    yield f'{{"schema":{quote(SCHEMA)},\n"target":{record_text(facts)}'
    yield f',\n"complete":{"true" if layout.complete else "false"}'
    yield f',\n"source":{quote(layout.source)},\n"pointer_size":{layout.pointer_size}'
    yield f',\n"top":"{layout.top:#x}"'
    threads = ({"index": index, "name": name} for index, name in layout.labels.items())
    yield from _array("threads", map(record_text, threads))
    yield from _array("areas", map(_area, layout.areas))
    yield from _array(
        "holes", (_range(hole.start, hole.end, size=hole.size) for hole in layout.holes)
    )
    found = (
        {"kind": kind, "areas": count, "size": size} for kind, count, size in sums(layout)
    )
    yield from _array("sums", map(record_text, found))
    yield from _array("free_blocks", _blocks(layout))
    rules = (
        {
            "id": rule.id, "verdict": rule.verdict, "says": rule.says,
            "evidence": list(rule.evidence),
        }
        for rule in layout.rules
    )  # fmt: skip
    yield from _array("rules", map(record_text, rules))
    if layout.system is not None:
        values = zip(layout.system.__slots__, layout.system._values(), strict=True)
        yield f',\n"system":{record_text(dict(values))}'
    if plan and layout.plan is not None:
        yield from _plan(layout.plan)
    yield from _array("findings", map(finding_record, layout.findings))
    yield "}\n"


def _array(key: str, records: Iterable[str]) -> Iterator[str]:
    yield f',\n{quote(key)}:['
    comma = "\n"
    for record in records:
        yield comma + record
        comma = ",\n"
    yield "]"


def _range(start: int, end: int, **more: object) -> str:
    return record_text({"start": f"{start:#x}", "end": f"{end:#x}", **more})


def _area(area: Area) -> str:
    return _range(
        area.start, area.end,
        size=area.size, permissions=area.permissions, kind=area.kind, name=area.name,
        threads=list(area.threads) or None, module=area.module, path=area.path or None,
        offset=area.offset if area.path else None, evidence=area.evidence or None,
    )  # fmt: skip


def _blocks(layout: Layout) -> Iterator[str]:
    for block in layout.blocks:
        yield record_text(
            {
                "limit": f"{block.limit:#x}", "start": f"{block.start:#x}", "size": block.size,
                "held_start": f"{block.held_start:#x}", "held_size": block.held_size,
            }
        )  # fmt: skip


def _plan(plan: Plan) -> Iterator[str]:
    yield f',\n"plan":{{"attempts":{plan.attempts}'
    yield from _array("ranges", (_range(start, end, name=name) for name, start, end in plan.ranges))
    yield from _array(
        "steps",
        (
            _range(
                step.start, step.end, action=step.action, range=step.range, what=step.what or None
            )
            for step in plan.steps
        ),
    )
    yield "}"
