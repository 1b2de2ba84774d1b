"""Start the zoo under Wine, wait until every thread is where it belongs, and leave nothing behind.

Each start has a prefix, and with it a wineserver, of its own: it takes a tenth of a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .flavours import Flavour, check, make_prefix
from .zoo import Zoo

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PATIENCE = 60  # seconds until a program that is not ready counts as hanging


@dataclass(frozen=True)
class Thread:
    """A thread of the zoo, as the program itself describes it."""

    tid: int
    windows_tid: int
    scenario: str  # "main" if the main thread has none; "reporter" for the one that tells
    depth: int  # frames of `recurse`
    nesting: int
    main: bool

    @classmethod
    def parse(cls, line: str, main: bool) -> Thread:
        _, tid, windows_tid, scenario, depth, nesting = line.split()
        return cls(int(tid), int(windows_tid), scenario, int(depth), int(nesting), main)


@dataclass(frozen=True)
class Running:
    """The zoo, every thread of it in its place."""

    flavour: Flavour
    zoo: Zoo
    threads: tuple[Thread, ...]  # the main thread first
    folder: Path  # its working directory
    prefix: str  # as it knows it

    @property
    def pid(self) -> int:
        return self.threads[0].tid


@contextlib.contextmanager
def run_zoo(flavour: Flavour, zoo: Zoo, scenarios: Sequence[str], root: Path) -> Iterator[Running]:
    """Run `scenarios` ("wndproc:3:2", "@sleep:5" for the main thread) while the body runs.

    `root` is the session's folder, in which `zoo` was built. Raises Unavailable with the reason
    when this machine cannot run it.
    """
    check(flavour, root)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    prefix = folder / "prefix"
    inside = str(flavour.inside(prefix, root))
    try:
        make_prefix(flavour, prefix)
        with started(flavour, zoo, scenarios, folder, root) as process:
            watchdog = threading.Timer(PATIENCE, process.kill)
            watchdog.start()
            try:
                running = wait_until_ready(flavour, zoo, folder, process, inside)
            finally:
                watchdog.cancel()
            yield running
    finally:
        end_all(inside)
        remove_server_folder(prefix)
        shutil.rmtree(folder)


@contextlib.contextmanager
def started(
    flavour: Flavour, zoo: Zoo, scenarios: Sequence[str], folder: Path, root: Path
) -> Iterator[subprocess.Popen[str]]:
    arguments = [str(flavour.inside(zoo.executable, root)), *scenarios]
    for name in ("first", "second"):
        if any(scenario.startswith(f"{name}_chance:") for scenario in scenarios):
            arguments = [str(flavour.inside(zoo.debugger, root)), name, *arguments]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            flavour.command(folder, root, arguments),
            cwd=folder,
            env=flavour.environment(folder / "prefix", root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # an interrupted test ends it in its own way
            preexec_fn=prepare,  # noqa: PLW1509 - limits can be set in no other way
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream
            stream.close()


def prepare() -> None:
    """In the child: allow cores, and do not outlive the tests, however they end."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    Path("/proc/self/coredump_filter").write_text("0x33")
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until_ready(
    flavour: Flavour, zoo: Zoo, folder: Path, process: subprocess.Popen[str], prefix: str
) -> Running:
    assert process.stdin and process.stdout
    threads: list[Thread] = []
    for line in process.stdout:
        if line == "placed\n":
            break
        if not line.startswith("thread "):
            raise AssertionError(f"the zoo says {line.strip()!r}")
        threads.append(Thread.parse(line, main=not threads))
    else:
        errors = (folder / "errors").read_text(errors="replace").strip()
        raise AssertionError(f"{flavour.name} ended with {process.wait()}: {errors[-1000:]}")
    running = Running(flavour, zoo, tuple(threads), folder, prefix)
    wait_until_settled(running, {"spin", "suspended_spin"})
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    wait_until_settled(running, {"spin"})
    return running


def wait_until_settled(running: Running, spinning: Collection[str]) -> None:
    """Wait until nothing happens any more: in the program, nor in the wineserver that it asks.

    A thread that only waits for an answer sleeps, too; but then the server has work to do. Else
    it sleeps, though it wakes sixty times a second to set the clock that programs read.
    """
    spinners = {thread.tid for thread in running.threads if thread.scenario in spinning}
    deadline = time.monotonic() + PATIENCE
    before: dict[int, str] = {}
    while time.monotonic() < deadline:
        now = activity(running)
        for tid in spinners:
            now.pop(tid, None)
        if now == before and all(state.startswith("S") for state in now.values()):
            return
        before = now
        time.sleep(0.05)
    raise AssertionError(f"{running.flavour.name} does not come to rest: {before}")


def activity(running: Running) -> dict[int, str]:
    """For each thread of the prefix's processes its state, and how often it waited so far."""
    found = {}
    for pid in processes(running.prefix):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                lines = (task / "status").read_text().splitlines()
                fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
                waits = fields["voluntary_ctxt_switches"] if pid == running.pid else ""
                found[int(task.name)] = fields["State"][0] + waits
    return found


def processes(prefix: str) -> list[int]:
    """All processes that were started for a prefix: they inherit the variable that names it."""
    variable = f"WINEPREFIX={prefix}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if variable in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def end_all(prefix: str) -> None:
    """Kill what still runs for a prefix: its wineserver, a child of the scenario unix_call."""
    deadline = time.monotonic() + PATIENCE
    while (left := processes(prefix)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    assert not left, f"still running: {left}"


def remove_server_folder(prefix: Path) -> None:
    """What a killed wineserver leaves in /tmp: a folder that is named after the prefix's inode.

    Wine keeps it in .wine-UID, Debian's Wine in a new folder of a random name.
    """
    status = prefix.stat()
    name = f"server-{status.st_dev:x}-{status.st_ino:x}"
    temporary = Path("/tmp")
    for folder in (temporary / f".wine-{os.geteuid()}", *temporary.glob("wine-??????")):
        if (folder / name).exists():
            shutil.rmtree(folder / name, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
