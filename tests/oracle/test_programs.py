"""Every program's core, compared with the source, with gdb and with eu-stack."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

import pytest

from tests.programs.build import Unavailable
from tests.programs.cores import Core
from tests.programs.table import PROGRAMS, Program

from .differences import differences
from .names import plain, same
from .peers import LIMIT, PEERS, Frames
from .unspool_command import Answer

pytestmark = pytest.mark.oracle

EVERY_CORE = [f"{program.name}/{kind}" for program in PROGRAMS for kind in program.kinds]
every_core = pytest.mark.parametrize("core", EVERY_CORE, indirect=True)


def functions(thread: dict[str, Any], program: Program) -> list[str]:
    """The thread's functions that the source knows, in their plain form."""
    known = {*program.ours, *(name for stack in program.others for name in stack)}
    found = (plain(f["function"], program.language) for f in thread["frames"] if f.get("function"))
    return [name for name in found if name in known]


@every_core
def test_stack_is_as_the_source_says(core: Core, answer: Answer) -> None:
    program = core.program
    found = functions(answer.crashed, program)
    if core.kind == "gcore":
        expected = program.others + Counter([program.waiting] if program.waiting else [])
        assert Counter(tuple(functions(t, program)) for t in answer.threads) == expected
        return
    if program.repeats:
        assert len(found) >= program.repeats
        found = [name for name, _ in groupby(found)]
    assert found == list(program.ours)
    rest = Counter(tuple(functions(t, program)) for t in answer.threads if not t["crashed"])
    if program.others:
        assert rest == program.others


@every_core
def test_every_stack_reaches_its_root(core: Core, answer: Answer) -> None:
    if not core.program.root:
        pytest.skip("the source says that this stack has no root to be found")
    stops = {t["tid"]: t["stop"] for t in answer.threads if t["stop"]["reason"] != "root"}
    assert not stops
    assert answer.code == 0, answer.errors


@every_core
def test_crash_is_as_the_source_says(core: Core, answer: Answer) -> None:
    if core.kind == "gcore":
        assert not answer.report.get("crash")
        assert not any(thread["crashed"] for thread in answer.threads)
        return
    crash = answer.report["crash"]
    assert crash["signal"] == core.program.signal
    assert [t["index"] for t in answer.threads if t["crashed"]] == [crash["thread_index"]]
    # What qemu-user writes has no signal information beyond the number.
    if core.program.address is not None and not core.kind.startswith("qemu"):
        assert int(crash["address"], 16) == core.program.address


@every_core
@pytest.mark.parametrize("peer", PEERS)
def test_frames_agree(core: Core, answer: Answer, peer: str) -> None:
    known = differences(core, peer)
    if any(difference.hangs for difference in known):
        pytest.skip(known[0].why)
    try:
        theirs = PEERS[peer](core)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert {t["tid"] for t in answer.threads} == set(theirs)
    problems = []
    for thread in answer.threads:
        frames, other = thread["frames"][:LIMIT], theirs[thread["tid"]]
        names = [plain(f.get("function") or "", core.program.language) for f in frames]
        for difference in known:
            keep = difference.trusted(names)
            frames, other = frames[:keep], other[:keep]
        if not all(difference.names for difference in known):
            other = [(pc, None) for pc, _ in other]
        if not agree(answer, core.program, frames, other):
            problems.append(side_by_side(thread["tid"], answer, frames, other))
    assert not problems, "\n".join(problems[:3])


def agree(answer: Answer, program: Program, ours: list[dict[str, Any]], theirs: Frames) -> bool:
    if len(ours) != len(theirs):
        return False
    return all(
        frame_agrees(answer, program, frame, pc, name)
        for frame, (pc, name) in zip(ours, theirs, strict=True)
    )


def frame_agrees(
    answer: Answer, program: Program, frame: dict[str, Any], pc: int, name: str | None
) -> bool:
    if int(frame["pc"], 16) != pc:
        return False
    if name is None:
        return True  # the peer found no name; its pc is all there is to compare
    if not frame.get("function"):
        return False
    return same(frame["function"], name, answer.file(frame), program.language)


def side_by_side(tid: int, answer: Answer, ours: list[dict[str, Any]], theirs: Frames) -> str:
    lines = [f"thread {tid}: unspool | peer"]
    for index in range(min(max(len(ours), len(theirs)), 40)):
        left = right = "-"
        if index < len(ours):
            frame = ours[index]
            left = f"{frame['pc']} {frame.get('function')} [{frame['trust']}]"
        if index < len(theirs):
            right = f"{theirs[index][0]:#x} {theirs[index][1]}"
        lines.append(f"  {index:3} {left:70} | {right}")
    return "\n".join(lines)
