"""The PE modules of a Wine process: from file mappings, the loader's list, headers in memory.

A mapping of a PE file need not be a module, and most of a module need not be such a mapping:
Wine maps those sections from the file whose offset there allows it, which with a file
alignment of 512 bytes are few, and copies the others into anonymous memory. What belongs to
a module is therefore what its size says, not what the mappings' names say.
"""

from __future__ import annotations

import os
from bisect import bisect_right

from unspool.errors import FormatError
from unspool.formats.codeview import find_codeview
from unspool.formats.pe import DEBUG, Pe
from unspool.model import Module
from unspool.targets.pe.files import WantedPe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from unspool.cursor import Buffer
    from unspool.formats.notes import FileMapping
    from unspool.memory import Memory
    from unspool.pe_image import PeImage
    from unspool.targets.pe.loader_lists import LoaderLists
    from unspool.wine.loader_list import LoaderEntry

_PAGE, _SECTOR = 0x1000, 0x200
# Headers are a page; some have a picture or an installer's settings behind them.
_MAX_HEADERS = 1 << 16
# Images have two dozen sections, and the largest programs load some hundreds of images. A
# hostile core shows one header in many places: all sections together are bounded as well.
_MAX_SECTIONS, _ALL_SECTIONS = 256, 300_000
_MAX_IMAGE = 1 << 31
_MAX_MODULES = 4000
_DELETED = " (deleted)"


class MappedPe:
    """A module and how to find its file. `headers` is its header as the dump holds it."""

    __slots__ = ("headers", "mappings", "module", "wanted")

    def __init__(
        self,
        module: Module,
        wanted: WantedPe,
        mappings: Sequence[FileMapping],
        headers: Pe | None,
    ) -> None:
        self.module = module
        self.wanted = wanted
        self.mappings = mappings
        self.headers = headers


class Place:
    """Where PE modules are looked for.

    `groups` are mappings of one file each that are no ELF image; `others` the ranges that ELF
    images are mapped to. `held` is memory that the target holds, `is_code` tells whether an
    address is mapped executable, None if that is not known. `word` is the size of the process's
    pointers in bytes; `peeked` are starts of regions where headers may lie, by address.
    """

    def __init__(
        self,
        groups: Iterable[Sequence[FileMapping]],
        others: Iterable[tuple[int, int]],
        held: Memory,
        lists: LoaderLists,
        word: int,
        is_code: Callable[[int], bool | None],
        peeked: Iterable[int],
    ) -> None:
        self.groups = groups
        self.peeked = peeked
        self.word = word
        self.held = held
        self.lists = lists
        self.is_code = is_code
        self.mappings = sorted((each for group in groups for each in group), key=_start)
        self.starts = [mapping.start for mapping in self.mappings]
        self.others = sorted(others)
        self._room = _ALL_SECTIONS

    def headers_at(self, base: int) -> Pe | None:
        """The PE headers that lie at an address, if they are plausible ones of an image."""
        if base % _PAGE or self.held.read_available(base, 2) != b"MZ" or self._room <= 0:
            return None
        try:
            pe = Pe(_held(self.held, base, _PAGE), mapped=True)
            if pe.size_of_headers > _PAGE:
                pe = Pe(_held(self.held, base, min(pe.size_of_headers, _MAX_HEADERS)), mapped=True)
        except FormatError:
            return None
        sections = pe.sections
        self._room -= len(sections)
        if not 0 < pe.size_of_headers <= pe.size_of_image <= _MAX_IMAGE:
            return None
        if not 0 < len(sections) <= _MAX_SECTIONS:
            return None
        return pe if all(section.rva < pe.size_of_image for section in sections) else None

    def is_elf(self, address: int) -> bool:
        """Whether an ELF image is mapped to an address."""
        at = bisect_right(self.others, (address, 1 << 64)) - 1
        return at >= 0 and address < self.others[at][1]


def _held(memory: Memory, base: int, size: int) -> Buffer:
    """The bytes at an address, not copied if that can be."""
    window = memory.window(base)
    if window is None or base + size > window.high:
        return memory.read_available(base, size)
    start = base - window.base
    return memoryview(window.buffer)[start : start + size]


def find_pe_modules(place: Place) -> list[MappedPe]:
    """The modules by address; none overlaps the next."""
    images: dict[int, _Image] = {}
    for entry in place.lists.entries.values():
        # An older Wine's own DLLs can be ELF files, which the loader lists as well.
        if len(images) < _MAX_MODULES and not place.is_elf(entry.base):
            images[entry.base] = _Image(entry.base, entry, place.headers_at(entry.base))
    for image in _mapped_images(place):
        if len(images) < _MAX_MODULES:
            images.setdefault(image.base, image)
    taken = [(image.base, image.base + image.size) for image in images.values()]
    for image in _lying_images(place, taken):
        if len(images) < _MAX_MODULES:
            images.setdefault(image.base, image)
    ordered = sorted(images.values(), key=_base)
    limits = sorted([*(low for low, _ in place.others), *images])
    found = []
    for image in ordered:
        at = bisect_right(limits, image.base)
        found.append(_mapped_pe(place, image, limits[at] if at < len(limits) else 1 << 64))
    if place.lists.program is None:
        _guess_program(found)
    return found


def _guess_program(found: Sequence[MappedPe]) -> None:
    """Marks the program without the PEB: the one image that is no DLL."""
    programs = [each for each in found if each.headers is not None and not each.headers.is_dll]
    if len(programs) == 1:
        programs[0].wanted.is_program = True


class _Image:
    """A module in the making. `group` are mappings that it seems to be made of."""

    __slots__ = ("base", "entry", "group", "headers")

    def __init__(
        self,
        base: int,
        entry: LoaderEntry | None = None,
        headers: Pe | None = None,
        group: Sequence[FileMapping] = (),
    ) -> None:
        self.base = base
        self.entry = entry
        self.headers = headers
        self.group = group

    @property
    def size(self) -> int:
        if self.headers is not None:
            return self.headers.size_of_image
        if self.entry is not None:
            return min(self.entry.size, _MAX_IMAGE)
        return max((mapping.end for mapping in self.group), default=self.base) - self.base


def _mapped_images(place: Place) -> Iterator[_Image]:
    """Images among file mappings that the loader does not list, or not yet."""
    for group in place.groups:
        first = group[0]
        if first.offset or first.start in place.lists.entries:
            continue
        headers = place.headers_at(first.start)
        if headers is not None:
            if _is_image(place, headers, first.start, group):
                yield _Image(first.start, headers=headers, group=group)
        elif _has_pe_name(first.path) and _may_be_image(place, group):
            yield _Image(first.start, group=group)


def _may_be_image(place: Place, group: Sequence[FileMapping]) -> bool:
    """Whether mappings of a PE file whose header is not held are an image.

    The headers of an image are never executable, and its code is. A file that is mapped as
    data has one mapping, executable where 32-bit Wine looks at a 64-bit DLL (wow64cpu.dll).
    """
    code = [place.is_code(mapping.start) for mapping in group]
    if code[0] or len(group) == 1:
        return False
    return any(code) or (None in code and not place.lists.complete)


def _is_image(place: Place, headers: Pe, base: int, group: Sequence[FileMapping]) -> bool:
    """Whether sections lie where an image has them, code among them, and not as in the file.

    Wine maps apisetschema.dll, which has no code, as data for its own use.
    """
    if headers.is_64 and place.word == 4:
        return False
    if place.is_code(base) and headers.section_alignment >= _PAGE:
        return False
    end = base + (headers.size_of_image + _PAGE - 1) & -_PAGE
    if any(mapping.start < end < mapping.end for mapping in group):
        return False
    starts = [mapping.start for mapping in group]
    has_code = False
    for section in headers.sections:
        start = base + section.rva
        if not section.raw_size:
            continue
        at = bisect_right(starts, start) - 1
        if at >= 0 and start < group[at].end:
            offset = group[at].offset + start - group[at].start
            if offset != section.raw_offset & -_SECTOR:
                return False
        if section.executable:
            if place.is_code(start) is False:
                return False
            has_code = True
    return has_code


def _lying_images(place: Place, taken: Sequence[tuple[int, int]]) -> Iterator[_Image]:
    """Images in anonymous memory that nothing names: headers at the start of a region."""
    known = sorted([*taken, *place.others], reverse=True)
    files = set(place.starts)
    reach = 0
    for base in place.peeked:
        while known and known[-1][0] <= base:
            reach = max(reach, known.pop()[1])
        headers = place.headers_at(base) if base >= reach and base not in files else None
        # A file that was read into memory looks the same, but for its code.
        if headers is not None and any(
            section.executable and place.is_code(base + section.rva)
            for section in headers.sections
        ):
            yield _Image(base, headers=headers)
            reach = base + headers.size_of_image


def _mapped_pe(place: Place, image: _Image, limit: int) -> MappedPe:
    base, entry, headers = image.base, image.entry, image.headers
    mappings = _mappings_of(place, base, min(base + image.size, limit))
    path = mappings[0].path if mappings else ""
    end = min(base + image.size, limit)
    windows_path = entry.full_name if entry else ""
    name = os.path.basename(path.removesuffix(_DELETED)) or (entry.base_name if entry else "")
    module = Module(
        0, name or f"image at 0x{base:x}", base, end, kind="pe", path=path or windows_path or None,
        bias=_bias(base, headers),
    )  # fmt: skip
    wanted = WantedPe(
        name, path, windows_path, base=base, headers=headers, mappings=mappings,
        is_program=base == place.lists.program, size=entry.size if entry else None,
        entry=entry.entry_point - base if entry and entry.entry_point else None,
        timestamp=entry.timestamp if entry else 0,
    )  # fmt: skip
    module.code_id = wanted.code_id
    return MappedPe(module, wanted, mappings, headers)


def _bias(base: int, headers: Pe | None) -> int | None:
    """The bias by headers in memory.

    Windows, and Wine since 9, write the real base there: then the file alone has the preferred
    one.
    """
    if headers is None or headers.image_base == base:
        return None
    return base - headers.image_base


def _mappings_of(place: Place, base: int, end: int) -> list[FileMapping]:
    """The mappings of one file inside an image: of the first file that is there."""
    found: list[FileMapping] = []
    at = bisect_right(place.starts, base - 1)
    while at < len(place.starts) and place.starts[at] < end:
        mapping = place.mappings[at]
        if not found or mapping.path == found[0].path:
            found.append(mapping)
        at += 1
    return found


def note_pdb(module: Module, image: PeImage) -> None:
    """Says in the module which PDB file it has, by its file, else by its debug directory."""

    def read(rva: int, size: int) -> bytes:
        return image.memory.read_available(image.base + rva, size)

    if image.file is not None:
        found = image.file.codeview()
    else:
        directory = image.headers.directory(DEBUG)
        found = find_codeview(read, directory) if directory else None
    if found is not None:
        module.debug_id, module.pdb_name = found.debug_id, found.name or None


def _has_pe_name(path: str) -> bool:
    from unspool.targets.modules import may_be_pe

    return may_be_pe(path)


def _start(mapping: FileMapping) -> int:
    return mapping.start


def _base(image: _Image) -> int:
    return image.base
