"""The façade: open a target, unwind it, ask it. Read this first, then `opening` and `walking`.

import unspool
with unspool.open("core.1234") as target:
    report = unspool.unwind(target)

A function's module is loaded when it is first used: who prints a stack loads no questions.
"""

from __future__ import annotations

_ROOMS = {
    "dumping": ("dump",),
    "naming": ("symbolicate",),
    "opening": ("open", "open_stream"),
    "questions": ("analyse", "layout", "locks", "patch_check", "redzone", "seh"),
    "walking": ("select_threads", "stacks", "unwind"),
}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.api.dumping import dump
    from unspool.api.naming import symbolicate
    from unspool.api.opening import open, open_stream
    from unspool.api.questions import analyse, layout, locks, patch_check, redzone, seh
    from unspool.api.walking import select_threads, stacks, unwind

__all__ = [
    "analyse",
    "dump",
    "layout",
    "locks",
    "open",
    "open_stream",
    "patch_check",
    "redzone",
    "seh",
    "select_threads",
    "stacks",
    "symbolicate",
    "unwind",
]


def __getattr__(name: str) -> object:
    from unspool.lazy import load

    return load(__name__, _ROOMS, name)
