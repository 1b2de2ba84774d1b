"""ThreadNamesStream: names of threads, of those that have one."""

from __future__ import annotations

from unspool.formats.minidump.structures import THREAD_NAME, THREAD_NAME_LIST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """MINIDUMP_THREAD_NAME_LIST. A core knows the first thread's name alone."""
    entry = THREAD_NAME.struct.pack
    entries = []
    rvas: dict[str, int] = {}
    for thread in draft.target.threads:
        name = thread.name or draft.facts.thread_names.get(thread.tid)
        if name:
            if name not in rvas:
                rvas[name] = output.string(name)
            entries.append(entry(thread.tid & 0xFFFFFFFF, rvas[name]))
    if not entries:
        return None
    return THREAD_NAME_LIST.pack(NumberOfThreadNames=len(entries)) + b"".join(entries)
