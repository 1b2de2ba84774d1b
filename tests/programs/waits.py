"""Variants of locks.c: how they are built, and what is asked of them while they run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from unspool import api
from unspool.analyses.locks.records import LockReport

from .build import build
from .running import eventually, running
from .table import Program

LOCKS = Program(
    name="locks", source="locks.c", flags=("-O1", "-g", "-pthread", "-rdynamic")
)
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
        Program(
            name="locks-rust", source="locks.rs", compiler="rustc", language="rust", flags=("-g",)
        ),
        Program(
            name="locks-c++", source="locks.cpp", compiler="g++", language="c++",
            flags=("-std=c++17", "-O1", "-g", "-pthread"),
        ),
    )
}  # fmt: skip
# Those of locks.c.
NATIVE = tuple(name for name, program in VARIANTS.items() if program.source == "locks.c")


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


def calm_survey(pids: Sequence[int], waits: int) -> LockReport:
    """The answer once the threads have got to where they stay: so many wait for locks."""
    for pid in pids:
        wait_until_calm(pid)
    found: list[LockReport] = []

    def look() -> bool:
        found[:] = [survey(*pids)]
        return len(found[0].waits) == waits

    assert eventually(look), found
    return found[0]


def wait_until_calm(pid: int) -> None:
    """Wait until all threads sleep and have not waited for anything new for a while."""
    before: list[str] = []

    def calm() -> bool:
        nonlocal before
        last, before = before, activity(pid)
        sleeping = all("S (" in line for line in before if line.startswith("State"))
        time.sleep(0.1)  # in which a thread that is about to do something does
        return sleeping and bool(before) and last == before == activity(pid)

    assert eventually(calm), "the program does not come to rest"


def activity(pid: int) -> list[str]:
    """Each thread's state, and how often it waited so far."""
    found = []
    for task in sorted(os.listdir(f"/proc/{pid}/task")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/task/{task}/status").read_text().splitlines()
            found += [line for line in lines if line.startswith(("State", "voluntary"))]
    return found
