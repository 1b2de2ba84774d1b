"""Start test programs that stay alive, and look at what state their threads are in."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .build import build
from .table import Program

FLAGS = ("-O1", "-g", "-pthread")
LIVE = Program(name="live", source="live.c", flags=FLAGS)
# Its modes in which it never sleeps whole.
RESTLESS = {"count", "exec", "short", "spawn", "vfork"}
LIVE_32 = LIVE.variant("live-m32", compiler="gcc-m32")
# 129 threads, 25 to 28 calls deep below what the C library adds.
PARKED = Program(
    name="parked", source="threads.c", flags=("-O2", "-g", "-pthread", "-DCOUNT=128", "-DDEPTH=24")
)

PATIENCE = 20  # seconds until something that should happen counts as not happening


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    said: list[str] | None = None,
    before_ready: list[str] | None = None,
    runs_on: bool = False,
    **more: object,
) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own that has said "ready" and sleeps; killed at the end.

    The whole line is appended to `said`, and lines before it to `before_ready`. Who says "ready"
    is in `write` at that moment and goes to sleep after it: two looks at it would differ. With
    `runs_on` the process never sleeps whole, and nobody waits for that.
    """
    process: subprocess.Popen[str] = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        **more,  # type: ignore[call-overload]
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        while before_ready is not None and line and not line.startswith("ready"):
            before_ready.append(line.rstrip("\n"))
            line = process.stdout.readline()
        assert line.startswith("ready"), f"{command} said {line!r}"
        if said is not None:
            said.append(line)
        if not runs_on:
            assert eventually(lambda: is_parked(process.pid)), states(process.pid)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.communicate()


@contextlib.contextmanager
def running_program(
    program: Program, root: Path, *arguments: str, runs_on: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A program of ours, built if need be. Raises `Unavailable`."""
    with running([build(program, root), *arguments], runs_on=runs_on) as process:
        yield process


def signal_thread(pid: int, tid: int, number: int) -> None:
    """Sends a signal to one thread.

    A signal for the process goes to any thread that takes it, and to the main thread last if that
    was let go by a tracer a moment ago and has not run since (`wants_signal` of kernel/signal.c).
    """
    if ctypes.CDLL(None, use_errno=True).tgkill(pid, tid, number):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def states(pid: int) -> dict[int, str]:
    """The state of each thread, as one letter: S sleeps, R runs, T stopped, t held by a tracer."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found[int(task.name)] = (task / "stat").read_text().rpartition(")")[2].split()[0]
    return found


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether something becomes true in the end."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def is_parked(pid: int) -> bool:
    """Whether all threads sleep, or have ended where others have not."""
    return {"S"} <= set(states(pid).values()) <= {"S", "Z"}


def has_ended(pid: int) -> bool:
    """Whether a process is at most an entry that waits for its parent: its core is whole."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def is_free(pid: int) -> bool:
    """Whether no thread is traced, or stopped by a signal."""
    tracers = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            lines = (task / "status").read_text().splitlines()
            tracers |= {line.split()[1] for line in lines if line.startswith("TracerPid:")}
    return tracers == {"0"} and not {"t", "T"} & set(states(pid).values())
