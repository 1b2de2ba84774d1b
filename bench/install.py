"""Installs the checkout as a user would: into fresh virtual environments, compiled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.measure import plain_environment

ROOT = Path(__file__).parents[1]


class NotInstalled(Exception):
    """pip could not install the package."""


class Installation:
    """unspool in a virtual environment of its own, with its `extras`."""

    def __init__(self, folder: Path, extras: str) -> None:
        self.python = folder / "bin" / "python"
        self.unspool = folder / "bin" / "unspool"
        cache = folder / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        self.environment = plain_environment(XDG_CACHE_HOME=str(cache))
        if not self.python.exists():
            self._run(sys.executable, "-m", "venv", str(folder))
        requirement = f"{ROOT}[{extras}]" if extras else str(ROOT)
        options = ["--quiet", "--disable-pip-version-check", "--force-reinstall"]
        options += [] if extras else ["--no-deps"]
        self._run(str(self.python), "-m", "pip", "install", *options, requirement)

    def report(self, source: Path, *options: str) -> bytes:
        """What `unspool stack` says of a core or a minidump, as JSON."""
        command = [str(self.unspool), "stack", *options, "--format", "json", str(source)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, check=False
        ).stdout

    def threads(self, source: Path) -> list[dict[str, Any]]:
        """The threads that `unspool stack` finds."""
        found: list[dict[str, Any]] = json.loads(self.report(source))["threads"]
        return found

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, env=plain_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NotInstalled(f"{' '.join(command[:4])}: {done.stderr.strip()[-400:]}")
