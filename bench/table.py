"""The table in README.md: between two markers, and nothing else of that file."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from bench import wine
from bench.install import ROOT
from bench.measure import Command
from bench.rows import Row

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- begin of what `make bench` writes -->"
END = "<!-- end of what `make bench` writes -->"


def lines(rows: Sequence[Row], skipped: Mapping[str, str], load: float) -> Iterator[str]:
    """The tables. `load` is the machine's load average before there was any of ours."""
    other = os.sched_getscheduler(0) != os.SCHED_OTHER
    priority = ", measured with real-time priority" if other else ""
    yield (
        f"Measured on {date.today().isoformat()}: {machine()}. Load before: {load:.1f}{priority}."
    )
    yield ""
    yield from versions()
    yield ""
    yield "### Goals"
    yield ""
    yield "| work | measured | goal | |"
    yield "|---|---|---|---|"
    for row in rows:
        for result in row.results:
            verdict = {True: "pass", False: "**miss**", None: ""}[result.ok]
            yield f"| {result.title} | {result.measured} | {result.goal} | {verdict} |"
    for name, reason in skipped.items():
        yield f"| {name} | not measured: {reason} | | |"
    yield ""
    yield "### Runs"
    for row in rows:
        yield ""
        yield f"**{row.title}**"
        if row.commands:
            yield ""
            yield "| command | median | fastest | CPU | peak memory | runs |"
            yield "|---|--:|--:|--:|--:|--:|"
            yield from map(_run_line, row.commands)
        if row.notes:
            yield ""
            yield from (f"- {note}" for note in row.notes)


def _run_line(command: Command) -> str:
    if command.cut_off:
        return f"| {command.label} | > {command.wall:.0f} s, ended | | | | 1 |"
    return (
        f"| {command.label} | {seconds(command.wall)} | {seconds(command.best)} "
        f"| {seconds(command.cpu)} | {command.peak:.1f} MB | {len(command.runs)} |"
    )


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def machine() -> str:
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} CPUs ({cpu}), {memory:.0f} GB, {platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}"
    )


def versions() -> Iterator[str]:
    yield f"- Python {platform.python_version()}"
    yield f"- unspool {_first_line('git', '-C', str(ROOT), 'log', '-1', '--format=of commit %h')}"
    yield f"- {_first_line('eu-stack', '--version')}"
    yield f"- {_first_line('gdb', '--version')}"
    yield f"- {wine.version()}"
    found = any(Path(path).is_dir() for path in ("/usr/lib/debug/.build-id",))
    yield f"- separate debug files of system libraries: {'installed' if found else 'none'}"


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return f"{command[0]}: not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip() or "unknown"


def write(text: str) -> None:
    """Puts `text` between the markers of README.md."""
    whole = README.read_text()
    before, _, rest = whole.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
