"""DWARF call frame information of 32-bit PE images, as MinGW writes it: .eh_frame.

Nothing in an image's headers leads to it. Its name has nine characters, one more than a
section header holds: GNU ld writes "/4", an offset in a string table that only the file has,
or, like LLD, cuts the name short. In memory alone it is known by what it looks like.

The registers have the numbers of the System V ABI, with and without -g, as measured on GCC
12, clang 14 and Wine 8.0; the swapped esp and ebp of Darwin were never used here. Pointers are
relative to their place (GCC) or absolute (clang), and then in memory a relocated base counts.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.cfi import CfiSection
from unspool.formats.pe import MACHINE_I386

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer
    from unspool.formats.pe import Pe, Section
    from unspool.memory import Memory

# No more is read of a section; that of Wine's largest DLL has 350 kB.
_MAX_SECTION = 64 << 20
_NAMES = (".eh_frame", ".eh_fram")
_UNINITIALISED = 0x80
# As many records are looked at to tell whether a section is one of CFI.
_TELLING = 60
_EIP = 8


def find_eh_frame(memory: Memory, base: int, headers: Pe, file: Pe | None) -> CfiSection | None:
    """The .eh_frame of the image at `base`, from memory where it holds it whole, or its file.

    File addresses count from the image base of `headers`.
    """
    if headers.machine != MACHINE_I386:
        return None
    for pe in (file, headers):
        for name in _NAMES:
            section = pe.section(name) if pe is not None else None
            if section is not None:
                return _open(memory, base, headers, file, section)
    code = [
        (headers.image_base + each.rva, headers.image_base + each.rva + _size(each))
        for each in headers.sections
        if each.executable
    ]
    for section in sorted(headers.sections, key=_has_long_name, reverse=True):
        if section.executable or section.characteristics & _UNINITIALISED:
            continue
        found = _open(memory, base, headers, file, section)
        if found is not None and _is_cfi(found, code):
            return found
    return None


def find_debug_frame(headers: Pe, file: Pe | None) -> CfiSection | None:
    """The .debug_frame of the file, which is not mapped.

    It is there instead of .eh_frame for code compiled with -fno-asynchronous-unwind-tables -g.
    """
    if file is None or file.machine != MACHINE_I386:
        return None
    section = file.section(".debug_frame")
    located = file.located(section.rva) if section is not None else None
    if section is None or located is None:
        return None
    return CfiSection(
        *located, headers.image_base + section.rva, is_eh=False, address_size=4,
        relocated=file.image_base - headers.image_base,
    )  # fmt: skip


def _open(
    memory: Memory, base: int, headers: Pe, file: Pe | None, section: Section
) -> CfiSection | None:
    address, size = base + section.rva, min(_size(section), _MAX_SECTION)
    buffer: Buffer
    relocated = base - headers.image_base
    window = memory.window(address)
    located = file.located(section.rva) if file is not None else None
    if window is not None and address + size <= window.high:
        buffer, start = window.buffer, address - window.base
        end = start + size
    elif file is not None and located is not None:
        buffer, start, end = located
        end = min(end, start + size)
        relocated = file.image_base - headers.image_base
    else:
        buffer, start = memory.read_available(address, size), 0
        end = len(buffer)
    if start >= end:
        return None
    return CfiSection(
        buffer, start, end, headers.image_base + section.rva,
        is_eh=True, address_size=4, relocated=relocated,
    )  # fmt: skip


def _is_cfi(section: CfiSection, code: list[tuple[int, int]]) -> bool:
    """Whether the first records are a chain of CIEs and FDEs, most of them of the image's code.

    Not all: the FDE of a function that the linker dropped points anywhere.
    """
    offset, ours, others = section.start, 0, 0
    try:
        for _ in range(_TELLING):
            record = section.record(offset) if offset + 4 <= section.end else None
            if record is None:
                break
            if record[3]:
                if section.cie_at(offset).ra_column != _EIP:
                    return False
            else:
                fde = section.fde_at(offset)
                assert fde is not None
                inside = any(low <= fde.start < fde.end <= high for low, high in code)
                ours, others = ours + inside, others + (not inside)
            offset = record[1]
    except FormatError:
        return False
    return ours > others


def _size(section: Section) -> int:
    return section.virtual_size or section.raw_size


def _has_long_name(section: Section) -> bool:
    return section.name.startswith("/")
