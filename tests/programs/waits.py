"""Variants of locks.c: how they are built, and what is asked of them while they run."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from unspool import api
from unspool.analyses.locks.records import LockReport

from .build import build
from .running import eventually, running
from .table import Program

LOCKS = Program(name="locks", source="locks.c", flags=("-O1", "-g", "-pthread"))
VARIANTS = {
    program.name: program
    for program in (
        LOCKS,
        LOCKS.variant("locks-stripped", flags=("-O2", "-s", "-pthread")),
        LOCKS.variant("locks-static", flags=("-O2", "-s", "-static", "-pthread")),
        LOCKS.variant("locks-m32", compiler="gcc-m32"),
        LOCKS.variant(
            "locks-musl", compiler="musl-gcc",
            flags=("-O1", "-g", "-static", "-pthread", "-D__MUSL__"),
        ),
    )
}  # fmt: skip


@contextlib.contextmanager
def started(name: str, root: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A variant while it runs. Raises Unavailable where it cannot be built."""
    with running([build(VARIANTS[name], root), *arguments]) as process:
        yield process


def survey(*sources: str | int) -> LockReport:
    """What `unspool locks` finds out."""
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(api.open(source)) for source in sources]
        return api.locks([(target, api.unwind(target)) for target in targets])


def survey_when(settled: Callable[[LockReport], bool], pids: Sequence[int]) -> LockReport:
    """The answer once the threads have got to where they stay."""
    found: list[LockReport] = []

    def look() -> bool:
        found[:] = [survey(*pids)]
        return settled(found[0])

    assert eventually(look), found
    return found[0]


def waiting(count: int) -> Callable[[LockReport], bool]:
    return lambda report: len(report.waits) == count
