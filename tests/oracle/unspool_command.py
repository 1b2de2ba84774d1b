"""Run the unspool command the way a user does, and read its JSON report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.programs.build import locked
from tests.programs.cores import Core

SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Answer:
    code: int
    report: dict[str, Any]
    errors: str

    @property
    def threads(self) -> list[dict[str, Any]]:
        return list(self.report["threads"])

    @property
    def crashed(self) -> dict[str, Any]:
        """The crashed thread; of a live process's core, which has none, the first."""
        return next((t for t in self.threads if t["crashed"]), self.threads[0])

    def file(self, frame: dict[str, Any]) -> str | None:
        """The path of the file whose code the frame runs."""
        index = frame.get("module")
        return None if index is None else self.report["modules"][index].get("path")


def run_unspool(*arguments: str | int | Path, cache: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unspool", *map(str, arguments)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")])),
        "XDG_CACHE_HOME": str(cache),
    }
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=120, check=False
    )


def options(core: Core) -> list[str]:
    places = {"exe": str(core.executable), "dir": str(core.executable.parent)}
    given = [option.format(**places) for option in core.program.options]
    if core.sysroot:
        given += ["--sysroot", core.sysroot, "--executable", str(core.executable)]
    return given


def ask_unspool(core: Core) -> Answer:
    """unspool's answer about a core, asked once a session."""
    kept = core.folder / "unspool.json"
    with locked(core.folder / "unspool.lock"):
        if not kept.exists():
            done = run_unspool(
                "stack",
                core.path,
                "--format",
                "json",
                "--max-frames",
                "0",
                *options(core),
                cache=core.folder.parent / "cache",
            )
            kept.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    code, output, errors = json.loads(kept.read_text())
    assert code in (0, 1), f"exit code {code}: {errors}"
    return Answer(code, json.loads(output), errors)
