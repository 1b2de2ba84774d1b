"""Broken exception chains, as findings of a report."""

from __future__ import annotations

from unspool.analyses.seh import seh
from unspool.analyses.seh.tebs import no_chains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Finding, Report
    from unspool.targets.base import Target


def findings(target: Target, report: Report) -> list[Finding]:
    """A finding for each chain that a system would refuse, and for what is not known."""
    return seh(target, report).own_findings


def concerns(target: Target) -> bool:
    """Only threads of 32-bit Windows code have chains."""
    return no_chains(target) is None
