"""Breakpad's programs, for tests that compare with them.

Debian has no package of them; the npm package `minidump` (0.22.0) ships them for Linux:
`npm pack minidump@0.22.0`, unpack it, and name its folder bin/linux-x64 in UNSPOOL_BREAKPAD.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def run(program: str, *arguments: str | Path) -> tuple[str, str]:
    """Standard output and errors of `minidump_dump` or `minidump_stackwalk`, or a skipped test."""
    folder = os.environ.get("UNSPOOL_BREAKPAD")
    found = shutil.which(program, path=folder) if folder else shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} (set UNSPOOL_BREAKPAD)")
    result = subprocess.run(
        [found, *map(str, arguments)], capture_output=True, timeout=60, check=False
    )
    return result.stdout.decode("utf-8", "replace"), result.stderr.decode("utf-8", "replace")
