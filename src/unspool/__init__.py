"""unspool: every thread's whole call stack from what is left of a process.

    import unspool
    with unspool.open("core.1234") as target:
        report = unspool.unwind(target)

Names are loaded when they are first used, so that importing the package costs next to
nothing. How it all works: docs/how-it-works.md.
"""

from __future__ import annotations

__version__ = "0.1.0"

_HOMES = {
    "api.opening": ("open", "open_stream"),
    "api.walking": ("unwind",),
    "errors": ("InputError", "MissingDependency", "UnspoolError", "UsageError"),
    "model.report": ("Finding", "Inline", "Location", "Report"),
    "model.stack": ("Attempt", "Frame", "Gap", "Segment", "Stack", "Stop", "StopReason", "Trust"),
    "model.target": ("Crash", "Module", "TargetInfo", "Thread"),
    "targets.base": ("Target",),
}  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.api.opening import open, open_stream
    from unspool.api.walking import unwind
    from unspool.errors import InputError, MissingDependency, UnspoolError, UsageError
    from unspool.model.report import Finding, Inline, Location, Report
    from unspool.model.stack import (
        Attempt,
        Frame,
        Gap,
        Segment,
        Stack,
        Stop,
        StopReason,
        Trust,
    )
    from unspool.model.target import Crash, Module, TargetInfo, Thread
    from unspool.targets.base import Target
else:
    # `unspool.unwind` is the function. The package of that name is loaded here, empty as it
    # is, since whoever imports it first makes Python put it in the function's place.
    from unspool import unwind

    del unwind

__all__ = [
    "Attempt",
    "Crash",
    "Finding",
    "Frame",
    "Gap",
    "Inline",
    "InputError",
    "Location",
    "MissingDependency",
    "Module",
    "Report",
    "Segment",
    "Stack",
    "Stop",
    "StopReason",
    "Target",
    "TargetInfo",
    "Thread",
    "Trust",
    "UnspoolError",
    "UsageError",
    "__version__",
    "open",
    "open_stream",
    "unwind",
]


def __getattr__(name: str) -> object:
    from unspool.lazy import load

    return load(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
