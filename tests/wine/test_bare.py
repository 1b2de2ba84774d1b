"""Whole stacks of 32-bit Windows code that has no unwind data, or only that of a PDB file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.unspool_command import Answer, run_unspool

from . import chains
from .conftest import CoreMaker
from .expected import callbacks, expected, mismatch, scenarios
from .flavours import FLAVOURS
from .test_stacks import ask, stack_of, windows_functions
from .zoo import VARIANTS

pytestmark = pytest.mark.oracle

I686 = [name for name, flavour in FLAVOURS.items() if flavour.machine == "i686"]
DEPTHS = (1, 37)


@pytest.mark.parametrize("variant", ["bare", "bare-fp"])
@pytest.mark.parametrize("name", I686)
def test_the_zoo_without_unwind_data(
    name: str, variant: str, zoo_core: CoreMaker, wine_root: Path
) -> None:
    wanted = scenarios(FLAVOURS[name], VARIANTS[variant], DEPTHS)
    core = zoo_core(name, variant, wanted, "kernel")
    answer = ask(core, wine_root / "cache")
    problems: dict[str, Any] = {}
    for thread in core.threads:
        names = windows_functions(core, answer, stack_of(answer, thread))
        problem = mismatch(expected(core.flavour, thread), names)
        count = sum(each.lstrip("_") == "recurse" for each in names)
        if problem or count != thread.depth * max(callbacks(thread), 1):
            problems[f"{thread.scenario}:{thread.depth}"] = problem, count
    assert not problems
    assert {stack["stop"]["reason"] for stack in answer.threads} == {"root"}
    assert not [stack["gaps"] for stack in answer.threads if stack.get("gaps")]


# --- every calling convention --------------------------------------------------------------

CLANG = ["-O2 -fomit-frame-pointer", "-Os -fomit-frame-pointer", "-O2", "-O0"]
GCC = ["-O2 -fomit-frame-pointer", "-Os -fomit-frame-pointer", "-O2",
       "-O1 -fomit-frame-pointer -mno-accumulate-outgoing-args"]  # fmt: skip


def core_of(request: pytest.FixtureRequest, root: Path, flavour: str, compiler: str) -> Path:
    """A core of the program, made once a session for each compiler and its options."""
    flags = request.param.split()
    folder = root / "-".join(["chains", flavour, compiler, *(flag.strip("-") for flag in flags)])
    core = folder / "chains.core"
    if not core.exists():
        folder.mkdir(exist_ok=True)
        build = chains.by_clang if compiler == "clang" else chains.by_gcc
        chains.make_core(FLAVOURS[flavour], build(folder, *flags), root)
    return core


@pytest.fixture(scope="session", params=CLANG)
def msvc(request: pytest.FixtureRequest, wine_root: Path) -> Path:
    return core_of(request, wine_root, "8.0-i386", "clang")


@pytest.fixture(scope="session", params=GCC)
def mingw(request: pytest.FixtureRequest, wine_root: Path) -> Path:
    return core_of(request, wine_root, "8.0-i386", "gcc")


def unspool(core: Path, *options: str | Path) -> Answer:
    done = run_unspool(core, "--format", "json", *options, cache=core.parent / "cache")
    assert done.stdout, done.stderr
    return Answer(done.returncode, json.loads(done.stdout), done.stderr)


def program_frames(answer: Answer) -> list[dict[str, Any]]:
    modules = answer.report["modules"]
    frames = answer.threads[0]["frames"]
    return [f for f in frames if "module" in f and modules[f["module"]]["name"] == "chains.exe"]


def test_frame_data_of_a_pdb_file(msvc: Path) -> None:
    pytest.importorskip("symbolic")
    answer = unspool(msvc)
    frames = program_frames(answer)
    assert [frame["function"] for frame in frames] == list(chains.FUNCTIONS)
    assert answer.threads[0]["stop"]["reason"] == "root"
    trusts = Counter(frame["trust"] for frame in frames)
    # The innermost of them is found by Wine's own unwind data.
    assert trusts == {"cfi": 1, "unwind_info": len(frames) - 1}


def test_the_same_without_the_pdb_file(msvc: Path) -> None:
    pytest.importorskip("symbolic")
    known = [(frame["pc"], frame["sp"]) for frame in program_frames(unspool(msvc))]
    pdb, away = msvc.with_suffix(".pdb"), msvc.with_suffix(".away")
    pdb.rename(away)
    try:
        answer = unspool(msvc)
    finally:
        away.rename(pdb)
    frames = program_frames(answer)
    assert [(frame["pc"], frame["sp"]) for frame in frames] == known
    assert answer.threads[0]["stop"]["reason"] == "root"
    assert not answer.threads[0].get("gaps")


def test_code_of_gcc_without_unwind_data(mingw: Path) -> None:
    answer = unspool(mingw)
    names = [frame.get("function", "").lstrip("_@").partition("@")[0]
             for frame in program_frames(answer)]  # fmt: skip
    assert [name.partition(".")[0] for name in names] == list(chains.FUNCTIONS)
    assert answer.threads[0]["stop"]["reason"] == "root"
    assert not answer.threads[0].get("gaps")
