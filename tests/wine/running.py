"""Start the zoo under Wine, and wait until every thread is where it belongs."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.programs.running import eventually

from .flavours import Flavour
from .prefixes import PATIENCE, Prefix, impatient, new_prefix, processes
from .zoo import Zoo


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

    prefix: Prefix
    zoo: Zoo
    threads: tuple[Thread, ...]  # the main thread first

    @property
    def flavour(self) -> Flavour:
        return self.prefix.flavour

    @property
    def folder(self) -> Path:
        """Its working directory."""
        return self.prefix.folder

    @property
    def pid(self) -> int:
        return self.threads[0].tid


@contextlib.contextmanager
def run_zoo(flavour: Flavour, zoo: Zoo, scenarios: Sequence[str], root: Path) -> Iterator[Running]:
    """Run `scenarios` ("wndproc:3:2", "@sleep:5" for the main thread) while the body runs.

    `root` is the session's folder, in which `zoo` was built. Raises Unavailable with the reason
    when this machine cannot run it.
    """
    program, arguments = zoo.executable, list(scenarios)
    for name in ("first", "second"):
        if any(scenario.startswith(f"{name}_chance:") for scenario in scenarios):
            arguments = [name, str(flavour.inside(program, root)), *scenarios]
            program = zoo.debugger
    with (
        new_prefix(flavour, root) as prefix,
        prefix.start(program, *arguments, stdin=subprocess.PIPE) as process,
    ):
        with impatient(process):
            running = wait_until_ready(prefix, zoo, process)
        yield running


def wait_until_ready(prefix: Prefix, zoo: Zoo, process: subprocess.Popen[str]) -> Running:
    assert process.stdin and process.stdout
    threads: list[Thread] = []
    for line in process.stdout:
        if line == "placed\n":
            break
        if not line.startswith("thread "):
            raise AssertionError(f"the zoo says {line.strip()!r}")
        threads.append(Thread.parse(line, main=not threads))
    else:
        name = prefix.flavour.name
        raise AssertionError(f"{name} ended with {process.wait()}: {prefix.errors}")
    running = Running(prefix, zoo, tuple(threads))
    settle(running, {"spin", "suspended_spin"})
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    settle(running, {"spin"})
    return running


def settle(running: Running, spinning: Collection[str]) -> None:
    """Wait until nothing happens any more but in the scenarios that never rest."""
    spinners = {thread.tid for thread in running.threads if thread.scenario in spinning}
    wait_until_settled(running.prefix, running.pid, spinners)


def wait_until_settled(prefix: Prefix, pid: int, spinners: Collection[int] = ()) -> None:
    """Wait until nothing happens any more: in the program, nor in the wineserver that it asks.

    A thread that only waits for an answer sleeps, too; but then the server has work to do. Else
    it sleeps, though it wakes sixty times a second to set the clock that programs read.
    """
    before: dict[int, str] = {}

    def calm() -> bool:
        nonlocal before
        last, before = before, activity(prefix, pid)
        for tid in spinners:
            before.pop(tid, None)
        if before == last and all(state.startswith("S") for state in before.values()):
            return True
        time.sleep(0.05)  # in which a thread that is about to do something does
        return False

    assert eventually(calm, PATIENCE), f"{prefix.flavour.name} does not come to rest: {before}"


def activity(prefix: Prefix, pid: int) -> dict[int, str]:
    """For each thread of the prefix's processes its state; of `pid`, how often it waited so far."""
    found = {}
    for each in processes(prefix.inside):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{each}/task").iterdir():
                lines = (task / "status").read_text().splitlines()
                fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
                waits = fields["voluntary_ctxt_switches"] if each == pid else ""
                found[int(task.name)] = fields["State"][0] + waits
    return found
