"""Node.js: whole stacks through JavaScript, and what Node.js says of them at the same moment."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import unspool
from tests.minidumps import Place, check
from tests.programs.build import HERE
from tests.programs.cores import written_by_gcore
from tests.programs.running import eventually, running
from unspool.model import Frame, Report, Stack

NODE = shutil.which("node")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(NODE is None, reason="Node.js is not installed"),
]

MAP = ("--perf-basic-prof", "--interpreted-frames-native-stack")
DUMP = ("--perf-prof", "--perf-prof-unwinding-info", "--interpreted-frames-native-stack")
# "JS:~name file:line:column"; before V8 10.5 "LazyCompile:~name file:line".
NAME = re.compile(r"(?:JS|LazyCompile|Function|Script|Eval):[~^*+']?(.*?) ?(\S*?)(?::\d+)+$")


@contextlib.contextmanager
def waiting(*switches: str, folder: Path) -> Iterator[tuple[int, list[list[str]]]]:
    """The id of a process that waits, and its stack by its own account."""
    said: list[str] = []
    command = [str(NODE), *switches, str(HERE / "node_waits.js")]
    with running(command, before_ready=said, cwd=folder) as process:
        try:
            yield process.pid, json.loads(said[-1])
        finally:
            forget(process)


def forget(process: subprocess.Popen[str]) -> None:
    """Removes what a process has left in /tmp."""
    for path in (f"/tmp/perf-{process.pid}.map", f"/tmp/jit-{process.pid}.dump"):
        Path(path).unlink(missing_ok=True)


def main_stack(report: Report) -> Stack:
    stack = report.stacks[0]
    assert stack.stop.reason == "root", stack.stop.detail
    assert [frame.trust for frame in stack.frames if frame.trust == "scan"] == []
    return stack


def names(report: Report, stack: Stack) -> list[str | None]:
    found = [report.locations.get(frame.lookup_pc) for frame in stack.frames]
    return [place.function if place else None for place in found]


def javascript(report: Report, stack: Stack) -> list[list[str]]:
    """Names and files of the frames that a map or a dump names as JavaScript."""
    matches = (NAME.fullmatch(name or "") for name in names(report, stack))
    return [[match[1], match[2]] for match in matches if match]


def below_read(told: list[list[str]], ours: list[list[str]]) -> list[list[str]]:
    """Our frames without those of the read, which came after the process told its own."""
    reading = next(n for n, frame in enumerate(ours) if frame[0] == "leaf")
    assert 0 < reading < 4
    return ours[reading:]


def plain(frames: list[list[str]]) -> list[list[str]]:
    """Names without the class that Node.js tells with a method's."""
    return [[name.rpartition(".")[2], file] for name, file in frames]


def test_a_map_names_what_node_names(tmp_path: Path) -> None:
    with waiting(*MAP, folder=tmp_path) as (pid, told):
        report = unspool.unwind(unspool.open(pid))
        stack = main_stack(report)
        assert not stack.gaps
        ours = below_read(told, javascript(report, stack))
        assert plain(ours) == plain(told)
        assert len(told) > 12


def test_a_dump_names_what_it_has_been_told(tmp_path: Path) -> None:
    """The last functions may still be in the process's buffer: these have no name."""
    with waiting(*DUMP, folder=tmp_path) as (pid, told):
        report = unspool.unwind(unspool.open(pid))
        stack = main_stack(report)
        dumps = {module.index for module in report.modules if module.name == f"jit-{pid}.dump"}
        assert dumps
        wanted = plain(told)
        for frame in plain(javascript(report, stack)):
            if frame[0] not in ("readSync", "tryReadSync"):
                assert frame in wanted
        assert len(javascript(report, stack)) > len(told) // 2


def test_the_same_frames_are_found_without_any_switch(tmp_path: Path) -> None:
    counts = {}
    for switches in ((), MAP, DUMP):
        with waiting(*switches, folder=tmp_path) as (pid, _):
            report = unspool.unwind(unspool.open(pid))
            stack = main_stack(report)
            assert not stack.gaps
            assert report.complete
            counts[switches] = len(stack.frames)
    assert len(set(counts.values())) == 1, counts


def test_a_core_and_a_dump_of_it(tmp_path: Path) -> None:
    with waiting(*MAP, folder=tmp_path) as (pid, _):
        live = unspool.unwind(unspool.open(pid))
        core = written_by_gcore(pid, tmp_path)
        cored = unspool.unwind(unspool.open(str(core)))
        assert names(cored, main_stack(cored)) == names(live, main_stack(live))
        # Elsewhere: the map is with the symbols, or in a copy of the machine's files.
        (tmp_path / "root" / "tmp").mkdir(parents=True)
        shutil.copy(f"/tmp/perf-{pid}.map", tmp_path / "root" / "tmp")
    assert not Path(f"/tmp/perf-{pid}.map").exists()
    alone = unspool.unwind(unspool.open(str(core)))
    assert javascript(alone, main_stack(alone)) == []
    copied = unspool.unwind(unspool.open(str(core), symbols=[str(tmp_path / "root")]))
    assert javascript(copied, main_stack(copied)) == javascript(live, main_stack(live))
    place = Place(core)
    dumped, _ = place.dump(tmp_path / "a.dmp")
    check(place.report(), dumped.report())
    named = unspool.unwind(unspool.open(str(dumped.source), symbols=[str(tmp_path / "root")]))
    assert javascript(named, main_stack(named)) == javascript(live, main_stack(live))


CHAINS = ["inner middle outer top", "middle outer top", "outer top"]


@pytest.mark.parametrize(
    "tier", [("--no-opt", "--no-sparkplug"), ("--no-opt", "--always-sparkplug")], ids=str
)
def test_a_busy_program_wherever_it_is_stopped(tier: tuple[str, ...], tmp_path: Path) -> None:
    """In handlers of bytecodes and builtins without a frame: callers are never left out silently.

    Frames that have no name yet may be any function's.
    """
    whole = 0
    command = [str(NODE), *MAP, *tier, str(HERE / "node_runs.js")]
    with running(command, cwd=tmp_path, runs_on=True) as process, contextlib.ExitStack() as after:
        after.callback(forget, process)
        # It may still be about to say that it is ready.
        assert eventually(lambda: "outer" in stopped(process.pid)[1])
        for _ in range(25):
            stack, found = stopped(process.pid)
            assert stack.stop.reason == "root", (stack.stop.detail, found)
            if stack.gaps or None in found:
                continue
            chain = " ".join(name for name in found if name).partition(" top")[0] + " top"
            assert chain in CHAINS, [hex(frame.pc) for frame in stack.frames]
            whole += 1
            time.sleep(0.003)
    assert whole > 10


def stopped(pid: int) -> tuple[Stack, list[str | None]]:
    """The main thread's stack, and the names of its frames, see `made_by_v8`."""
    with unspool.open(pid) as target:
        stack = unspool.unwind(target, symbols=False).stacks[0]
        return stack, [made_by_v8(target, frame) for frame in stack.frames]


def made_by_v8(target: unspool.Target, frame: Frame) -> str | None:
    """A JavaScript function's name; empty for other code, None if it has no name."""
    module = target.space.module_at(frame.lookup_pc)
    if module is None or module.kind != "jit":
        return ""
    found = target.code_names(module)
    place = found.locate(frame.lookup_pc) if found is not None else None
    match = NAME.fullmatch(place.function or "") if place is not None else None
    return match[1] if match else None


@pytest.mark.parametrize("switches", [(), MAP], ids=["plain", "map"])
def test_wasm_in_a_worker(switches: tuple[str, ...], tmp_path: Path) -> None:
    command = [str(NODE), *switches, str(HERE / "node_wasm.js")]
    with running(command, cwd=tmp_path) as process, contextlib.ExitStack() as after:
        after.callback(forget, process)
        report = unspool.unwind(unspool.open(process.pid))
    assert report.complete
    if not switches:
        return
    every = [[name or "" for name in names(report, stack)] for stack in report.stacks]
    [found] = [each for each in every if any("wasm-function" in name for name in each)]
    ours = [name for name in found if re.match("(JS|LazyCompile|Function):", name)]
    first = next(n for n, name in enumerate(ours) if "~wait " in name)
    out, wasm, via = ours[first + 1 : first + 4]
    assert "wasm-to-js" in out
    assert "wasm-function[1]" in wasm
    assert "~viaWasm " in via
