"""LinuxCmdLine: the arguments as /proc/PID/cmdline has them, a NUL behind each."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """The strings; not in a sanitized dump: people give programs passwords this way."""
    return draft.facts.command_line if draft.keep_word is None else None
