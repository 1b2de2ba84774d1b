"""Wasm frames in a JSON report."""

from __future__ import annotations

from itertools import groupby
from typing import Any

Json = dict[str, Any]


def is_wasm(report: Json, frame: Json) -> bool:
    """Whether a frame is one of Wasm code; trampolines have no place in a Wasm binary."""
    return "wasm_offset" in frame and report["modules"][frame["module"]]["kind"] == "wasm"


def wasm_frames(report: Json, stack: Json) -> list[tuple[str, str | None, int]]:
    """Module, function and offset in the Wasm binary of each."""
    return [
        (report["modules"][f["module"]]["name"], f.get("function"), f["wasm_offset"])
        for f in stack["frames"]
        if is_wasm(report, f)
    ]


def activations(report: Json, stack: Json) -> list[list[str]]:
    """The functions of each activation: those of a segment, or none where the text says so."""
    found: list[list[str]] = []
    for number, frames in groupby(stack["frames"], key=lambda frame: frame["segment"]):
        segment = stack["segments"][number]
        if segment["kind"] == "wasm":
            found.append([f.get("function", "?") for f in frames if is_wasm(report, f)])
        elif "no frames" in segment.get("switch", ""):
            found.append([])
    return found


def crossings(stack: Json) -> list[tuple[int, str]]:
    """Index of the first frame of each segment but the first, and how the walk came there."""
    places = [frame["segment"] for frame in stack["frames"]]
    return [
        (index, stack["segments"][place].get("switch", ""))
        for index, place in enumerate(places)
        if index and place != places[index - 1]
    ]


def recorded_switches(stack: Json) -> list[list[Any]]:
    """The same in the form of recorded stacks."""
    return [[index, text or None] for index, text in crossings(stack)]
