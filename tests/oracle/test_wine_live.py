"""Running Wine processes: their stacks must be those that a core of the same process shows."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.programs.running import eventually, is_free
from tests.wine.cores import made_by_kernel
from tests.wine.expected import scenarios
from tests.wine.flavours import FLAVOURS
from tests.wine.running import Running, activity, run_zoo, settle
from tests.wine.zoo import VARIANTS, build
from unspool.targets.base import Options
from unspool.targets.live.target import open_live

from .unspool_command import run_unspool

pytestmark = pytest.mark.oracle

# The deepest has half a megabyte of Windows stack at -O0.
DEPTHS = (2, 60)
# It waits for 5 seconds in one place, and then in another one.
PLACE = {"pc", "module_offset", "function_offset", "file", "line"}
# What is copied of a thread whose stacks hold this little; they have room for three megabytes.
PER_THREAD = 40 << 10


def ask(*arguments: str | int | Path, cache: Path) -> dict[str, Any]:
    options = ("--format", "json", "--max-frames", "0")
    done = run_unspool("stack", *arguments, *options, cache=cache)
    assert done.returncode == 0, (done.returncode, done.stderr, incomplete(done))
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def incomplete(done: subprocess.CompletedProcess[str]) -> list[Any]:
    if not done.stdout:
        return []
    report = json.loads(done.stdout)
    threads = [thread["stop"] for thread in report["threads"] if thread["stop"]["reason"] != "root"]
    return [*report.get("findings", []), *threads]


def stacks(report: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """What a report says of stacks, by thread; modules by where they lie."""
    bases = [module["base"] for module in report["modules"]]
    result = {}
    for thread in report["threads"]:
        for frame in thread["frames"]:
            if "module" in frame:
                frame["module"] = bases[frame["module"]]
        result[thread["tid"]] = {
            key: thread.get(key) for key in ("windows_tid", "segments", "frames", "stop", "gaps")
        }
        for frame in thread["frames"]:
            if frame.get("function") == "RtlpWaitForCriticalSection":
                for key in PLACE & set(frame):
                    del frame[key]
    return result


def without_innermost(stack: dict[str, Any]) -> dict[str, Any]:
    """A stack without the address at which its thread runs, which differs at each moment."""
    frames = stack["frames"]
    return {**stack, "frames": [frames[0].get("function"), *frames[1:]]}


def running_threads(zoo: Running) -> set[int]:
    """The threads that run; the others must wait, not be stopped or gone."""
    tasks = os.listdir(f"/proc/{zoo.pid}/task")
    now = activity(zoo.prefix, zoo.pid)
    states = {tid: now[tid][0] for tid in map(int, tasks)}
    assert set(states.values()) <= {"R", "S"}, states
    return {tid for tid, state in states.items() if state == "R"}


@pytest.mark.parametrize("variant", ["O0", "O2"])
@pytest.mark.parametrize("name", FLAVOURS)
def test_stacks_are_those_of_a_core(
    wine_root: Path, tmp_path: Path, name: str, variant: str
) -> None:
    flavour = FLAVOURS[name]
    arguments = scenarios(flavour, VARIANTS[variant], DEPTHS)
    program = build(flavour, VARIANTS[variant], wine_root)
    with run_zoo(flavour, program, arguments, wine_root) as zoo:
        spinning = {thread.tid for thread in zoo.threads if thread.scenario == "spin"}
        live = stacks(ask(zoo.pid, cache=tmp_path))
        assert eventually(lambda: is_free(zoo.pid))
        # A wait that was interrupted is begun again, with Wine 8 by asking the server first.
        settle(zoo, {"spin"})
        assert running_threads(zoo) == spinning
        path = tmp_path / "core"
        made_by_kernel(zoo, path)
    sysroot = ("--sysroot", flavour.sysroot) if flavour.sysroot else ()
    core = stacks(ask(path, "--symbols", zoo.zoo.folder, *sysroot, cache=tmp_path))
    path.unlink()
    assert sorted(live) == sorted(core)
    assert {thread.tid for thread in zoo.threads} <= set(live)
    for tid, stack in live.items():
        if tid in spinning:
            assert without_innermost(stack) == without_innermost(core[tid])
        else:
            assert stack == core[tid]


@pytest.mark.parametrize("name", FLAVOURS)
def test_unused_stack_is_not_copied(wine_root: Path, name: str) -> None:
    arguments = ["@wait_event:3", "wndproc:2:3", "suspended_spin:2", "spin:2", "apc:2"]
    flavour = FLAVOURS[name]
    program = build(flavour, VARIANTS["O2"], wine_root)
    with run_zoo(flavour, program, arguments, wine_root) as zoo:
        with open_live(zoo.pid, Options()) as target:
            held = [region for region in target.space.memory.regions if region.writable]
            copied = sum(
                region.end - region.start
                for region in held
                if region.load is not None and not region.executable
            )
        assert 0 < copied <= PER_THREAD * len(os.listdir(f"/proc/{zoo.pid}/task"))
