"""LinuxDsoDebug: the dynamic linker's list of what it loaded, and the program's dynamic section."""

from __future__ import annotations

from unspool.formats.minidump import extensions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes | None:
    """MDRawDebug, and the dynamic section behind it."""
    linker = draft.facts.linker
    if linker is None:
        return None
    wide = draft.target.arch.pointer_size == 8
    entry = extensions.LINK_MAP64 if wide else extensions.LINK_MAP32
    header = extensions.DSO_DEBUG64 if wide else extensions.DSO_DEBUG32
    entries = [
        entry.pack(addr=each.bias, name=output.string(each.name), ld=each.dynamic)
        for each in linker.entries
    ]
    body = header.pack(
        version=linker.version,
        map=output.add(b"".join(entries), 8),
        dso_count=len(entries),
        brk=linker.breakpoint,
        ldbase=linker.base,
        dynamic=linker.dynamic,
    )
    return body + linker.section
