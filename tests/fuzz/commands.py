"""Runs the command line on a hostile file under limits, and says what must hold of the outcome."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.fuzz.harness import directory

SECONDS = 10
MEGABYTES = 600
# A table of everything in a small file is larger than the file, but not without bound.
MOST_OUTPUT = 64 << 20
# Each field of a structure is a line of JSON with its name, type and place.
MOST_JSON = 256 << 20
ENDS = (0, 1, 2)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`unspool ARGUMENTS`, ended by the system if it takes too much time or memory."""
    limits = f'ulimit -t {SECONDS}; ulimit -v {MEGABYTES << 10}; exec "$@"'
    command = ["sh", "-c", limits, "sh", sys.executable, "-m", "unspool", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=SECONDS * 6 + 30,
        check=False,
        env=environment,
    )


def check(result: subprocess.CompletedProcess[str], most: int = MOST_OUTPUT) -> None:
    """What holds of every run, whatever the file."""
    assert result.returncode in ENDS, f"exit {result.returncode}\n{result.stderr[-2000:]}"
    for word in ("Traceback", "internal error", "out of memory", "MemoryError"):
        assert word not in result.stderr, result.stderr[-2000:]
    assert len(result.stdout) < most
    if result.returncode == 2:
        assert result.stderr.startswith("unspool: ")
        assert len(result.stderr.splitlines()) <= 2, "an error is a line, and a hint"
        assert not result.stdout


def report_of(path: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and report of `unspool stack`; an empty one where it says that nothing can be read.

    The text is made as well, and has nothing that a terminal obeys.
    """
    text = run("stack", "--verbose", path)
    check(text)
    assert "\x1b" not in text.stdout + text.stderr
    result = run("stack", "--format", "json", path)
    check(result)
    assert result.returncode == text.returncode
    return result.returncode, json.loads(result.stdout) if result.returncode != 2 else {}


def inspected(path: Path) -> dict[str, Any]:
    """The anatomy of `unspool inspect`, which has no file it can say nothing of but the foreign."""
    text = run("inspect", path)
    check(text)
    assert "\x1b" not in text.stdout + text.stderr
    result = run("inspect", "--format", "json", path)
    check(result, MOST_JSON)
    return json.loads(result.stdout) if result.returncode != 2 else {}


def run_here(*arguments: str | Path) -> tuple[int, str, str]:
    """`unspool ARGUMENTS` in this process: exit code, standard output and errors.

    A bug raises, rather than becoming a line.
    """
    from unspool.cli import main

    out, errors = io.StringIO(), io.StringIO()
    os.environ["UNSPOOL_TRACEBACK"] = "1"
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main([*map(str, arguments)])
    finally:
        del os.environ["UNSPOOL_TRACEBACK"]
    if code == 130:
        raise KeyboardInterrupt
    assert code in ENDS
    return code, out.getvalue(), errors.getvalue()


def look_into(data: bytes) -> None:
    """`unspool inspect` in all its forms, on a file with these bytes."""
    with tempfile.NamedTemporaryFile(prefix="a.", suffix=".dmp", dir=directory()) as file:
        file.write(data)
        file.flush()
        look_into_file(Path(file.name))


def look_into_file(path: Path) -> None:
    codes = set()
    for form in ([], ["--hex"], ["--format", "json"], ["--format", "html"]):
        code, out, errors = run_here("inspect", *form, path)
        codes.add(code)
        assert "\x1b" not in out + errors
        if code == 2:
            assert not out
            assert errors.startswith("unspool: ")
        elif "json" in form:
            json.loads(out)
    assert len(codes) == 1, "one form is read, and another is not"
