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
    "api": ("open", "open_stream", "unwind"),
    "errors": ("InputError", "MissingDependency", "UnspoolError", "UsageError"),
    "model": (
        "Attempt", "Crash", "Finding", "Frame", "Gap", "Inline", "Location", "Module", "Report",
        "Segment", "Stack", "Stop", "StopReason", "TargetInfo", "Thread", "Trust",
    ),
    "targets.base": ("Target",),
}  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.api import open, open_stream, unwind
    from unspool.errors import InputError, MissingDependency, UnspoolError, UsageError
    from unspool.model import (
        Attempt,
        Crash,
        Finding,
        Frame,
        Gap,
        Inline,
        Location,
        Module,
        Report,
        Segment,
        Stack,
        Stop,
        StopReason,
        TargetInfo,
        Thread,
        Trust,
    )
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
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            value: object = getattr(import_module(f"unspool.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
