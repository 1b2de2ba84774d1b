"""Runs commands in turns and keeps what each run took."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

RUNS = 10
# A command that takes longer than this is run less often, and the table says so.
SLOW, SLOW_RUNS = 5.0, 3
VERY_SLOW = 30.0
# eu-stack needs time that grows with the square of a stack's depth; nobody waits for that.
CUT_OFF = 60.0


@dataclass
class Sample:
    """One run: seconds of wall time and of CPU, peak memory in megabytes."""

    wall: float
    cpu: float
    peak: float


@dataclass
class Command:
    """Something to run; `runs` are filled in by `alternate`, `output` by the warm-up.

    `prepare` is done before each run, outside of what is measured.
    """

    label: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    good: tuple[int, ...] = (0,)
    prepare: Callable[[], object] | None = None
    runs: list[Sample] = field(default_factory=list)
    cut_off: bool = False
    output: str = ""

    @property
    def wall(self) -> float:
        return median(run.wall for run in self.runs)

    @property
    def best(self) -> float:
        return min(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        return median(run.cpu for run in self.runs)

    @property
    def peak(self) -> float:
        return max(run.peak for run in self.runs)


class Failed(Exception):
    """A command that did not do what it was run for."""


class Runner:
    """Runs commands by way of `measure` (programs/measure.c), with their output to a file."""

    def __init__(self, measure: Path, folder: Path, runs: int = RUNS) -> None:
        self.measure = measure
        self.output = folder / "output"
        self.runs = runs

    def alternate(self, *commands: Command) -> None:
        """Runs all commands in turns: A B A B …, after one run of each that does not count.

        The machine's mood (other work, its clock rate) then hits all of them alike.
        """
        wanted = {command.label: self.warm_up(command) for command in commands}
        for turn in range(self.runs):
            for command in commands:
                if turn < wanted[command.label]:
                    command.runs.append(self.run(command))

    def warm_up(self, command: Command) -> int:
        """Fills the caches; how many runs to make after that."""
        sample = self.run(command)
        # Only frames' lines are counted later, and only in small files.
        if self.output.stat().st_size < 64 << 20:
            command.output = self.output.read_text(errors="replace")
        if sample.wall > VERY_SLOW:
            command.runs.append(sample)
            return 0
        return self.runs if sample.wall < SLOW else min(SLOW_RUNS, self.runs)

    def run(self, command: Command) -> Sample:
        if command.prepare:
            command.prepare()
        process = subprocess.Popen(
            [str(self.measure), str(self.output), *command.arguments],
            env=dict(command.environment),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            line = process.communicate(timeout=CUT_OFF)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            command.cut_off = True
            return Sample(CUT_OFF, CUT_OFF, 0.0)
        status, wall, cpu, peak = (int(word) for word in line.split())
        code = os.waitstatus_to_exitcode(status)
        if code not in command.good:
            tail = self.output.read_text(errors="replace")[-500:]
            raise Failed(f"{' '.join(command.arguments)}: exit code {code}: {tail}")
        return Sample(wall / 1e9, cpu / 1e6, peak / 1024)


def plain_environment(**more: str) -> dict[str, str]:
    """The environment without what changes how Python, or a search for symbols, works."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "DEBUGINFOD", "LC_", "LANG", "XDG_", "COLUMNS"))
    }
    return {**kept, "LC_ALL": "C.UTF-8", "DEBUGINFOD_URLS": "", **more}
