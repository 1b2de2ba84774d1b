"""Small Windows programs of this folder: built with MinGW, run under Wine."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.outside.debian import AMD64
from tests.programs.build import check, locked, run, tool
from tests.wine.flavours import FLAVOURS, Flavour
from tests.wine.install import windows
from tests.wine.prefixes import new_prefix

HERE = Path(__file__).parent
WINE = FLAVOURS["8.0-x86_64"]
# Each is one file of C; this one has functions in assembly language besides.
MORE = {"pe_steps": ["pe_forms.S"]}


def build(name: str, flags: str, root: Path) -> Path:
    """The program, built once a session. Skips the test where that cannot be done."""
    path = root / f"{name}{flags.replace(' ', '')}.exe"
    sources = [HERE / f"{name}.c", *(HERE / each for each in MORE.get(name, ()))]
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            compiler = tool("x86_64-w64-mingw32-gcc")
            made = path.with_suffix(".new")
            check(run([compiler, "-Wall", "-Wextra", *flags.split(), "-o", made, *sources]))
            made.rename(path)
    return path


def library(name: str, wine: Flavour = WINE) -> Path:
    """A DLL of Wine's. Raises Unavailable where there is no Wine."""
    return windows(wine.release.kept.need(), AMD64) / f"{name}.dll"


@contextlib.contextmanager
def started(
    program: Path, *arguments: str, wine: Flavour = WINE
) -> Iterator[subprocess.Popen[str]]:
    """The program under Wine, with a prefix of its own.

    Under Wine 8.0 the process that is started becomes the program. Raises Unavailable where
    there is no such Wine.
    """
    with (
        new_prefix(wine, program.parent) as prefix,
        prefix.start(program, *arguments) as process,
    ):
        yield process
