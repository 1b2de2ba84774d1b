"""Whether a function can be replaced, as a finding of a report."""

from __future__ import annotations

from unspool.analyses.patch.check import patch_check
from unspool.analyses.patch.functions import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Finding, Report
    from unspool.targets.base import Target


def findings(target: Target, report: Report, wanted: str) -> list[Finding]:
    """The answer for one function, safe or not."""
    return patch_check(target, report, resolve(target, [wanted])).findings(safe=True)


def concerns(target: Target) -> bool:
    """Code can be replaced in every process."""
    return True
