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
from unspool.formats.pe import Pe
from unspool.model import Module
from unspool.targets.pe_files import WantedPe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from unspool.formats.notes import FileMapping
    from unspool.memory import Memory
    from unspool.targets.loader_lists import LoaderLists
    from unspool.wine.loader_list import LoaderEntry

_PAGE, _SECTOR = 0x1000, 0x200
# Headers are a page; some have a picture or an installer's settings behind them.
_MAX_HEADERS = 1 << 16
_MAX_SECTIONS = 1024
_MAX_IMAGE = 1 << 31
_MAX_MODULES = 10_000
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

    `groups` are mappings of one file each that are no ELF image; `others` the starts of all
    other modules. `held` is memory that the target holds, `is_code` tells whether an address
    is mapped executable, None if that is not known. `word` is the size of the process's
    pointers in bytes; `peeked` are starts of regions where headers may lie, by address.
    """

    def __init__(
        self,
        groups: Iterable[Sequence[FileMapping]],
        others: Iterable[int],
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


def headers_at(memory: Memory, base: int) -> Pe | None:
    """The PE headers that lie at an address, if they are plausible ones of an image."""
    data = memory.read_available(base, _PAGE)
    if data[:2] != b"MZ" or base % _PAGE:
        return None
    try:
        pe = Pe(data, mapped=True)
        if pe.size_of_headers > len(data):
            data = memory.read_available(base, min(pe.size_of_headers, _MAX_HEADERS))
            pe = Pe(data, mapped=True)
    except FormatError:
        return None
    return pe if _is_plausible(pe) else None


def _is_plausible(pe: Pe) -> bool:
    if not 0 < pe.size_of_headers <= pe.size_of_image <= _MAX_IMAGE:
        return False
    sections = pe.sections
    return 0 < len(sections) <= _MAX_SECTIONS and all(
        section.rva < pe.size_of_image for section in sections
    )


def find_pe_modules(place: Place) -> list[MappedPe]:
    """The modules by address; none overlaps the next."""
    images = {entry.base: _Image(entry.base, entry) for entry in place.lists.entries.values()}
    for image in images.values():
        image.headers = headers_at(place.held, image.base)
    for image in _mapped_images(place):
        images.setdefault(image.base, image)
    ordered = sorted(images.values(), key=_base)
    taken = [(image.base, image.base + image.size) for image in ordered]
    ordered += _lying_images(place, taken)
    ordered.sort(key=_base)
    limits = sorted([*place.others, *(image.base for image in ordered)])
    found = []
    for image in ordered[:_MAX_MODULES]:
        at = bisect_right(limits, image.base)
        limit = limits[at] if at < len(limits) else 1 << 64
        found.append(_mapped_pe(place, image, limit))
    return found


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
        headers = headers_at(place.held, first.start)
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
    end = base + (headers.size_of_image + _PAGE - 1) & -_PAGE
    if any(mapping.start < end < mapping.end for mapping in group):
        return False
    has_code = False
    for section in headers.sections:
        start = base + section.rva
        if not section.raw_size:
            continue
        for mapping in group:
            if mapping.start <= start < mapping.end:
                offset = mapping.offset + start - mapping.start
                if offset != section.raw_offset & -_SECTOR:
                    return False
        if section.executable:
            if place.is_code(start) is False:
                return False
            has_code = True
    return has_code


def _lying_images(place: Place, taken: Sequence[tuple[int, int]]) -> list[_Image]:
    """Images in anonymous memory that nothing names: headers at the start of a region."""
    found: list[_Image] = []
    known = sorted([*taken, *((each, each + 1) for each in place.others)], reverse=True)
    reach = 0
    for base in place.peeked:
        while known and known[-1][0] <= base:
            reach = max(reach, known.pop()[1])
        if base < reach or base % _PAGE or place.held.read_available(base, 2) != b"MZ":
            continue
        if len(found) >= _MAX_MODULES:
            break
        headers = headers_at(place.held, base)
        # A file that was read into memory looks the same, but for its code.
        if headers is not None and any(
            section.executable and place.is_code(base + section.rva)
            for section in headers.sections
        ):
            found.append(_Image(base, headers=headers))
            reach = max(reach, base + headers.size_of_image)
    return found


def _mapped_pe(place: Place, image: _Image, limit: int) -> MappedPe:
    base, entry, headers = image.base, image.entry, image.headers
    mappings = _mappings_of(place, base, min(base + image.size, limit))
    path = mappings[0].path if mappings else ""
    end = min(base + image.size, limit)
    windows_path = entry.full_name if entry else ""
    name = os.path.basename(path.removesuffix(_DELETED)) or (entry.base_name if entry else "")
    module = Module(
        0, name or f"image at 0x{base:x}", base, end, kind="pe", path=path or windows_path or None,
        bias=base - headers.image_base if headers else None,
    )  # fmt: skip
    wanted = WantedPe(
        name, path, windows_path, base=base, headers=headers, mappings=mappings,
        is_program=base == place.lists.program, size=entry.size if entry else None,
        entry=entry.entry_point - base if entry and entry.entry_point else None,
        timestamp=entry.timestamp if entry else 0,
    )  # fmt: skip
    module.code_id = wanted.code_id
    return MappedPe(module, wanted, mappings, headers)


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


def _has_pe_name(path: str) -> bool:
    from unspool.targets.modules import may_be_pe

    return may_be_pe(path)


def _start(mapping: FileMapping) -> int:
    return mapping.start


def _base(image: _Image) -> int:
    return image.base
