"""Waits and deadlocks of one target, as findings of its report."""

from __future__ import annotations

from unspool.analyses.locks.survey import survey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Finding, Report
    from unspool.targets.base import Target


def findings(target: Target, report: Report) -> list[Finding]:
    """Who waits for whom in this process alone; `unspool locks` takes several."""
    return survey([(target, report)]).findings


def concerns(target: Target) -> bool:
    """Locks are looked for in every process."""
    return True
