"""Programs for the tests of names: compiled once a run, in several shapes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.programs.build import Unavailable, tool
from unspool.formats.elf import Elf
from unspool.model import Module

if TYPE_CHECKING:
    from tests.unit.symbols.pe_programs import Programs

def _is_debuginfods(name: str) -> bool:
    return name.startswith("DEBUGINFOD_")


SOURCES = Path(__file__).parent / "programs"
Compile = Callable[..., Path]
Run = Callable[..., None]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the cache of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("UNSPOOL_CACHE_LIMIT", "_NT_SYMBOL_PATH", *filter(_is_debuginfods, os.environ)):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "unspool" / "symcache"


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a build tool; skips the test where it is missing or cannot do it."""

    def start(*command: str | Path) -> None:
        tool(str(command[0]))
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"{command[0]} cannot: {done.stderr.strip()[-200:]}")

    return start


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Compile:
    """Compiles `source` with the given command; the same twice is compiled once."""
    made: dict[tuple[str, ...], Path] = {}

    def compile_(source: str, *command: str) -> Path:
        key = (source, *command)
        if key not in made:
            out = tmp_path_factory.mktemp("program") / Path(source).stem
            run(*command, SOURCES / source, "-o", out)
            made[key] = out
        return made[key]

    return compile_


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Programs:
    """Windows DLLs."""
    from tests.unit.symbols.pe_programs import Programs

    return Programs(tmp_path_factory.mktemp("windows"), run)


@pytest.fixture
def inlined(compiled: Compile) -> Path:
    return compiled("inlined.c", "gcc", "-g", "-O2")


@pytest.fixture
def classes(compiled: Compile) -> Path:
    return compiled("classes.cpp", "g++", "-std=c++20", "-g", "-O1")


def module_of(elf: Elf, path: Path | None, base: int = 0, **keywords: str | None) -> Module:
    """A module as a target would make it of a file mapped at `base`."""
    name = path.name if path else "anonymous"
    keywords.setdefault("code_id", elf.build_id())
    return Module(
        0, name, base, base + 0x1000_0000, path=str(path) if path else None,
        file=str(path) if path else None, bias=elf.load_bias(base), **keywords,  # type: ignore[arg-type]
    )  # fmt: skip
