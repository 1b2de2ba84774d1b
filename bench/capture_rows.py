"""Rows of the table for `unspool capture`: a process crashes, and the kernel runs the handler."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.cores import CORE_PATTERN, PATIENCE, PROGRAMS, Unavailable, compile_program
from bench.cores import usable_core_pattern as locked_core_pattern
from bench.measure import Command, Failed, Sample
from bench.rows import DEPTH, THREADS, Bench, Result, Row, needed

MEGABYTES = 2048
MOST_TIME, MOST_OF_ZSTD, MOST_MEMORY, MOST_SIZE = 150, 0.1, 45, 30

PIPE_LIMIT = CORE_PATTERN.with_name("core_pipe_limit")
# The kernel adds these; the command itself says what else it wants.
SPECIFIERS = "%P %I %s %u %g %d %t %h %e"


@contextmanager
def handling(command: str) -> Iterator[None]:
    """Makes a command the kernel's core handler."""
    with locked_core_pattern():
        before = CORE_PATTERN.read_text(), PIPE_LIMIT.read_text()
        try:
            PIPE_LIMIT.write_text("4")
            CORE_PATTERN.write_text(f"|{command}")
        except OSError:
            raise Unavailable("only root may set core_pattern") from None
        try:
            yield
        finally:
            CORE_PATTERN.write_text(before[0])
            PIPE_LIMIT.write_text(before[1])


class Crashes:
    """Lets a program crash under a handler, and keeps what that took."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        # core_pattern has room for 127 bytes.
        self.folder = folder
        self.output = folder / "o"
        self.handler = compile_program("h", folder, PROGRAMS / "handler.c")
        self.program = bench.workshop.parked
        self.spool = folder / "spool"
        self.read: list[int] = []

    def script(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nexec {text}\n")
        path.chmod(0o755)
        return str(path)

    def crash(self, handler: str) -> Sample:
        self.output.unlink(missing_ok=True)
        shutil.rmtree(self.spool, ignore_errors=True)
        words = [str(self.program), str(THREADS), str(DEPTH), str(MEGABYTES), "0"]
        with handling(f"{self.handler} {self.output} {handler} {SPECIFIERS}"):
            subprocess.run(words, capture_output=True, check=False, timeout=PATIENCE)
        status, wall, cpu, peak, read = map(int, self.output.read_text().split())
        if os.waitstatus_to_exitcode(status) != 0:
            raise Failed(f"{handler} ended with {os.waitstatus_to_exitcode(status)}")
        self.read.append(read)
        return Sample(wall / 1e9, cpu / 1e6, peak / 1024)


def many_threads(bench: Bench) -> Row:
    title = f"a report of {THREADS} threads of a process of 2 GB, in the kernel's handler"
    row = Row(title[0].upper() + title[1:])
    with tempfile.TemporaryDirectory(prefix="u", dir="/tmp") as name:
        crashes = Crashes(bench, Path(name))
        if shutil.disk_usage(name).free < (MEGABYTES + 500) << 20:
            raise Unavailable(f"not enough room in {name}")
        ours, zstd = _commands(bench, crashes)
        for command in (ours, zstd):
            crashes.crash(command.arguments[0])
        for _ in range(min(bench.runner.runs, 5)):
            for command in (ours, zstd):
                command.runs.append(crashes.crash(command.arguments[0]))
                if command is ours:
                    (report,) = crashes.spool.glob("*.json.gz")
                    size, read = report.stat().st_size, crashes.read[-1]
    row.commands = [ours, zstd]
    took = 1000 * ours.wall
    words = f"{took:.0f} ms (CPU time {1000 * ours.cpu:.0f} ms)"
    row.results.append(Result(title, words, f"≤ {MOST_TIME} ms", took <= MOST_TIME))
    row.ratio("the same, beside storing the core", ours, zstd, MOST_OF_ZSTD)
    # Of two processes the larger one is known, and that they share most of it.
    row.results.append(
        Result(
            "peak memory of the same, of the larger of both processes", f"{ours.peak:.0f} MB",
            f"≤ {MOST_MEMORY} MB in both", 2 * ours.peak <= MOST_MEMORY,
        )
    )  # fmt: skip
    row.results.append(
        Result(
            "size of the report", f"{size / 1e3:.0f} kB", f"≤ {MOST_SIZE} kB",
            size <= MOST_SIZE * 1e3,
        )
    )  # fmt: skip
    row.results.append(
        Result("bytes read", f"{read / 1e6:.1f} MB", "the interpreter's own files included")
    )
    row.notes.append("systemd-coredump runs under systemd alone, and is not compared")
    return row


def _commands(bench: Bench, crashes: Crashes) -> tuple[Command, Command]:
    where = bench.base
    options = f"--directory={crashes.spool} --rate-count=0 --log={crashes.folder}/log"
    ours = crashes.script("u", f'{where.unspool} capture handle {options} "$@"')
    zstd = crashes.script("z", f"{needed('zstd')} -q -f -1 -o {crashes.folder}/core.zst")
    return (
        Command("unspool capture", [ours], where.environment),
        Command("zstd -1", [zstd], bench.plain),
    )


ROWS: dict[str, Callable[[Bench], Row]] = {"capture": many_threads}
