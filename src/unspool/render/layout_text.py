"""An address space as text: a table, sums by kind, verdicts of rules, a plan."""

from __future__ import annotations

from unspool.analyses.layout import Hole
from unspool.analyses.layout.records import Verdict
from unspool.analyses.layout.rules import size_of
from unspool.render.escape import printable
from unspool.render.layout_rows import WORDS, Row, rows, sums, with_holes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.layout import Layout, Rule
    from unspool.analyses.layout.records import Plan
    from unspool.model import Module
    from unspool.render.style import Style

# Rows of the text; with --all there are all areas.
_MOST_ROWS = 600
_LEAST_HOLE = 1 << 20
_EVIDENCE = 3
_ROLES = {
    Verdict.OK: "good", Verdict.NOTE: "name", Verdict.WARNING: "bad", Verdict.UNKNOWN: "warning",
    Verdict.NOT_APPLICABLE: "dim",
}  # fmt: skip
_MARKS = {
    Verdict.OK: "ok", Verdict.NOTE: "note", Verdict.WARNING: "WARNING", Verdict.UNKNOWN: "unknown",
    Verdict.NOT_APPLICABLE: "n/a",
}  # fmt: skip
_ACTIONS = {
    "reserve": "reserve", "held": "is held", "windows": "Windows", "foreign": "FOREIGN",
    "unknown": "in use", "granule": "too small",
}  # fmt: skip


def lines(
    layout: Layout, modules: list[Module], *, style: Style, whole: bool = False, plan: bool = False
) -> Iterator[str]:
    """The lines of the text. `whole` shows every area and every hole, and all evidence."""
    for line in _lines(layout, modules, style, whole, plan):
        yield style.fit(line)


def _lines(
    layout: Layout, modules: list[Module], style: Style, whole: bool, plan: bool
) -> Iterator[str]:
    yield from _head(layout, style)
    yield ""
    yield from _table(layout, modules, style, whole)
    yield ""
    yield from _sums(layout, style)
    yield ""
    if layout.blocks:
        yield style.paint("title", "free, at multiples of 64 KiB")
    for block in layout.blocks:
        free = f"{size_of(block.size):>9} at 0x{block.start:x}" if block.size else "  nothing"
        held = f"{size_of(block.held_size)} at 0x{block.held_start:x}"
        yield f"  below {size_of(block.limit):>6}  {free}" + (
            f"; with what is held: {held}" if block.held_size != block.size else ""
        )
    if layout.blocks:
        yield ""
    yield style.paint("title", "rules")
    for rule in layout.rules:
        yield from _rule(rule, style, whole)
    missing = [finding for finding in layout.findings if finding.incomplete]
    for finding in missing:
        yield style.paint("warning", f"missing: {printable(finding.title)}")
    if plan and layout.plan is not None:
        yield ""
        yield from _plan(layout.plan, style, whole)


def _head(layout: Layout, style: Style) -> Iterator[str]:
    target = layout.target
    what = f"process {target.pid}" if target.pid is not None else "a process"
    wine = f", Wine {target.wine.get('version', '?')}" if target.wine else ""
    program = f" {printable(target.executable)}" if target.executable else ""
    yield style.paint("title", f"{what} ({target.kind}, {target.arch}{wine}){program}")
    yield (
        f"{layout.mappings:,} mappings in {len(layout.areas):,} areas, "
        f"{size_of(sum(area.size for area in layout.areas))}, by {layout.source}"
    )


def _table(
    layout: Layout, modules: list[Module], style: Style, whole: bool
) -> Iterator[str]:
    names = {module.index: module.name for module in modules}
    found = (
        [Row([area], area.kind, area.name) for area in layout.areas]
        if whole
        else rows(layout, names, _MOST_ROWS)
    )
    digits = max((len(f"{row.end:x}") for row in found), default=8)
    wide = digits + 2
    title = f"{'start':<{wide}}  {'end':<{wide}}  {'size':>9}  perm  what"
    yield style.paint("title", title)
    for each in with_holes(found, layout.holes, 1 if whole else _LEAST_HOLE):
        bounds = f"{hex(each.start):<{wide}}  {hex(each.end):<{wide}}  {size_of(each.size):>9}"
        if isinstance(each, Hole):
            yield style.paint("dim", f"{bounds}        hole")
        else:
            name = printable(each.name)
            if each.kind in ("reserved", "guard"):
                name = style.paint("dim", name)
            yield f"{bounds}  {each.permissions}  {name}"
            if whole and each.areas[0].evidence:
                indent = " " * (2 * wide + 21)
                yield style.paint("dim", indent + printable(each.areas[0].evidence))


def _sums(layout: Layout, style: Style) -> Iterator[str]:
    yield style.paint("title", "sums")
    for kind, count, size in sums(layout):
        yield f"  {WORDS[kind]:<22} {size_of(size):>9}  in {count:,}"
    holes = layout.holes
    if not holes:
        return
    yield (
        f"  {'holes':<22} {size_of(sum(hole.size for hole in holes)):>9}  in {len(holes):,}, "
        f"up to 0x{layout.top:x}"
    )


def _rule(rule: Rule, style: Style, whole: bool) -> Iterator[str]:
    mark = style.paint(_ROLES[rule.verdict], f"{_MARKS[rule.verdict]:<8}")
    yield f"  {mark} {rule.id:<18}  {printable(rule.says)}"
    if rule.verdict == Verdict.OK and not whole:
        return
    shown = rule.evidence if whole else rule.evidence[:_EVIDENCE]
    for text in shown:
        yield style.paint("dim", f"{'':<31}{printable(text)}")
    if len(shown) < len(rule.evidence):
        yield style.paint("dim", f"{'':<31}… and {len(rule.evidence) - len(shown)} more (--all)")


def _plan(plan: Plan, style: Style, whole: bool) -> Iterator[str]:
    yield style.paint("title", "reservations that would keep foreign mappings out")
    yield (
        "  Found as Wine finds its own: map a range; where that fails, its halves, down to 64 KiB. "
    ).rstrip()
    yield f"  {plan.attempts:,} calls of mmap(PROT_NONE, MAP_NORESERVE), nothing overwritten."
    for name, start, end in plan.ranges:
        yield ""
        yield style.paint("title", f"  {name}: 0x{start:x} to 0x{end:x}")
        steps = [step for step in plan.steps if step.range == name]
        for step in steps:
            if not whole and step.action in ("held", "windows", "unknown", "granule"):
                continue
            role = {"reserve": "good", "foreign": "bad"}.get(step.action, "dim")
            yield (
                f"    {style.paint(role, f'{_ACTIONS[step.action]:<9}')} {hex(step.start):<14} "
                f"{hex(step.end):<14} {size_of(step.end - step.start):>9}  {printable(step.what)}"
            ).rstrip()
        rest: dict[str, int] = {}
        for step in steps:
            if step.action in ("held", "windows", "unknown", "granule"):
                rest[step.action] = rest.get(step.action, 0) + step.end - step.start
        if rest and not whole:
            told = ", ".join(f"{size_of(size)} {_REST[action]}" for action, size in rest.items())
            yield style.paint("dim", f"    and {told}")


_REST = {
    "held": "held already", "windows": "used for Windows code",
    "unknown": "used, it does not tell by whom", "granule": "in pieces of less than 64 KiB",
}  # fmt: skip
