"""LLVM's code in a Python process: whole stacks with its functions' names, and gdb's opinion."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import unspool
from tests.minidumps import Place, check
from tests.programs.build import HERE, Unavailable
from tests.programs.cores import MAKERS, Core, written_by_gcore
from tests.programs.running import running
from tests.programs.table import Program

from .peers import Threads, ask_gdb, ask_gdb_about

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        importlib.util.find_spec("llvmlite") is None, reason="llvmlite is not installed"
    ),
]

HOST = HERE / "llvm_host.py"
CHAIN = ["inner", "middle", "outer"]
TOLD = ("mcjit", "orc")
EVERY = (*TOLD, "jitlink")


@contextlib.contextmanager
def waiting(compiler: str, levels: int = 1) -> Iterator[tuple[int, dict[str, int]]]:
    """The id of a host that waits, and the addresses of its functions."""
    said: list[str] = []
    with running([sys.executable, HOST, compiler, str(levels)], said=said) as process:
        pairs = (word.partition("=") for word in said[0].split()[1:])
        yield process.pid, {name: int(address, 16) for name, _, address in pairs}


def crashed(compiler: str, folder: Path, levels: int = 1) -> Core:
    """The kernel's core of a host that crashed in its innermost function."""
    program = Program("llvm", HOST.name)
    core = Core(program, "kernel", folder / "core", Path(sys.executable).resolve())
    MAKERS["kernel"](core, [sys.executable, str(HOST), compiler, str(levels), "crash"])
    return core


def report(source: int | Path) -> dict[str, Any]:
    return Place(source).report()


def first(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The frames of the main thread, which has reached its root."""
    thread = min(report["threads"], key=lambda each: each["tid"])
    assert thread["stop"]["reason"] == "root", thread["stop"]
    assert not any(frame["trust"] == "scan" for frame in thread["frames"])
    return list(thread["frames"])


def generated(report: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = [module["kind"] for module in report["modules"]]
    return [f for f in first(report) if f.get("module") is not None and kinds[f["module"]] == "jit"]


def agree(ours: dict[str, Any], theirs: Threads) -> None:
    """All frames are at gdb's addresses, and functions of generated code have gdb's names."""
    named = {int(f["pc"], 16): f["function"] for f in generated(ours)}
    assert named
    for thread in ours["threads"]:
        frames = theirs[thread["tid"]]
        assert [int(f["pc"], 16) for f in thread["frames"]] == [pc for pc, _ in frames]
        for pc, name in frames:
            assert named.get(pc, name) == name


@pytest.mark.parametrize("compiler", TOLD)
def test_a_process_as_gdb_sees_it(compiler: str) -> None:
    with waiting(compiler, levels=7) as (pid, _):
        ours = report(pid)
        assert [f["function"] for f in generated(ours)] == CHAIN * 7
        agree(ours, ask_gdb_about(pid))


@pytest.mark.parametrize("levels", [1, 7])
def test_code_that_no_debugger_is_told_of(levels: int) -> None:
    """Where gdb's stack ends with the first of these frames."""
    with waiting("jitlink", levels) as (pid, addresses):
        starts = sorted(addresses.values())
        names = {address: name for name, address in addresses.items()}
        found = [
            names[max(start for start in starts if start < int(frame["pc"], 16))]
            for frame in generated(report(pid))
        ]
        assert found == CHAIN * levels


@pytest.mark.parametrize("compiler", EVERY)
def test_a_crash_in_generated_code(compiler: str, tmp_path: Path) -> None:
    core = crashed(compiler, tmp_path, levels=2)
    ours = report(core.path)
    assert ours["crash"]["address"] == "0x8"
    if compiler in TOLD:
        assert [f["function"] for f in generated(ours)] == CHAIN * 2
        assert first(ours)[0]["function"] == "inner"
        if compiler == "mcjit":  # gdb takes seconds for LLVM's symbols
            with contextlib.suppress(Unavailable):
                agree(ours, ask_gdb(core))
    else:
        assert len(generated(ours)) == 6
    dumped, _ = Place(core.path).dump(tmp_path / "a.dmp")
    check(ours, dumped.report())


@pytest.mark.parametrize("compiler", ["orc", "jitlink"])
def test_a_core_of_a_process_that_waits(compiler: str, tmp_path: Path) -> None:
    with waiting(compiler) as (pid, _):
        live = report(pid)
        core = written_by_gcore(pid, tmp_path)
    cored = report(core)
    assert [(f["pc"], f.get("function")) for f in first(live)] == [
        (f["pc"], f.get("function")) for f in first(cored)
    ]


def test_explained() -> None:
    """Every frame of generated code has been walked by unwind data, none by a guess."""
    with waiting("jitlink") as (pid, _), unspool.open(pid) as target:
        found = unspool.unwind(target, explain=True)
        kinds = {module.index for module in found.modules if module.kind == "jit"}
        trusts = [
            each.trail[-1].strategy
            for stack in found.stacks
            for each in stack.frames
            if each.trail and found.locations[each.lookup_pc].module in kinds
        ]
    assert trusts == ["dwarf_cfi"] * 3


@pytest.mark.parametrize("sanitize", [False, True])
@pytest.mark.parametrize("compiler", ["orc", "jitlink"])
def test_a_dump_of_a_process(compiler: str, sanitize: bool, tmp_path: Path) -> None:
    """What tells of the code is in memory that a running process writes to."""
    with waiting(compiler, levels=2) as (pid, _):
        dumped, _ = Place(pid).dump(tmp_path / "a.dmp", sanitize=sanitize)
        check(report(pid), dumped.report())
    assert len(generated(dumped.report())) == 6


WRITABLE_CODE = ["jit-registered", "jit-registered-no-cfi", "jit-hidden", "jit-hidden-far"]


@pytest.mark.parametrize("core", [f"{name}/kernel" for name in WRITABLE_CODE], indirect=True)
def test_a_sanitized_dump_holds_what_describes_code(core: Core, tmp_path: Path) -> None:
    """Code in memory that can be written to is no data of the process."""
    dumped, _ = Place(core.path).dump(tmp_path / "a.dmp", sanitize=True)
    check(Place(core.path).report(), dumped.report())
