"""LinuxAuxv: what the kernel told the program at its start, as /proc/PID/auxv has it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """Pairs of words of the process. LLDB finds the program by it."""
    return draft.facts.auxv
