"""Windows exceptions that threads are dispatching: what a person wants to know first."""

from __future__ import annotations

from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Report

_SWITCH = "Windows exception: "


def windows_exceptions(report: Report) -> list[Finding]:
    """A finding for each exception that a stack has been through, innermost first.

    While a handler, a filter, a crash dialog or a debugger holds the process, the thread's
    stack still has the code that raised the exception, behind ntdll's dispatcher.
    """
    found = []
    for stack in report.stacks:
        for segment in stack.segments:
            if segment.switch is not None and segment.switch.startswith(_SWITCH):
                what = segment.switch.removeprefix(_SWITCH).rpartition(", context at ")[0]
                found.append(
                    Finding("windows_exception", f"Windows exception: {what}",
                            threads=(stack.index,))
                )  # fmt: skip
    return found
