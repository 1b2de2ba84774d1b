"""A report as it is checked in: each place in code once, each stack as a list of places."""

from __future__ import annotations

from unspool.model import Report, Stack


def summary_of(report: Report) -> dict[str, list[object]]:
    """`places` are [pc, function]; `stacks` have their thread id, frames and switches.

    A frame is the index of its place; a switch is [index of its first frame, words].
    """
    places: dict[int, int] = {}
    stacks: list[object] = []
    for stack in report.stacks:
        frames = [places.setdefault(frame.pc, len(places)) for frame in stack.frames]
        stacks.append({"tid": stack.tid, "frames": frames, "switches": switches(stack)})
    # The same pc may be a return address here and be executing there; the name is the same.
    names = {}
    for stack in report.stacks:
        for frame in stack.frames:
            location = report.locations.get(frame.lookup_pc)
            names[frame.pc] = location.function if location else None
    return {"places": [[f"{pc:#x}", names[pc]] for pc in places], "stacks": stacks}


def switches(stack: Stack) -> list[list[object]]:
    found: list[list[object]] = []
    for index, frame in enumerate(stack.frames):
        if index and frame.segment != stack.frames[index - 1].segment:
            found.append([index, stack.segments[frame.segment].switch])
    return found


def windows_functions(report: Report, stack: Stack, wow64: bool) -> list[str]:
    """The functions on the Windows side, of WoW64 on its 32-bit side; "" for a nameless one."""
    names = []
    for frame in stack.frames:
        location = report.locations.get(frame.lookup_pc)
        segment = stack.segments[frame.segment]
        if location is None or location.module is None or segment.kind != "windows":
            continue
        is_pe = report.modules[location.module].kind == "pe"
        is_64 = segment.high is not None and segment.high > 1 << 32
        if is_pe and not (wow64 and is_64):
            names.append(location.function or "")
    return names
