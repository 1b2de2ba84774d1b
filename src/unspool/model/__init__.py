"""What unspool learns of a target, as plain data: modules, threads, frames, the report.

Nothing here reads, finds or prints anything. A `Report` is everything that leaves the
machine of the crash: it can be made there and named elsewhere, since frames hold
addresses, and what is known *about* an address is kept apart in `Report.locations`.

Why these are no dataclasses is in docs/decisions/0002-no-dataclasses-on-the-hot-path.md.
"""

from __future__ import annotations

from unspool.model.report import Finding, Inline, Location, Report
from unspool.model.stack import (
    SUBJECT,
    Attempt,
    Frame,
    Gap,
    Segment,
    Stack,
    Stop,
    StopReason,
    Trust,
)
from unspool.model.target import Crash, Module, TargetInfo, Thread, WasmIdentity

__all__ = [
    "SUBJECT",
    "Attempt",
    "Crash",
    "Finding",
    "Frame",
    "Gap",
    "Inline",
    "Location",
    "Module",
    "Report",
    "Segment",
    "Stack",
    "Stop",
    "StopReason",
    "TargetInfo",
    "Thread",
    "Trust",
    "WasmIdentity",
]
