"""Executable memory between the segments of a library that is not the library's.

Linkers for aarch64 align segments to 64 kB, and leave holes of as much between them. Where the
kernel or the dynamic linker has left these unmapped, other memory is mapped there: code that a
program makes.
"""

from __future__ import annotations

from unspool.formats.elf import PT_LOAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Region
    from unspool.targets.modules import MappedModule

# A segment's last page is the segment's. Where pages have 64 kB, segments end with theirs.
_PAGE = 4096


def is_hole(region: Region, entry: MappedModule) -> bool:
    """Whether memory that is mapped from no file, within a module, is not the module's.

    What any segment of the module has is the module's, whatever is mapped there: programs move
    their code to large pages. So is everything where the headers are not at hand.
    """
    headers = entry.headers
    if headers is None:
        return False
    bias = headers.load_bias(entry.module.base)
    for each in headers.program_headers():
        low = (bias + each.vaddr) // _PAGE * _PAGE
        high = -(-(bias + each.vaddr + each.memsz) // _PAGE) * _PAGE
        if each.type == PT_LOAD and low < region.end and region.start < high:
            return False
    return True
