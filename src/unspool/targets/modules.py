"""From mapped files to modules: which mappings are one image, and whose.

The result keeps what is needed to find each module's file later: most modules of a big
process are in no stack, and their files are never opened.
"""

from __future__ import annotations

import os

from unspool.errors import FormatError
from unspool.formats.elf import ET_REL, PF_X, PT_LOAD, Elf
from unspool.image import Image
from unspool.model import Module
from unspool.targets.module_files import Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.formats.notes import FileMapping
    from unspool.memory import Memory

# Program headers and build id lie in the first page or two of an image.
_HEADERS = 1 << 16
# Images have a dozen segments. A hostile core shows one with a thousand in many places.
_MAX_SEGMENTS = 64
_DELETED = " (deleted)"
# Segments of odd images reach a little further than their headers say. Where these are not at
# hand: linkers put segments 2 MB apart, and a dynamic linker leaves no gap.
_FAR, _FAR_APART = 1 << 20, 64 << 20


class MappedModule:
    """A module and how to find its file. `headers` is its ELF header as the dump holds it."""

    __slots__ = ("headers", "mappings", "module", "wanted")

    @property
    def is_object(self) -> bool:
        """Whether it is an object file: what a runtime maps that has compiled code before.

        Such a file (Wasmtime's .cwasm) is backing for memory, and whose code it is the runtime's
        finder knows.
        """
        return self.headers is not None and self.headers.type == ET_REL

    def __init__(
        self, module: Module, wanted: Wanted, mappings: Sequence[FileMapping], headers: Elf | None
    ) -> None:
        self.module = module
        self.wanted = wanted
        self.mappings = mappings
        self.headers = headers


def headers_at(memory: Memory, address: int) -> Elf | None:
    """The ELF headers that lie at an address, as far as the memory is held."""
    window = memory.window(address)
    if window is None:
        return None
    start = address - window.base
    stop = min(start + _HEADERS, window.high - window.base)
    if window.buffer[start : start + 4] != b"\x7fELF":
        return None
    try:
        elf = Elf(memoryview(window.buffer)[start:stop])
    except FormatError:
        return None
    return elf if elf.phnum <= _MAX_SEGMENTS else None


def modules_from_mappings(
    mappings: Sequence[FileMapping],
    dump: Memory,
    machine: int,
    entry: int | None,
    is_elf: Callable[[Sequence[FileMapping]], bool],
) -> tuple[list[MappedModule], list[list[FileMapping]]]:
    """The ELF images among a process's file mappings, by address, and those that may be PE.

    `is_elf` is asked about mappings whose first bytes the dump does not hold.
    """
    result: list[MappedModule] = []
    windows: list[list[FileMapping]] = []
    for group, headers in _group_mappings(mappings, dump):
        first = group[0]
        if headers is not None:
            result.append(_mapped_module(len(result), group, headers, machine, entry))
        elif may_be_pe(first.path) or dump.read_available(first.start, 2) == b"MZ":
            windows.append(group)
        elif not first.path.startswith(_MEMORY) and is_elf(group):
            result.append(_mapped_module(len(result), group, headers, machine, entry))
        # Else it is a font, an archive of locales: mapped, but no code of a file.
    return result, windows


# What the kernel calls memory that can be shared: there is no file. An image that was loaded from
# there has its header; else its code was made there (by PHP in "/dev/zero", by .NET in a memfd).
_MEMORY = ("/dev/zero", "/memfd:", "/SYSV", "/anon_hugepage")

# What Windows calls files of code, and Wine the directories of its own.
_PE_NAMES = (
    ".dll", ".exe", ".drv", ".ocx", ".cpl", ".acm", ".ax", ".sys", ".scr", ".ds", ".com", ".tsp",
)  # fmt: skip
_PE_FOLDER = "-windows"


def may_be_pe(path: str) -> bool:
    """Whether a file is a PE image by its name."""
    path = path.removesuffix(_DELETED)
    return path.lower().endswith(_PE_NAMES) or path.rpartition("/")[0].endswith(_PE_FOLDER)


def _group_mappings(
    mappings: Sequence[FileMapping], dump: Memory
) -> list[tuple[list[FileMapping], Elf | None]]:
    """Mappings of one image together, in order of address, and its headers in the dump.

    Mappings of one path belong together up to the end of the image by its own program
    headers: a library can be loaded twice (dlmopen), and a small one maps its file's only
    page twice, once for code and once for data, so the offset alone tells nothing.

    What a program maps of an image once more, behind its end, is a group of its own: V8 maps
    the code of its builtins near the code that it makes (Node.js 20), and everything between
    the program and that place would be the program's.
    """
    groups: list[tuple[list[FileMapping], Elf | None]] = []
    open_groups: dict[str, tuple[list[FileMapping], int, int]] = {}
    for mapping in sorted(mappings, key=_start):
        known = open_groups.get(mapping.path)
        if known is not None and (
            mapping.start < known[1]
            or (mapping.offset and mapping.start <= max(known[1], known[0][-1].end) + known[2])
        ):
            known[0].append(mapping)
            continue
        headers = headers_at(dump, mapping.start) if mapping.offset == 0 else None
        # Without headers in the dump, the next mapping of offset 0 starts another image,
        # unless it follows at once.
        is_image = headers is not None and headers.type != ET_REL
        end = mapping.start + image_size(headers) if headers and is_image else mapping.end + 0x1000
        group = [mapping]
        groups.append((group, headers))
        open_groups[mapping.path] = (group, end, _FAR if is_image else _FAR_APART)
    return groups


def image_size(elf: Elf) -> int:
    """The span of an image's segments in memory, from the first one's page on, in bytes."""
    loads = [header for header in elf.program_headers() if header.type == PT_LOAD]
    if not loads:
        return 0
    low = min(header.vaddr for header in loads) & ~0xFFF
    return max(header.vaddr + header.memsz for header in loads) - low


def _mapped_module(
    index: int,
    group: Sequence[FileMapping],
    headers: Elf | None,
    machine: int,
    entry: int | None,
) -> MappedModule:
    first = group[0]
    base = first.start
    end = max(mapping.end for mapping in group)
    if headers is not None:
        end = max(end, base + min(image_size(headers), 1 << 40))
    build_id = headers.build_id() if headers else None
    bias = headers.load_bias(base) if headers else None
    is_program = entry is not None and base <= entry < end
    path = first.path
    name = os.path.basename(path.removesuffix(_DELETED)) or path
    module = Module(index, name, base, end, path=path, bias=bias, code_id=build_id)
    wanted = Wanted(
        path, machine, build_id=build_id, mappings=group, is_program=is_program,
        bias=bias, entry=entry if is_program else None,
    )  # fmt: skip
    return MappedModule(module, wanted, group, headers)


def note_code(module: Module, elf: Elf) -> None:
    """Says in the module where its first executable segment lies, by whole pages."""
    if module.bias is None or module.code_base is not None:
        return
    for header in elf.program_headers():
        if header.type == PT_LOAD and header.flags & PF_X:
            low = module.bias + (header.vaddr & ~0xFFF)
            high = module.bias + (header.vaddr + header.memsz + 0xFFF & ~0xFFF)
            if module.base <= low < high <= module.end + 0xFFF:
                module.code_base, module.code_end = low, high
            return


def vdso_module(index: int, dump: Memory, base: int) -> tuple[Module, Image] | None:
    """The kernel's vdso, which is whole in memory; None if the dump does not hold it."""
    region = dump.region(base)
    if region is None:
        return None
    data = dump.read_available(base, min(region.end - base, 1 << 20))
    try:
        elf = Elf(data)
    except FormatError:
        return None
    bias = elf.load_bias(base)
    module = Module(
        index, "[vdso]", base, base + len(data), kind="vdso", bias=bias, code_id=elf.build_id()
    )
    note_code(module, elf)
    return module, Image(dump, bias, file=elf)


def _start(mapping: FileMapping) -> int:
    return mapping.start
