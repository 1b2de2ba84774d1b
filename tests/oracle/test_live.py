"""Running processes: the command's stacks against gdb's, eu-stack's, and the source."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs.build import Unavailable, run, tool
from tests.programs.running import (
    LIVE,
    LIVE_32,
    PARKED,
    eventually,
    is_free,
    is_parked,
    running_program,
    states,
)
from tests.programs.table import Program

from .peers import OFFLINE, Threads, parse_eu_stack
from .unspool_command import run_unspool

pytestmark = pytest.mark.oracle

SCRIPT = Path(__file__).parent / "gdb_frames.py"


@contextlib.contextmanager
def parked(
    program: Program, root: Path, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    with running_program(program, root, *arguments) as process:
        yield process
        assert is_free(process.pid)


def ask_gdb(pid: int) -> Threads:
    done = run(
        [tool("gdb"), "-batch", "-nx", "-iex", "set debuginfod enabled off", "-p", str(pid),
         "-x", SCRIPT],
        env={**OFFLINE, "UNSPOOL_GDB_LIMIT": "300"},
    )  # fmt: skip
    answer = done.stdout.partition("FRAMES ")[2].partition("\n")[0]
    if not answer:
        raise Unavailable(f"gdb cannot attach here: {done.stderr[-500:]}")
    return {
        int(tid): [(pc, name) for pc, name in frames] for tid, frames in json.loads(answer).items()
    }


def ask_eu_stack(pid: int) -> Threads:
    done = run([tool("eu-stack"), "-a", "-r", "-n", "300", "-p", str(pid)], env=OFFLINE)
    if "TID " not in done.stdout:
        raise Unavailable(f"eu-stack cannot attach here: {done.stderr[-500:]}")
    return parse_eu_stack(done.stdout)


PEERS = {"gdb": ask_gdb, "eu-stack": ask_eu_stack}


def ask_unspool(pid: int, cache: Path, expect: int = 0) -> dict[str, Any]:
    done = run_unspool("stack", str(pid), "--format", "json", cache=cache)
    assert done.returncode == expect, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["target"]["kind"] == "live" and report["target"]["pid"] == pid
    return report


def functions(thread: dict[str, Any]) -> list[str]:
    return [str(frame.get("function")) for frame in thread["frames"]]


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(
    ("program", "arguments"),
    [(PARKED, ["wait"]), (LIVE, ["park"]), (LIVE_32, ["park"])],
    ids=["129 threads", "64", "32"],
)
def test_frames_agree(
    programs_root: Path, tmp_path: Path, program: Program, arguments: list[str], peer: str
) -> None:
    with parked(program, programs_root, *arguments) as process:
        theirs = PEERS[peer](process.pid)
        assert eventually(lambda: is_parked(process.pid))
        report = ask_unspool(process.pid, tmp_path)
        ours = {
            thread["tid"]: [int(frame["pc"], 16) for frame in thread["frames"]]
            for thread in report["threads"]
        }
        assert sorted(ours) == sorted(theirs) == sorted(states(process.pid))
        if program.compiler == "gcc-m32" and peer == "eu-stack":
            # It takes 32-bit processes for 64-bit ones and ends after their first frame.
            theirs = {tid: frames[:1] for tid, frames in theirs.items()}
            ours = {tid: frames[:1] for tid, frames in ours.items()}
        assert ours == {tid: [pc for pc, _ in frames] for tid, frames in theirs.items()}


@pytest.mark.parametrize("program", [LIVE, LIVE_32], ids=["64", "32"])
@pytest.mark.parametrize("kind", ["static", "heap", "mapped", "own"])
@pytest.mark.parametrize("mode", ["alt", "altmain"])
def test_signal_handler_on_another_stack(
    programs_root: Path, tmp_path: Path, program: Program, mode: str, kind: str
) -> None:
    with parked(program, programs_root, mode, kind) as process:
        report = ask_unspool(process.pid, tmp_path)
        thread = report["threads"][-1]
        names = functions(thread)
        ours = [name for name in names if name in OURS]
        assert ours == [
            "park_here", "in_handler", "handler", "interrupted", *["deeper"] * 4,
            "on_alternate_stack", *(["main"] if mode == "altmain" else []),
        ]  # fmt: skip
        if program is LIVE:
            # The small signal frame of i386 does not say that it is on an alternate stack.
            assert [segment["kind"] for segment in thread["segments"]] == ["signal", "unix"]
        assert thread["stop"]["reason"] == "root"


OURS = {
    "park_here", "in_handler", "handler", "interrupted", "deeper", "on_alternate_stack", "main",
    "in_coroutine",
}  # fmt: skip


def test_signal_handler_that_interrupted_a_coroutine(programs_root: Path, tmp_path: Path) -> None:
    with parked(LIVE, programs_root, "alt", "coroutine") as process:
        thread = ask_unspool(process.pid, tmp_path)["threads"][1]
        ours = [name for name in functions(thread) if name in OURS]
        assert ours[-2:] == ["deeper", "in_coroutine"]
        assert thread["stop"]["reason"] == "root"


def test_an_incomplete_answer_says_so(programs_root: Path, tmp_path: Path) -> None:
    """A thread that waits for its vfork child cannot be stopped, so its stack is missing."""
    with running_program(LIVE, programs_root, "vfork", runs_on=True) as process:
        assert eventually(lambda: states(process.pid)[process.pid] == "D")
        report = ask_unspool(process.pid, tmp_path, expect=1)
        first, second = report["threads"]
        assert first["stop"]["reason"] == "missing_context" and first["frames"] == []
        assert second["stop"]["reason"] == "root"
        assert any("vfork" in finding["title"] for finding in report["findings"])


def test_errors_are_one_line(tmp_path: Path) -> None:
    done = run_unspool("stack", str(1 << 22), cache=tmp_path)
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert "no process" in done.stderr


def test_parent_process_can_be_read(tmp_path: Path) -> None:
    done = run_unspool("stack", str(os.getpid()), "--format", "json", cache=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout)["target"]["pid"] == os.getpid()
