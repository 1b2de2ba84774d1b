"""How long a live process stands still while a tool looks at its stacks.

The process tells by its own clock: see tests/programs/spin_gap.c. Two of its threads note when
they made no progress, the first thread and the last one, between which tools stop the others.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.cores import Unavailable


@dataclass
class Stops:
    """Stops of one tool's runs, in seconds.

    `wholes` from the first moment that one of the two threads was stopped to the last;
    `longests` is the longest time that either stood still without a break.
    """

    wholes: list[float] = field(default_factory=list)
    longests: list[float] = field(default_factory=list)

    @property
    def whole(self) -> float:
        return median(self.wholes)

    def words(self) -> str:
        return (
            f"from the first thread's stop to the last one's resumption {self.whole * 1000:.2f} ms "
            f"(fastest {min(self.wholes) * 1000:.2f}), longest stop of one thread "
            f"{median(self.longests) * 1000:.2f} ms, {len(self.wholes)} runs"
        )


class Spinner:
    """The running program, which is asked for what it has noted."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Waits until it is ready and says its process id."""
        assert process.stdout
        self.process = process
        words = process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise Unavailable(f"a process to be stopped does not start: {words}")
        self.pid = int(words[1])

    def stops(self) -> tuple[float, float]:
        """(whole, longest) in seconds since the last call; 0 if there was no stop."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        main, last = ([int(word) for word in words[at : at + 3]] for at in (1, 5))
        starts = [numbers[1] for numbers in (main, last) if numbers[1]]
        whole = max(main[2], last[2]) - min(starts) if starts else 0
        return whole / 1e9, max(main[0], last[0]) / 1e9


@contextmanager
def spinning(program: Path, threads: int, depth: int) -> Iterator[Spinner]:
    process = subprocess.Popen(
        [str(program), str(threads), str(depth)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Spinner(process)
    finally:
        process.kill()
        process.wait()


def measure_stops(
    spinner: Spinner,
    tools: Mapping[str, Sequence[str]],
    environment: Mapping[str, str],
    runs: int,
) -> dict[str, Stops]:
    """Lets the tools look at one process in turns."""
    stops = {name: Stops() for name in tools}
    for turn in range(runs + 1):
        for name, command in tools.items():
            spinner.stops()
            done = subprocess.run(
                [word.replace("{pid}", str(spinner.pid)) for word in command],
                env=dict(environment), capture_output=True, text=True, check=False,
            )  # fmt: skip
            whole, longest = spinner.stops()
            if done.returncode not in (0, 1) or not whole:
                raise Unavailable(f"{name} did not stop the process: {done.stderr[-300:]}")
            if turn:  # the first turn warms up
                stops[name].wholes.append(whole)
                stops[name].longests.append(longest)
    return stops
