"""LinuxProcStatus: /proc/PID/status, or those of its lines that are known."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """The text; not in a sanitized dump, since it says who ran the program and how much."""
    return draft.facts.status if draft.keep_word is None else None
