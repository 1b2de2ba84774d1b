"""LinuxLsbRelease: the name of the distribution, by lsb-release or os-release."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """The text as it was."""
    return draft.facts.lsb_release
