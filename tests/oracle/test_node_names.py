"""JavaScript's names, files and lines beside what Node.js says at the same moment, unprepared.

Besides the Node.js that is installed, those that UNSPOOL_TEST_NODES names (paths with a colon
between them) are asked the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import unspool
from tests.programs.build import HERE, Unavailable, run
from tests.programs.cores import written_by_kernel
from tests.programs.running import running
from unspool.api.dumping import dump
from unspool.model import Report

_MORE = os.environ.get("UNSPOOL_TEST_NODES", "").split(":")
NODES = [path for path in (shutil.which("node"), *_MORE) if path]

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not NODES, reason="Node.js is not installed"),
]

PROGRAM = HERE / "node_names.js"
# Where a line is not known: where the function begins.
BEGINS = re.compile(r" \[(\d+):(\d+)\]$")
# The line of `leaf` that waits; it tells its stack two lines before.
READ = 1 + next(
    n for n, line in enumerate(PROGRAM.read_text().splitlines()) if "fs.readSync" in line
)

# Each function has its own copy of the interpreter's entry.
COPIES = ("--perf-basic-prof", "--interpreted-frames-native-stack")

Place = tuple[str, str, int | None]


@contextlib.contextmanager
def waiting(
    node: str, switches: tuple[str, ...], *words: str, folder: Path
) -> Iterator[tuple[int, list[Place]]]:
    """The id of a process that waits, and its stack by its own account."""
    said: list[str] = []
    command = [node, *switches, str(PROGRAM), *words]
    with running(command, before_ready=said, cwd=folder) as process:
        sites = json.loads(said[-1]) if said else []
        told = [(name, file, line) for name, file, line, native in sites if line and not native]
        yield process.pid, [(name, file, READ if name == "leaf" else n) for name, file, n in told]


def javascript(report: Report) -> list[Place]:
    """The main thread's JavaScript frames from `leaf` on."""
    stack = report.stacks[0]
    assert stack.stop.reason == "root", stack.stop.detail
    assert not stack.gaps
    found: list[Place] = []
    for index in sorted(stack.subjects):
        place = report.location(stack, index)
        assert place is not None
        assert place.function is not None
        found.append((place.function, place.file or "", place.line))
    first = next(n for n, frame in enumerate(found) if bare(frame[0]) == "leaf")
    assert first < 4
    return found[first:]


def bare(name: str) -> str:
    """A name as Node.js has it, which has none for functions without."""
    return BEGINS.sub("", name).replace("<anonymous>", "")


def same_functions(ours: list[Place], told: list[Place]) -> None:
    assert [(bare(name), file) for name, file, _ in ours] == [each[:2] for each in told]


def right_lines(ours: list[Place], told: list[Place]) -> None:
    """No line is wrong, and where there is none the function's beginning is not below it."""
    for (name, _, line), (_, _, wanted) in zip(ours, told, strict=True):
        begins = BEGINS.search(name)
        assert (line is None) == (begins is not None), name
        if begins is None:
            assert line == wanted, name
        else:
            assert wanted is not None
            assert wanted - 5 <= int(begins[1]) <= wanted, name


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("tier", [(), ("--jitless",), ("--always-sparkplug",), COPIES], ids=str)
def test_the_frames_of_bytecode(node: str, tier: tuple[str, ...], tmp_path: Path) -> None:
    """Classes, closures, generators, evaluated code, other alphabets: all with their lines.

    In the interpreter, and in code that was made of bytecode one by one.
    """
    with waiting(node, tier, "tell", folder=tmp_path) as (pid, told):
        ours = javascript(unspool.unwind(unspool.open(pid)))
        Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)
        assert len(told) > 20
        same_functions(ours, told)
        assert [line for _, _, line in ours] == [line for _, _, line in told]


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("kind", ["maglev", "optimise", "deoptimise", "always"])
def test_optimised_frames(node: str, kind: str, tmp_path: Path) -> None:
    """What was put in place in another function has no frame, and nothing is said of it.

    Code that was given up has its frames back.
    """
    more = {"maglev": ("--maglev",), "always": ("--always-turbofan",)}
    switches = ("--allow-natives-syntax", *more.get(kind, ()))
    if run([node, *switches, "-e", ""]).returncode:
        raise Unavailable(f"{node} has no {switches}")
    with waiting(node, switches, "tell", kind, folder=tmp_path) as (pid, told):
        ours = javascript(unspool.unwind(unspool.open(pid)))
    hidden = [each for each in told if each[0] == "inlined"]
    assert len(hidden) == 1
    lines = {bare(name): line for name, _, line in ours}
    if kind == "deoptimise" and "inlined" in lines:  # V8 14 does not give it up
        assert None not in (lines["inlined"], lines["hot"])
    if "inlined" not in lines:
        told.remove(hidden[0])
    else:
        assert kind != "optimise"
    same_functions(ours, told)
    right_lines(ours, told)


@pytest.mark.parametrize("node", NODES)
def test_cores_and_dumps_have_the_names(node: str, tmp_path: Path) -> None:
    """A sanitized dump has no line where V8 has no table of them: that would be in the source."""
    with waiting(node, (), folder=tmp_path) as (pid, _):
        ours = javascript(unspool.unwind(unspool.open(pid)))
        assert {"leaf", "#hidden", "Основа", "метод日本"} <= {
            name for name, _, line in ours if line
        }
        for sanitize in (False, True):
            path = tmp_path / f"{sanitize}.dmp"
            dump(unspool.open(pid), str(path), sanitize=sanitize)
        core = written_by_kernel(pid, tmp_path)
    dump(unspool.open(str(core)), str(tmp_path / "core.dmp"))
    for source in (core, tmp_path / "core.dmp", tmp_path / "False.dmp"):
        assert javascript(unspool.unwind(unspool.open(str(source)))) == ours
    core.unlink()
    sanitized = javascript(unspool.unwind(unspool.open(str(tmp_path / "True.dmp"))))
    assert [frame[:2] for frame in sanitized] == [frame[:2] for frame in ours]
    assert {line for _, file, line in sanitized if file == str(PROGRAM)} == {None}
    for path, has_source in ((tmp_path / "False.dmp", True), (tmp_path / "True.dmp", False)):
        assert ("innermost first".encode("utf-16-le") in path.read_bytes()) is has_source


@pytest.mark.parametrize("node", NODES[:1])
def test_a_perf_map_says_the_same(node: str, tmp_path: Path) -> None:
    """Of functions, and of where they begin, which the map has in a name."""
    with waiting(node, COPIES, folder=tmp_path) as (pid, _):
        report = unspool.unwind(unspool.open(pid))
        Path(f"/tmp/perf-{pid}.map").unlink()
    stack = report.stacks[0]
    compared = 0
    for index in stack.subjects:
        ours, mapped = (
            report.location(stack, index),
            report.locations.get(stack.frames[index].lookup_pc),
        )
        match = re.fullmatch(
            r"JS:[~^*+']*(.*?) ?(\S*?):(\d+):(\d+)", (mapped and mapped.function) or ""
        )
        if match is None:
            continue
        assert ours is not None
        assert bare(ours.function or "") == match[1]
        assert (ours.file or "") == match[2].removesuffix(" ")
        assert ours.line is None or ours.line >= int(match[3])
        compared += 1
    assert compared > 15


LINES = {"inner": range(3, 8), "middle": (8,), "outer": (9,), "top": (10,)}


@pytest.mark.parametrize("tier", [("--no-opt", "--no-sparkplug"), ("--no-opt",), ()], ids=str)
def test_a_busy_program_wherever_it_is_stopped(tier: tuple[str, ...], tmp_path: Path) -> None:
    """Its heap is read while it runs on. Calls may be put in place; no line is ever wrong."""
    chains = []
    command = [NODES[0], *tier, str(HERE / "node_runs.js")]
    with running(command, cwd=tmp_path, runs_on=True) as process:
        for _ in range(8):
            with unspool.open(process.pid) as target:
                report = unspool.unwind(target, threads=process.pid, symbols=False)
                [subjects] = [stack.subjects for stack in report.stacks]
                places = [target.locate_subject(subjects[index]) for index in sorted(subjects)]
            ours = [each for each in places if each and (each.file or "").endswith("_runs.js")]
            names = [bare(place.function or "") for place in ours]
            chains.append(names)
            for place in ours:
                lines = LINES.get(bare(place.function or ""))
                assert place.line is None or lines is None or place.line in lines, place
            time.sleep(0.002)
    wanted = ["inner", "middle", "outer", "top"]
    for names in chains:
        below = [name for name in names if name in wanted]
        assert below == [name for name in wanted if name in below]
    assert sum("top" in names for names in chains) > 5
