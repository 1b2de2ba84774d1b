"""Asks stacks and memory what they tell beyond themselves: one function a question."""

from __future__ import annotations

import os

from unspool.api.walking import stacks, unwind
from unspool.targets.report import need_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import StrPath

    from unspool.analyses.layout import Layout
    from unspool.analyses.locks.records import LockReport
    from unspool.analyses.patch import PatchCheck
    from unspool.analyses.redzone import ThreadZone
    from unspool.analyses.seh.records import Seh
    from unspool.model import Finding, Report
    from unspool.targets.base import Target


def locks(targets: Sequence[tuple[Target, Report]]) -> LockReport:
    """Who waits for whom in these processes together: locks, holders, and cycles of waits.

    Each target comes with what `unwind` made of all its threads. Running processes should be
    opened one right after the other; a wait whose thread has gone on since is left out.

    Raises `InputError` if a target is a report, which holds no memory.
    """
    from unspool.analyses.locks.survey import survey

    for target, _ in targets:
        need_memory(target)
    return survey(targets)


def layout(target: Target) -> Layout:
    """What is where in the target's address space, and what its rules say of it.

    Raises `InputError` if the target is a report, which holds no memory.
    """
    from unspool.analyses.layout import layout as lay_out

    need_memory(target)
    return lay_out(target, stacks(target))


def seh(target: Target, *, threads: str | int = "all") -> Seh:
    """The i386 exception chains of threads, chosen as in `unwind`, with every system's verdict.

    Raises `InputError` if the target is a report, which holds no memory.
    """
    from unspool.analyses.seh import seh as read_chains

    need_memory(target)
    report = unwind(target, threads=threads)
    walked = {stack.index for stack in report.stacks}
    wanted = [thread for thread in target.threads if thread.index in walked]
    # Frames without names are not what is asked.
    report.findings = [each for each in report.findings if each.kind != "missing_files"]
    return read_chains(target, report, threads=wanted)


def redzone(target: Target) -> list[ThreadZone]:
    """What lies below each thread's stack pointer. Of files: `analyses.redzone.file_uses`.

    Raises `InputError` if the target is a report.
    """
    from unspool.analyses.redzone import thread_zones

    need_memory(target)
    return list(thread_zones(target))


def patch_check(
    target: Target,
    functions: Sequence[str] = (),
    *,
    old: StrPath | None = None,
    new: StrPath | None = None,
    inlined: bool = True,
) -> PatchCheck:
    """Whether functions can be replaced now: names, MODULE!NAME or 0x1000-0x1040.

    `old` and `new` are files of two builds, whose functions that differ are checked as well.
    Without `inlined` no copies of functions are looked for.

    Raises `InputError` if the target is a report, or runs no such build; `UsageError` for what is
    neither a name nor a range.
    """
    from unspool.analyses.patch.between import check_functions

    need_memory(target)
    report = unwind(target, symbols=False)
    builds = [None if each is None else os.fspath(each) for each in (old, new)]
    return check_functions(
        target, report, functions, old=builds[0], new=builds[1], inlined=inlined
    )


def analyse(target: Target, report: Report, names: Sequence[str]) -> list[Finding]:
    """Adds what analyses find to the findings of what `unwind` made, and gives what was added.

    `names` are those of `unspool.analyses.registry`: "locks", "seh", "layout", "redzone",
    "fibers", "patch-check=FUNCTION", or "all" that need no function and concern such a target.
    Threads, frames and names that the report lacks are found again.

    Raises `InputError` if the target is a report, `UsageError` if there is no such analysis.
    """
    from unspool.analyses import registry

    registry.chosen(names)
    need_memory(target)
    whole = report if registry.is_whole(target, report) else unwind(target)
    found = registry.analyse(target, whole, names)
    report.findings += found
    return found
