"""Our frames and a peer's, side by side."""

from __future__ import annotations

from typing import Any

from tests.programs.table import Program

from .differences import differences
from .names import plain, same
from .peers import LIMIT, Frames, Threads
from .unspool_command import Answer


def functions(thread: dict[str, Any], program: Program) -> list[str]:
    """The thread's functions that the source knows, in their plain form."""
    known = {*program.ours, *(name for stack in program.others for name in stack)}
    found = (plain(f["function"], program.language) for f in thread["frames"] if f.get("function"))
    return [name for name in found if name in known]


def disagreements(answer: Answer, program: Program, kind: str, peer: str, theirs: Threads) -> str:
    """Threads where our frames and the peer's differ, as far as the peer can judge, as text."""
    known = differences(f"{program.name}/{kind}", peer)
    problems = []
    for thread in answer.threads:
        frames, other = thread["frames"][:LIMIT], theirs[thread["tid"]]
        names = [plain(f.get("function") or "", program.language) for f in frames]
        for difference in known:
            keep = difference.trusted(names)
            frames, other = frames[:keep], other[:keep]
        if not all(difference.names for difference in known):
            other = [(pc, None) for pc, _ in other]
        if not agree(answer, program, frames, other):
            problems.append(side_by_side(thread["tid"], answer, frames, other))
    return "\n".join(problems[:3])


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
