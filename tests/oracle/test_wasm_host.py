"""A host of Wasmtime in C, seen from outside: its core, the live process, minidumps of both.

What the runtime said of its frames at the same place is the known answer, and so is the source
(tests/programs/wasm_host.c). The host is built against the library of the package `wasmtime`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.oracle.names import plain
from tests.programs.cores import usable_core_pattern
from tests.programs.running import running
from tests.programs.wasm_hosts import (
    LISTED,
    Told,
    build_host,
    crash,
    expected,
    installed_library,
    told,
)
from tests.wasm_reports import activations, wasm_frames

from .unspool_command import Answer, run_unspool

pytestmark = pytest.mark.oracle

HOSTS_OWN = ("at_the_end", "back", "enter")
FAILING = ("unreachable", "bounds", "division")


@pytest.fixture(scope="session")
def host(programs_root: Path) -> Path:
    return build_host(programs_root / "wasm_host", installed_library())


def ask(target: str | int | Path, tmp_path: Path, *options: str) -> Answer:
    done = run_unspool("stack", target, "--format", "json", *options, cache=tmp_path / "cache")
    assert done.returncode in (0, 1), done.stderr
    return Answer(done.returncode, json.loads(done.stdout), done.stderr)


def crashed(host: Path, arguments: list[str], tmp_path: Path) -> tuple[Answer, dict[int, Told]]:
    with usable_core_pattern():
        said = told(crash([host, *arguments], tmp_path))
    return ask(tmp_path / "core", tmp_path), said


@contextlib.contextmanager
def running_host(host: Path, arguments: list[str]) -> Iterator[tuple[int, dict[int, Told]]]:
    """A host that waits: its process id and what the runtime said in each thread."""
    lines: list[str] = []
    runs_on = "spin=1" in arguments
    with running([host, "end=wait", *arguments], before_ready=lines, runs_on=runs_on) as process:
        yield process.pid, told("\n".join(lines))


def check(answer: Answer, tid: int, own: Told, *, begun: bool = False, end: str = "") -> None:
    """The thread's frames are the runtime's, and all activations are there."""
    stack = next(each for each in answer.threads if each["tid"] == tid)
    assert stack["stop"]["reason"] == "root"
    assert not stack.get("gaps")
    found = wasm_frames(answer.report, stack)
    names = [
        (f"{f.module}.wasm", f.function or f"<wasm function {f.index}>", f.offset)
        for f in own.frames
    ]
    assert found[: len(names)] == names
    assert len(found) == len(names) or len(names) == LISTED
    wanted = expected(own.depth, own.skip, begun=begun)
    first = ["at_the_end", "back"]
    if end in FAILING:
        wanted.insert(0, ["fail", "failing"])
        first.insert(0, "enter")
    groups = activations(answer.report, stack)
    assert [["" if n[:5] == "<wasm" else n for n in group] for group in groups] == wanted
    calls = [plain(f.get("function") or "") for f in stack["frames"]]
    last = [] if begun else ["enter"]
    between = chain.from_iterable(["enter", "back"] for _ in range(own.depth))
    assert [name for name in calls if name in HOSTS_OWN] == [*first, *between, *last]


@pytest.mark.parametrize("depth", [0, 1, 2, 7, 50, 200])
def test_levels_of_wasm_and_host(host: Path, depth: int, tmp_path: Path) -> None:
    answer, said = crashed(host, [f"depth={depth}"], tmp_path)
    (own,) = said.values()
    check(answer, answer.crashed["tid"], own)
    assert len(activations(answer.report, answer.crashed)) == depth + 1


@pytest.mark.parametrize("end", ["segv", *FAILING])
@pytest.mark.parametrize("flags", ["", "bare", "debug"])
def test_ends_in_the_host_and_in_wasm(host: Path, end: str, flags: str, tmp_path: Path) -> None:
    answer, said = crashed(host, ["depth=2", "skip=1", f"end={end}", f"flags={flags}"], tmp_path)
    (own,) = said.values()
    check(answer, answer.crashed["tid"], own, end=end)
    signals = {"unreachable": "SIGILL", "division": "SIGFPE"}
    if end != "division":  # SIGFPE or SIGILL: whether the compiler tests the divisor
        assert answer.report["crash"]["signal"] == signals.get(end, "SIGSEGV")
    first = answer.crashed["frames"][0]
    assert (first["trust"], "wasm_offset" in first) == ("context", end != "segv")


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_tail_calls_that_leave_no_frame(host: Path, skip: int, tmp_path: Path) -> None:
    answer, said = crashed(host, ["depth=3", f"skip={skip}"], tmp_path)
    (own,) = said.values()
    check(answer, answer.crashed["tid"], own)
    assert activations(answer.report, answer.crashed)[skip - 1] == []


@pytest.mark.parametrize("move", ["fiber=1", "move=1"])
def test_fibers_have_stacks_of_their_own(host: Path, move: str, tmp_path: Path) -> None:
    answer, said = crashed(host, ["depth=2", move], tmp_path)
    (own,) = said.values()
    check(answer, answer.crashed["tid"], own, begun=True)
    segments = answer.crashed["segments"]
    others = [each for each in segments if each["kind"] == "other"]
    assert len(others) == 3  # each call runs in a fiber of its own, and the first one's caller
    assert len({(each["low"], each["high"]) for each in others}) == 3
    if move == "move=1":  # another thread goes on with it
        assert answer.crashed["tid"] != own.tid


def test_a_fiber_that_waits_is_on_no_threads_stack(host: Path, tmp_path: Path) -> None:
    answer, _ = crashed(host, ["depth=2", "end=suspend"], tmp_path)
    assert answer.code == 0
    assert not any(activations(answer.report, stack) for stack in answer.threads)
    again = ask(tmp_path / "core", tmp_path, "--analyses", "fibers")
    (found,) = (each for each in again.report["findings"] if each["kind"] == "fiber_waits")
    assert found["title"] == "a fiber waits: in begin (demo.wasm)"
    assert "wasmtime_fiber_start" in found["detail"].splitlines()[-1]


def test_a_live_process_and_its_minidump(host: Path, tmp_path: Path) -> None:
    arguments = ["depth=2", "skip=2", "threads=3", "spin=1"]
    with running_host(host, arguments) as (pid, said):
        live = ask(pid, tmp_path)
        done = run_unspool("dump", pid, "-o", tmp_path / "dump", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    dump = ask(tmp_path / "dump", tmp_path)
    assert len(said) == 4
    for answer in (live, dump):
        assert answer.code == 0
        for tid, own in said.items():
            check(answer, tid, own)
        spinning = [s for s in answer.threads if activations(answer.report, s)]
        (stack,) = (each for each in spinning if each["tid"] not in said)
        assert activations(answer.report, stack) == [["count", "spin"]]


def test_a_cores_minidump(host: Path, tmp_path: Path) -> None:
    answer, said = crashed(host, ["depth=2", "threads=1", "end=bounds"], tmp_path)
    done = run_unspool("dump", tmp_path / "core", "-o", tmp_path / "dump", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    dump = ask(tmp_path / "dump", tmp_path)
    for tid, own in said.items():
        check(dump, tid, own, end="bounds" if tid == answer.crashed["tid"] else "")
