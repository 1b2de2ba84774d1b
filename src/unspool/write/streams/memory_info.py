"""MemoryInfoListStream: all mappings of the process, as Windows words them."""

from __future__ import annotations

from bisect import bisect_right

from unspool.formats.minidump.structures import MEMORY_INFO, MEMORY_INFO_LIST
from unspool.targets.live.procfs import parse_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.write.draft import Draft
    from unspool.write.output import Output

    # Start, end, letters of the protection, whether a file is mapped.
    Mapped = tuple[int, int, str, bool]

_COMMIT = 0x1000
_PRIVATE, _MAPPED, _IMAGE = 0x20000, 0x40000, 0x1000000
# PAGE_NOACCESS and so on. Windows has no memory that can be written and not be read.
_PROTECTION = {
    "---": 0x01, "r--": 0x02, "-w-": 0x04, "rw-": 0x04,
    "--x": 0x10, "r-x": 0x20, "-wx": 0x40, "rwx": 0x40,
}  # fmt: skip


def write(draft: Draft, output: Output) -> bytes | None:
    """MINIDUMP_MEMORY_INFO_LIST: neighbours of one kind are one entry.

    All of a module belongs to one allocation, which starts where the module does, as it is on
    Windows.
    """
    merged: list[list[int]] = []
    for start, end, base, protection, kind in _entries(draft):
        last = merged[-1] if merged else None
        if last and last[1] == start and last[3:] == [protection, kind] and (
            kind != _IMAGE or last[2] == base
        ):  # fmt: skip
            last[1] = end
        else:
            merged.append([start, end, base, protection, kind])
    if not merged:
        return None
    entry = MEMORY_INFO.struct.pack
    header = MEMORY_INFO_LIST.pack(
        SizeOfHeader=MEMORY_INFO_LIST.size,
        SizeOfEntry=MEMORY_INFO.size,
        NumberOfEntries=len(merged),
    )
    return header + b"".join(
        entry(start, base, protection, 0, end - start, _COMMIT, protection, kind, 0)
        for start, end, base, protection, kind in merged
    )


def _entries(draft: Draft) -> Iterator[tuple[int, int, int, int, int]]:
    """(start, end, start of the allocation, protection, kind) of all mappings, by address."""
    modules = sorted((module.base, module.end) for module in draft.target.modules)
    bases = [base for base, _ in modules]
    for start, end, letters, is_file in _mappings(draft):
        at = bisect_right(bases, start) - 1
        protection = _PROTECTION.get(letters, 0x01)
        if at >= 0 and start < modules[at][1]:
            yield start, end, modules[at][0], protection, _IMAGE
        else:
            yield start, end, start, protection, _MAPPED if is_file else _PRIVATE


def _mappings(draft: Draft) -> Iterator[Mapped]:
    """Of the maps, or where those are not known of the target's memory."""
    if draft.facts.maps:
        for each in parse_maps(draft.facts.maps).mappings:
            shared = each.permissions[3:] == "s"
            if 0 <= each.start < each.end <= 1 << 64:
                is_file = shared or each.path.startswith("/")
                yield each.start, each.end, each.permissions[:3], is_file
        return
    reach = 0
    for region in draft.target.space.memory.regions:
        start, end = region.mapping
        if end > reach:
            letters = "r" + "-w"[region.writable] + "-x"[region.executable]
            yield max(start, reach), end, letters, bool(region.path)
            reach = end
