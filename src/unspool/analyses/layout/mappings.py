"""The mappings of a target, from whatever tells of them: clean, by address, apart.

A core's segments and the text of /proc/PID/maps in a minidump are whatever somebody wrote
there: mappings that overlap, end before they begin or wrap around. Such are cut or left out.
"""

from __future__ import annotations

from unspool.targets.live.procfs import Mapping, parse_maps
from unspool.targets.minidump.target import MinidumpTarget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unspool.formats.minidump.records import MemoryInfo
    from unspool.memory import Region
    from unspool.targets.base import Target
    from unspool.targets.facts import Facts

WITH_FILES = "the core's segments and its note of mapped files"
WITHOUT_FILES = "the core's segments; it has no note of mapped files"
_TOP = 1 << 64
_MAX = 4_000_000
# winnt.h: MEM_COMMIT, MEM_RESERVE, MEM_MAPPED and MEM_IMAGE, PAGE_GUARD; protections by bit.
_COMMIT, _RESERVE = 0x1000, 0x2000
_SHARED = 0x40000
_GUARD = 0x100
_READ, _WRITE, _EXECUTE = 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80, 0x04 | 0x08 | 0x40 | 0x80, 0xF0


def mappings_of(target: Target, facts: Facts) -> tuple[list[Mapping], str]:
    """The mappings, and in words where they come from."""
    if facts.maps:
        found = tidy(parse_maps(facts.maps).mappings)
        if target.info.kind == "core" and not target.options.procfs:
            _as_told_by_segments(found)
        return found, _source(target, found)
    if isinstance(target, MinidumpTarget) and target.dump.memory_info():
        return tidy(map(_of_information, _used(target))), "the dump's MemoryInfoList"
    regions = target.space.memory.regions
    return tidy(map(_of_region, regions)), "what the dump holds: it does not list mappings"


def is_held(permissions: str) -> bool:
    """Whether memory cannot be accessed; that gcore does not tell from what can be read."""
    return permissions[:3] in ("---", "?--")


def _as_told_by_segments(mappings: Iterable[Mapping]) -> None:
    """Marks what a core does not tell: which mappings are shared; in gcore's, which are readable.

    gdb gives all segments the flag for reading: reserved memory and guards look as if they
    could be read. A core of the kernel has some segment without it wherever there is such memory.
    """
    mappings = list(mappings)
    by_gdb = all(each.permissions[0] == "r" for each in mappings if not each.path)
    for each in mappings:
        told = each.permissions[:3]
        if by_gdb and told == "r--" and not each.path:
            told = "?--"
        elif by_gdb and told == "---":
            # A file that gdb left out: the note names it, no segment says how it is mapped.
            told = "???"
        each.permissions = told + "?"


def _used(target: MinidumpTarget) -> Iterator[MemoryInfo]:
    return (each for each in target.dump.memory_info() if each.state & (_COMMIT | _RESERVE))


def _of_information(record: MemoryInfo) -> Mapping:
    flags = permissions(record.state, record.protect, record.type)
    return Mapping(record.base, record.base + record.size, flags, 0, 0, 0, "")


def _of_region(region: Region) -> Mapping:
    flags = f"?{'-w'[region.writable]}{'-x'[region.executable]}?"
    return Mapping(region.start, region.end, flags, region.file_offset, 0, 0, region.path)


def permissions(state: int, protect: int, kind: int) -> str:
    """As /proc has them, of the bits that VirtualQuery gives."""
    if not state & _COMMIT or protect & _GUARD:
        return "---p"
    return (
        ("r" if protect & _READ else "-")
        + ("w" if protect & _WRITE else "-")
        + ("x" if protect & _EXECUTE else "-")
        + ("s" if kind & _SHARED else "p")
    )


def tidy(mappings: Iterable[Mapping]) -> list[Mapping]:
    """Mappings by address; what reaches back into an earlier one is cut off."""
    ordered = [each for each in mappings if 0 <= each.start < each.end <= _TOP][:_MAX]
    ordered.sort(key=_bounds)
    result: list[Mapping] = []
    reach = 0
    for each in ordered:
        start = max(each.start, reach)
        if start >= each.end:
            continue
        reach = each.end
        flags = (each.permissions + "????")[:4]
        result.append(
            Mapping(
                start, each.end, flags, each.offset + start - each.start,
                each.device, each.inode, each.path,
            )
        )  # fmt: skip
    return result


def is_whole(target: Target, facts: Facts) -> bool:
    """Whether all of the process's mappings are listed, and not just what a dump holds."""
    if facts.maps:
        # gcore's notes, which name the files that it left out, are behind all memory: lost first.
        is_bare_core = target.info.kind == "core" and not target.options.procfs
        return not is_bare_core or bool(target.threads)
    return isinstance(target, MinidumpTarget) and bool(target.dump.memory_info())


def _source(target: Target, found: Iterable[Mapping]) -> str:
    if target.info.kind == "live":
        return "/proc/PID/maps"
    if target.info.kind == "minidump":
        return "the dump's stream of /proc/PID/maps"
    if target.options.procfs:
        return "the kept /proc/PID/maps"
    return WITH_FILES if any(each.path.startswith("/") for each in found) else WITHOUT_FILES


def _bounds(mapping: Mapping) -> tuple[int, int]:
    return mapping.start, -mapping.end
