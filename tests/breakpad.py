"""Breakpad's programs, for tests that look at what they print."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.peers import install
from tests.programs.build import Unavailable


def run(program: str, *arguments: str | Path) -> tuple[str, str]:
    """Standard output and errors of `minidump_dump` or `minidump_stackwalk`, or a skipped test."""
    try:
        command = [install.breakpad(program), *map(str, arguments)]
    except Unavailable as reason:
        pytest.skip(str(reason))
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return result.stdout.decode("utf-8", "replace"), result.stderr.decode("utf-8", "replace")
