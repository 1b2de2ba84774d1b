"""LinuxMaps: the mappings, in the words of /proc/PID/maps."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """The text. LLDB believes it rather than the list of memory's attributes."""
    return draft.facts.maps
