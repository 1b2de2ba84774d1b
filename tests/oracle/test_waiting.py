"""The table's threaded programs while they run: as the source, gdb and eu-stack say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.programs.build import build
from tests.programs.cores import waiting
from tests.programs.table import BY_NAME

from .compare import disagreements, functions
from .peers import LIVE_PEERS
from .unspool_command import Answer, run_unspool

pytestmark = pytest.mark.oracle

THREADED = ("threads", "threads-static", "threads-m32", "tiny-threads")


def states(pid: int) -> set[str]:
    """The scheduling states of a process's threads: "S" sleeps, "t" and "T" are stopped."""
    return {
        stat.read_text().rpartition(")")[2].split()[0]
        for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    }


@pytest.mark.parametrize("name", THREADED)
def test_a_waiting_process(name: str, programs_root: Path, tmp_path: Path) -> None:
    program = BY_NAME[name]
    executable = build(program, programs_root)
    with waiting(program, [str(executable)], tmp_path) as pid:
        done = run_unspool("stack", pid, "--format", "json", cache=programs_root / "cache")
        assert done.returncode == 0, done.stderr
        assert states(pid) == {"S"}
        answer = Answer(done.returncode, json.loads(done.stdout), done.stderr)
        theirs = {}
        for peer, ask in LIVE_PEERS.items():
            theirs[peer] = ask(pid)
    expected = program.others + Counter([program.waiting] if program.waiting else [])
    assert Counter(tuple(functions(t, program)) for t in answer.threads) == expected
    assert {thread["stop"]["reason"] for thread in answer.threads} == {"root"}
    for peer, threads in theirs.items():
        assert {thread["tid"] for thread in answer.threads} == set(threads), peer
        problems = disagreements(answer, program, "live", peer, threads)
        assert not problems, f"{peer}: {problems}"
