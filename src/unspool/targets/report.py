"""A report made elsewhere, as a target: its stacks are walked already."""

from __future__ import annotations

from unspool.errors import InputError
from unspool.model import Thread
from unspool.targets.base import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Report


class ReportTarget(Target):
    """Holds a `Report`. There is no memory behind it, so it has no address space."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.info = report.target
        self.crash = report.crash
        self.findings = report.findings
        self.threads = [
            Thread(stack.index, stack.tid, None, name=stack.name, crashed=stack.crashed)
            for stack in report.stacks
        ]


def need_memory(target: Target) -> None:
    """Raises `InputError` if the target is a report."""
    if isinstance(target, ReportTarget):
        raise InputError(
            f"a report holds no memory; this one is of {target.info.path or 'a process'}",
            "give the core, the minidump or the process itself",
        )
