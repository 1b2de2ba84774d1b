"""LinuxEnviron: the environment as /proc/PID/environ has it, a NUL behind each variable."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """The strings, only if they were asked for: tokens and keys are among them."""
    return draft.facts.environ if draft.with_environ and draft.keep_word is None else None
