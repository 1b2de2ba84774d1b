"""Runs everything on bytes that claim to be a core, and says what must hold of the outcome.

    python -m tests.fuzz.harness FILE

examines a file under limits on time and memory, as the tests of hostile cores do.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from unspool import api
from unspool.errors import UnspoolError
from unspool.model import Report, StopReason
from unspool.render import json, json_reader, text

REASONS = {value for name, value in vars(StopReason).items() if name.isupper()}


class TooSlow(BaseException):
    """Not an Exception: nothing may swallow it."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails if the body takes more processor time than that."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow

    previous = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    except TooSlow as stopped:
        raise AssertionError(f"takes more than {seconds} s") from stopped
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def examine(
    data: bytes, *, explain: bool = False, symbols: bool = False, where: str = ""
) -> Report | UnspoolError:
    """The report of a core with these bytes, or the error that says what is wrong with it.

    `where` is a directory with its program. Anything else that is raised is a bug.
    """
    with tempfile.NamedTemporaryFile(prefix="core.", dir=directory()) as file:
        file.write(data)
        file.flush()
        return examine_file(file.name, explain=explain, symbols=symbols, where=where)


def directory() -> str | None:
    """Where files that live for a millisecond cost least."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def examine_file(
    path: str,
    *,
    explain: bool = False,
    symbols: bool = False,
    where: str = "",
    render: bool = True,
) -> Report | UnspoolError:
    try:
        with api.open(path, symbols=[where] if where else []) as target:
            report = api.unwind(target, explain=explain, symbols=symbols)
    except UnspoolError as error:
        assert error.message, "an error without words"
        assert "\n" not in str(error), "an error is one line"
        return error
    check(report)
    if render and sum(len(stack.frames) for stack in report.stacks) < 5000:
        check_rendering(report)
    return report


def check(report: Report) -> None:
    """What holds of every report, whatever it was made of."""
    for stack in report.stacks:
        assert stack.stop.reason in REASONS
        assert stack.segments or not stack.frames
        assert stack.frames or stack.stop.reason == StopReason.MISSING_CONTEXT
        for frame in stack.frames:
            assert 0 <= frame.pc < 1 << 64
            assert 0 <= frame.segment < len(stack.segments)
    for module in report.modules:
        assert 0 <= module.base < module.end, "a module of no extent"
    for finding in report.findings:
        assert finding.title


def check_rendering(report: Report) -> None:
    """Text is text, and JSON can be read back to the same report."""
    for line in text.lines(report, explain=True, verbose=True):
        assert "\n" not in line
        assert "\x1b" not in line, "a dump writes to the terminal"
        line.encode("utf-8", "surrogateescape")
    document = json.dumps(report)
    assert json.dumps(json_reader.loads(document)) == document


def examine_apart(
    data: bytes, directory: Path, *, seconds: int = 10, megabytes: int = 600
) -> subprocess.CompletedProcess[str]:
    """Examines in a process of its own that is ended by its limits."""
    path = directory / "core"
    path.write_bytes(data)
    command = [sys.executable, "-m", "tests.fuzz.harness", path, str(seconds), str(megabytes)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=seconds * 6 + 30, check=False
    )


def main() -> int:
    path, seconds, megabytes = [*sys.argv[1:], "10", "600"][:3]
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
    limit = int(megabytes) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    began = time.process_time()
    outcome = examine_file(path)
    used = f"{time.process_time() - began:.2f} s"
    peak = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB"
    if isinstance(outcome, UnspoolError):
        print(f"{used}, {peak}: {outcome}")
        return 2
    frames = sum(len(stack.frames) for stack in outcome.stacks)
    print(f"{used}, {peak}: {len(outcome.stacks)} stacks, {frames} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
