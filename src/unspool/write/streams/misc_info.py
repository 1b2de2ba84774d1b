"""MiscInfoStream: the process's id and times."""

from __future__ import annotations

from unspool.formats.minidump.process_structures import MISC_INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output

# The first version of the structure; what later ones tell is of Windows.
_SIZE = 24
_PROCESS_ID, _PROCESS_TIMES = 1, 2


def write(draft: Draft, output: Output) -> bytes | None:
    """MINIDUMP_MISC_INFO. LLDB takes 1 for the process's id if there is none."""
    pid, times = draft.target.info.pid, draft.facts.times
    if pid is None and times is None:
        return None
    created, user, kernel = times or (0, 0, 0)
    return MISC_INFO.pack(
        SizeOfInfo=_SIZE,
        Flags1=_PROCESS_ID * (pid is not None) | _PROCESS_TIMES * (times is not None),
        ProcessId=(pid or 0) & 0xFFFFFFFF,
        ProcessCreateTime=created & 0xFFFFFFFF,
        ProcessUserTime=user & 0xFFFFFFFF,
        ProcessKernelTime=kernel & 0xFFFFFFFF,
    )[:_SIZE]
