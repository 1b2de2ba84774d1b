"""What lies below the stack pointers of a target, as findings of a report."""

from __future__ import annotations

from unspool.analyses.redzone.threads import thread_zones
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.analyses.redzone.records import ThreadZone
    from unspool.model import Report
    from unspool.targets.base import Target

_MOST_LINES = 2_000


def findings(target: Target, report: Report) -> list[Finding]:
    """What below each thread's stack pointer holds nothing of it."""
    return zone_findings(thread_zones(target))


def zone_findings(zones: Iterable[ThreadZone]) -> list[Finding]:
    """One finding for all threads of a rule, with their ranges."""
    groups: dict[str, list[ThreadZone]] = {}
    unknown: dict[str, list[ThreadZone]] = {}
    for zone in zones:
        if zone.beyond is None:
            unknown.setdefault(zone.unknown, []).append(zone)
        else:
            groups.setdefault(zone.rule, []).append(zone)
    found = [
        Finding(
            "below_stack",
            "what lies below the stack pointer is left over from calls that returned, and not to "
            f"be trusted: {rule}",
            detail=_lines(group),
            threads=[zone.index for zone in group],
        )
        for rule, group in groups.items()
    ]
    return found + [
        Finding(
            "below_stack", f"what lies below the stack pointer is not known: {why}",
            threads=[zone.index for zone in group], incomplete=True,
        )
        for why, group in unknown.items()
    ]  # fmt: skip


def _lines(zones: list[ThreadZone]) -> str:
    lines = [_line(zone) for zone in zones[:_MOST_LINES]]
    if len(zones) > _MOST_LINES:
        lines.append(f"and {len(zones) - _MOST_LINES:,} more threads")
    return "\n".join(lines)


def _line(zone: ThreadZone) -> str:
    assert zone.beyond is not None
    text = f"thread {zone.tid}: 0x{zone.beyond[0]:x}-0x{zone.beyond[1]:x}"
    if zone.red_zone is None:
        return text
    text += f", red zone 0x{zone.red_zone[0]:x}-0x{zone.red_zone[1]:x}"
    if zone.uses is None:
        return f"{text}, whether it is used is unknown: {zone.unknown}"
    if not zone.uses:
        return f"{text} not used by the function at the pc"
    name = zone.function or "the function at the pc"
    deepest = max(zone.uses, key=lambda use: use.depth)
    return f"{text}, of which {name} uses {deepest.depth} bytes (0x{deepest.address:x})"


def concerns(target: Target) -> bool:
    """Every thread has memory below its stack pointer."""
    return True
