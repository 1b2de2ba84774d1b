"""Ksplice's condition, asked of every thread at once.

A function can be replaced if no thread executes it and none will return to it: no instruction
pointer and no return address on any stack lies within it. Two methods answer. Scanning takes
every aligned word of every stack for a return address: it misses none, and stale words are
alarms. Unwinding knows the return addresses: it gives no such alarm, and is only as good as
its walk. Ksplice scans; kpatch and livepatch unwind (kernel: "Reliable Stacktrace").
"""

from __future__ import annotations

from bisect import bisect_left

from unspool.analyses.go import is_go
from unspool.analyses.patch.records import SURE, Answer, Hit, PatchCheck
from unspool.analyses.patch.scan import scan, used_stacks
from unspool.analyses.patch.sure import Certainty
from unspool.analyses.patch.switches import stack_switchers
from unspool.model import StopReason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.patch.records import Checked, CodeRange
    from unspool.model import Frame, Report, Stack
    from unspool.targets.base import Target

# Of one thread these say enough.
_MOST_GUESSED = 3
# Of one function; a deep recursion says nothing new after that.
_MOST_HITS = 10_000


def patch_check(target: Target, report: Report, functions: list[Checked]) -> PatchCheck:
    """Fills in both answers of each function. `report` holds all walked stacks of the target.

    Raises nothing for what the target lacks: that makes answers `not proven`.
    """
    ranges = [each for function in functions for each in function.ranges]
    of_target = [each.title for each in target.findings if each.incomplete]
    if is_go(target):
        of_target.append(
            "goroutines that wait have stacks that no thread is on, which are not seen"
        )
    reason, note = stack_switchers(target)
    if reason is not None:
        of_target.append(reason)
    certainty = Certainty(target)
    unwinding_reasons = [*of_target, *_doubts(report, certainty)]
    stacks, scan_reasons = used_stacks(target, report.stacks)
    unfinished = [
        reason for stack in report.stacks if (reason := _unfinished(stack)) is not None
    ]
    scan_reasons = [*of_target, *scan_reasons, *unfinished]
    words = scan(target, stacks, ranges)
    frames = _Frames(report.stacks, certainty)
    for function in functions:
        wanted = {(each.start, each.end) for each in function.ranges}
        hits = [hit for place in sorted(wanted) for hit in words.get(place, ())]
        function.conservative = Answer(hits, (), [*function.unknown, *scan_reasons])
        sure, guessed = frames.within(function.ranges)
        sure += function.kernel_hits
        function.unwinding = Answer(sure, guessed, [*function.unknown, *unwinding_reasons])
    result = PatchCheck(functions, stacks, len(report.stacks))
    result.notes += [note] if note is not None else []
    result.held_seconds = getattr(target, "held", None)
    return result


class _Frames:
    """All frames of all stacks by the address that they are looked up at."""

    def __init__(self, stacks: Sequence[Stack], certainty: Certainty) -> None:
        self.certainty = certainty
        self.at: dict[int, list[tuple[Stack, int]]] = {}
        for stack in stacks:
            for number, frame in enumerate(stack.frames):
                self.at.setdefault(frame.lookup_pc, []).append((stack, number))
        self.addresses = sorted(self.at)

    def within(self, ranges: list[CodeRange]) -> tuple[list[Hit], list[Hit]]:
        """Frames in the ranges: those that are sure, and those that were guessed."""
        sure: list[Hit] = []
        guessed: list[Hit] = []
        for code in ranges:
            first = bisect_left(self.addresses, code.start)
            for address in self.addresses[first : bisect_left(self.addresses, code.end)]:
                for stack, number in self.at[address]:
                    frame = stack.frames[number]
                    found = sure if self.certainty.is_sure(stack, number) else guessed
                    if len(found) < _MOST_HITS:
                        found.append(_hit(stack, number, frame, code))
        for found in (sure, guessed):
            found.sort(key=_place)
        return sure, guessed


def _place(hit: Hit) -> tuple[int, int]:
    return hit.thread, hit.frame or 0


def _hit(stack: Stack, number: int, frame: Frame, code: CodeRange) -> Hit:
    kind = "pc" if frame.exact else "return address"
    return Hit(
        kind, stack.index, stack.tid, frame.pc, code,
        frame=number, address=frame.sp, trust=frame.trust,
    )  # fmt: skip


def _doubts(report: Report, certainty: Certainty) -> list[str]:
    """Why a walk may have missed a frame: each reason in words."""
    reasons = []
    for stack in report.stacks:
        unfinished = _unfinished(stack)
        if unfinished is not None:
            reasons.append(unfinished)
        reasons += [
            f"thread {stack.tid}: frames may be missing before #{gap.before}: {gap.detail}"
            for gap in stack.gaps
        ]
        guessed = [
            f"#{number} by {frame.trust}"
            for number, frame in enumerate(stack.frames)
            if frame.trust not in SURE and not certainty.is_sure(stack, number)
        ]
        if guessed:
            more = len(guessed) - _MOST_GUESSED
            shown = ", ".join(guessed[:_MOST_GUESSED]) + (f" and {more} more" if more > 0 else "")
            reasons.append(f"thread {stack.tid}: frames were guessed: {shown}")
    return reasons


def _unfinished(stack: Stack) -> str | None:
    """Why a stack has no end; there may be frames behind it, and stacks."""
    if stack.stop.reason == StopReason.ROOT:
        return None
    detail = f": {stack.stop.detail}" if stack.stop.detail else ""
    last = f" after frame #{len(stack.frames) - 1}" if stack.frames else ""
    return f"thread {stack.tid}: the stack is incomplete{last} ({stack.stop.reason}){detail}"
