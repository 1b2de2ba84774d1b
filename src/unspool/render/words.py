"""Small words for people: counts, sizes, lists, and what trust and stop reasons mean."""

from __future__ import annotations

from unspool.model import StopReason, Trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Said at the end of a frame's line. The kinds that are sure say nothing.
TRUST_WORDS = {
    Trust.CONTEXT: "",
    Trust.CFI: "",
    Trust.UNWIND_INFO: "",
    Trust.SEGMENT_SWITCH: "",
    Trust.WASM: "",
    Trust.SIGNAL: "interrupted",
    Trust.LEAF: "leaf",
    Trust.FRAME_POINTER: "frame pointer",
    Trust.SCAN: "scan",
}

STOP_WORDS = {
    StopReason.ROOT: "reached the start of the thread",
    StopReason.NO_STRATEGY: "no way to find the caller",
    StopReason.FAULT: "memory is missing",
    StopReason.NO_PROGRESS: "the stack leads nowhere",
    StopReason.DEPTH: "as many frames as were asked for",
    StopReason.CYCLE: "the stack goes round in a circle",
    StopReason.MISSING_CONTEXT: "no registers for this thread",
}

# What would help, where nothing more specific is known.
STOP_HINTS = {
    StopReason.NO_STRATEGY: "--explain shows what was tried",
    StopReason.FAULT: "the dump was cut short, or its filter (coredump_filter) left this out",
    StopReason.NO_PROGRESS: "the stack is damaged, or unwind data is wrong; --explain shows which",
    StopReason.DEPTH: "--max-frames 0 shows all",
    StopReason.CYCLE: "the stack is damaged, or unwind data is wrong; --explain shows which",
    StopReason.MISSING_CONTEXT: "the dump was cut short",
}


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 thread`, `12,345 threads`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(number: int) -> str:
    """A number of bytes in decimal units, as disks and `ls -h --si` count: `1.7 GB`."""
    if number < 1000:
        return count(number, "byte")
    value, units = number / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.1f} {units[0]}" if value < 9.95 else f"{value:.0f} {units[0]}"


def seconds(value: float) -> str:
    """A duration: `0.11 s`, `2.5 s`, `75 s`."""
    if value < 1:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def ranges(numbers: Sequence[int], limit: int = 8) -> str:
    """Sorted distinct numbers, runs of three and more as ranges: `1–3, 7, 9`.

    At most `limit` numbers and ranges are written; how many numbers the others hold is
    said after them.
    """
    parts: list[str] = []
    shown = start = 0
    while start < len(numbers) and len(parts) < limit:
        end = start
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        if end - start == 1:
            end = start
        parts.append(f"{numbers[start]}–{numbers[end]}" if end > start else str(numbers[start]))
        start = shown = end + 1
    rest = len(numbers) - shown
    return ", ".join(parts) + (f" and {rest:,} more" if rest else "")


def listing(names: Sequence[str], limit: int = 8) -> str:
    """Names joined as in a sentence: `ping() and pong()`; those beyond `limit` are counted."""
    if len(names) > limit:
        return ", ".join(names[:limit]) + f" and {len(names) - limit:,} more"
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]
