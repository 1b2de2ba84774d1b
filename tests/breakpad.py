"""Runs Breakpad's programs, for tests that compare with them."""

from __future__ import annotations

from pathlib import Path

from tests.peers.breakpad import OFFLINE
from tests.peers.install import breakpad
from tests.programs.build import run as run_program


def run(program: str, *arguments: str | Path) -> tuple[str, str]:
    """Standard output and errors of `minidump_dump` or `minidump_stackwalk`, or a skipped test."""
    found = breakpad(program)
    done = run_program([found, *arguments], env=OFFLINE, errors="replace")
    return done.stdout, done.stderr
