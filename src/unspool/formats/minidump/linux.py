"""The dynamic linker's list of modules in Breakpad's minidumps."""

from __future__ import annotations

from unspool.formats.minidump import streams
from unspool.formats.minidump.extensions import (
    DSO_DEBUG32,
    DSO_DEBUG64,
    DSO_DEBUG64_PACKED,
    LINK_MAP32,
    LINK_MAP64,
    LINK_MAP64_PACKED,
)
from unspool.formats.minidump.records import DsoDebug, LinkMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.minidump.layout import Layout
    from unspool.formats.minidump.reader import Minidump

_MAX_LINKS = 100_000
_MAX_SECTION = 1 << 16


def dso_layouts(size: int, is_64bit: bool) -> tuple[Layout, Layout]:
    """The layouts of r_debug and of link_map in a stream of that size.

    Behind r_debug lies the dynamic section, in entries of 16 bytes: that tells the packed form,
    of 36 bytes, from the one of 40.
    """
    if not is_64bit:
        return DSO_DEBUG32, LINK_MAP32
    if size % 16 == DSO_DEBUG64_PACKED.size % 16:
        return DSO_DEBUG64_PACKED, LINK_MAP64_PACKED
    return DSO_DEBUG64, LINK_MAP64


def dso_debug(dump: Minidump) -> DsoDebug | None:
    stream, system, file = dump.stream(streams.LINUX_DSO_DEBUG), dump.system(), dump.file
    if stream is None:
        return None
    is_64bit = system is None or system.arch_name not in ("x86", "arm")
    head, link = dso_layouts(stream.claimed, is_64bit)
    end = stream.rva + stream.size
    if stream.size < head.size:
        file.note(stream.name, "is cut short")
        return None
    values = head.unpack(file.buffer, stream.rva, end)
    rva, claimed = values["map"], values["dso_count"]
    count = min(claimed, max(0, file.size - rva) // link.size, _MAX_LINKS)
    if count < claimed:
        file.note(stream.name, f"claims {claimed} modules, the file has {count}")
    names = [field.name for field in link.fields]
    addr, name, ld = names.index("addr"), names.index("name"), names.index("ld")
    links = [
        LinkMap(row[addr], file.string(row[name], f"name of module {index}"), row[ld])
        for index, row in enumerate(link.rows(file.buffer, rva, count, link.size))
    ]
    section = bytes(file.buffer[stream.rva + head.size : min(end, stream.rva + _MAX_SECTION)])
    return DsoDebug(
        values["version"], values["brk"], values["ldbase"], values["dynamic"], links, section
    )
