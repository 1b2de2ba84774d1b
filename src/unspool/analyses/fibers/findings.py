"""Each call that waits in a fiber, as a finding with its stack; equal stacks are one finding."""

from __future__ import annotations

import os

from unspool.analyses.fibers.stacks import MAX_FIBERS, has_wasm, waiting_stacks
from unspool.model import Finding, Report, StopReason, Trust
from unspool.symbols.symbolicate import symbolicate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.fibers.contexts import Waiting
    from unspool.model import Stack
    from unspool.targets.base import Target

    Group = list[tuple[Waiting, Stack]]

_MOST = 100
_MOST_FRAMES = 200
_MOST_PLACES = 3
# Names of Rust's generic functions take pages.
_LONGEST_NAME, _LAST_LETTERS = 80, 24
_GUESSES = {Trust.FRAME_POINTER: "frame pointer", Trust.SCAN: "scan"}


def findings(target: Target, report: Report) -> list[Finding]:
    """A finding for each stack on which fibers wait, those of most fibers first."""
    groups: dict[tuple[object, ...], Group] = {}
    count = 0
    for fiber, stack in waiting_stacks(target):
        key = (*((frame.pc, frame.trust) for frame in stack.frames), stack.stop.reason)
        groups.setdefault(key, []).append((fiber, stack))
        count += 1
    ordered = sorted(groups.values(), key=lambda group: -len(group))
    named = _named(target, [group[0][1] for group in ordered[:_MOST]])
    found = [_finding(named, group) for group in ordered[:_MOST]]
    if len(ordered) > _MOST:
        title = f"fibers wait at {len(ordered) - _MOST:,} more places"
        found.append(Finding("fiber_waits", title, incomplete=True))
    if count >= MAX_FIBERS:
        title = f"of the fibers that wait {count:,} were looked at"
        found.append(Finding("fiber_waits", title, incomplete=True))
    return found


def concerns(target: Target) -> bool:
    """Only a runtime of WebAssembly has such fibers."""
    return has_wasm(target)


def _named(target: Target, stacks: Sequence[Stack]) -> Report:
    return symbolicate(
        Report(target.info, target.modules, list(stacks)), target.elf, target.options,
        pe_of=target.pe, code_names=target.code_names, subject_names=target.locate_subject,
    )  # fmt: skip


def _finding(report: Report, group: Group) -> Finding:
    _, stack = group[0]
    what = "a fiber waits" if len(group) == 1 else f"{len(group):,} fibers wait"
    places = [f"0x{fiber.low:x}–0x{fiber.high:x}" for fiber, _ in group[:_MOST_PLACES]]
    more = f" and {len(group) - _MOST_PLACES:,} more" if len(group) > _MOST_PLACES else ""
    lines = [f"stack {', '.join(places)}{more}"]
    for index in range(min(len(stack.frames), _MOST_FRAMES)):
        gaps = [gap.detail for gap in stack.gaps if gap.before == index]
        lines += [f"… frames may be missing here: {why}" for why in gaps]
        lines.append(_line(report, stack, index))
    if len(stack.frames) > _MOST_FRAMES:
        lines.append(f"and {len(stack.frames) - _MOST_FRAMES:,} more frames")
    whole = stack.stop.reason == StopReason.ROOT
    if not whole:
        lines.append(f"stopped: {stack.stop.detail}")
    title = f"{what}: {_place(report, stack)}"
    return Finding("fiber_waits", title, detail="\n".join(lines), incomplete=not whole)


def _place(report: Report, stack: Stack) -> str:
    """The newest Wasm function, in words."""
    for index, frame in enumerate(stack.frames):
        if stack.segments[frame.segment].kind == "wasm":
            location = report.location(stack, index)
            if location is not None and location.function:
                return f"in {location.function} ({_module(report, location.module)})"
    return "in a host function, called by no Wasm frame"


def _module(report: Report, index: int | None) -> str:
    return report.modules[index].name if index is not None else "in no module"


def _line(report: Report, stack: Stack, index: int) -> str:
    frame, location = stack.frames[index], report.location(stack, index)
    name = location.function if location is not None else None
    if name is not None and len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - _LAST_LETTERS]}…{name[-_LAST_LETTERS:]}"
    parts = [str(index), name or f"0x{frame.pc:016x}"]
    if location is not None and location.file:
        parts.append(f"{os.path.basename(location.file)}:{location.line}")
    module = _module(report, location.module if location is not None else None)
    if location is not None and location.wasm_function is not None:
        known = report.modules[location.module or 0].wasm
        module += known.part(location.wasm_module) if known is not None else ""
    if location is not None and location.wasm_offset is not None:
        module += f"+0x{location.wasm_offset:x}"
    parts.append(module)
    if frame.trust in _GUESSES:
        parts.append(f"({_GUESSES[frame.trust]})")
    return "  ".join(parts)
