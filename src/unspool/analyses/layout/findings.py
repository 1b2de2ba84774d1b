"""The rules that an address space breaks, as findings of a report."""

from __future__ import annotations

from unspool.analyses.layout.build import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Finding, Report
    from unspool.targets.base import Target


def findings(target: Target, report: Report) -> list[Finding]:
    """A finding for each rule that is broken, with what is mapped there."""
    return layout(target, report.stacks).own_findings


def concerns(target: Target) -> bool:
    """Every process has an address space."""
    return True
