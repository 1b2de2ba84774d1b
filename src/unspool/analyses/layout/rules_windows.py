"""The rules that Windows code relies on, and what Wine does to keep them."""

from __future__ import annotations

from unspool.analyses.layout.records import WINDOWS_KINDS, Kind, Rule, Verdict
from unspool.analyses.layout.reserve import tenant
from unspool.analyses.layout.rules import GIB, describe, signed, size_of, until
from unspool.analyses.layout.windows import DOS_HIGH, DOS_LOW, KUSER, RESERVED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.layout.records import Area, Layout
    from unspool.analyses.layout.windows import Windows
    from unspool.formats.pe import Pe
    from unspool.model import Module
    from unspool.targets.base import Target

# IMAGE_FILE_RELOCS_STRIPPED, IMAGE_FILE_LARGE_ADDRESS_AWARE (winnt.h).
_STRIPPED, _LARGE_ADDRESSES = 0x0001, 0x0020
_SYSTEM_HEAP = 0x80000000
# Lines of evidence of one rule.
_SHOWN = 100


def windows_rules(layout: Layout, target: Target, windows: Windows) -> Iterator[Rule]:
    """The rules for processes with Windows code, each with its verdict."""
    images = _images(target)
    # Where no PEB is at hand, the target may still say which module is the program.
    programs = windows.programs() or {
        target.modules[area.module].base
        for area in layout.areas
        if area.kind == Kind.PROGRAM and area.module is not None
    }
    program = next(
        (pe for module, pe in images if module.base in programs and pe is not None), None
    )
    yield _dos_area(layout, windows)
    yield _image_base(images, programs)
    yield from _dll_bases(images, programs)
    yield _user_data(layout)
    yield _high_addresses(layout, windows, program)
    if windows.is_wine:
        yield _shared_heap(layout, target)
        yield _preloader(layout, target)
        yield from _areas(layout, target, windows)


def large_address_aware(target: Target, windows: Windows) -> bool | None:
    """Whether a 32-bit program may use more than 2 GiB; None if it is not 32-bit, or unknown."""
    programs = windows.programs()
    for module, pe in _images(target):
        if module.base in programs and pe is not None and not pe.is_64:
            return bool(pe.characteristics & _LARGE_ADDRESSES)
    return None


def _images(target: Target) -> list[tuple[Module, Pe | None]]:
    found = []
    for module in target.modules:
        if module.kind == "pe":
            image = target.pe(module)
            found.append((module, (image.file or image.headers) if image is not None else None))
    return found


def _preferred(module: Module, pe: Pe) -> int | None:
    """The base that an image was linked for; None if it is not known.

    Loaders, Wine's too, write the real base into the headers of what they relocate: in memory
    these say that an image is where it should be, wherever it is. The file tells.
    """
    return None if pe.mapped and pe.image_base == module.base else pe.image_base


def _dos_area(layout: Layout, windows: Windows) -> Rule:
    inside = [area for area in until(layout.areas, DOS_HIGH) if area.end > DOS_LOW]
    if not windows.is_wine:
        return Rule("dos-area", Verdict.NOT_APPLICABLE, "Windows NT has no DOS area")
    foreign = [area for area in inside if tenant(area) == "foreign"]
    evidence = [describe(area) for area in (foreign or inside)[:_SHOWN]]
    if foreign:
        says = "what is not Windows' lies in the DOS area, 0x10000 to 0x110000"
        return Rule("dos-area", Verdict.WARNING, says, evidence)
    if sum(area.size for area in inside if area.kind == Kind.DOS) > (DOS_HIGH - DOS_LOW) // 2:
        return Rule("dos-area", Verdict.OK, "Wine holds the DOS area", evidence)
    says = "there is no DOS area: Wine has released it, or never held it" if not inside else (
        "the DOS area is given to Windows code as other memory is"
    )
    return Rule("dos-area", Verdict.NOTE, says, evidence)


def _image_base(images: list[tuple[Module, Pe | None]], programs: set[int]) -> Rule:
    for module, pe in images:
        if module.base not in programs:
            continue
        if pe is None:
            says = f"the headers of {module.name} are not at hand"
            return Rule("image-base", Verdict.UNKNOWN, says, [f"it is at 0x{module.base:x}"])
        preferred = _preferred(module, pe)
        if preferred is None:
            says = "whether the program was relocated is not known: its file is not at hand"
            where = f"{module.name} is at 0x{module.base:x}, as its headers in memory say"
            return Rule("image-base", Verdict.UNKNOWN, says, [where])
        evidence = [f"{module.name} is at 0x{module.base:x}, linked for 0x{preferred:x}"]
        if module.base == preferred:
            says = "the program is at its preferred base"
            return Rule("image-base", Verdict.OK, says, evidence)
        says = f"the program was relocated by {signed(module.base - preferred)}"
        if pe.characteristics & _STRIPPED:
            says += ", and has no relocations: its pointers are wrong"
            return Rule("image-base", Verdict.WARNING, says, evidence)
        return Rule("image-base", Verdict.NOTE, says, evidence)
    return Rule("image-base", Verdict.UNKNOWN, "no PEB that is at hand names the program's image")


def _dll_bases(images: list[tuple[Module, Pe | None]], programs: set[int]) -> Iterator[Rule]:
    moved, unknown, there = [], 0, 0
    for module, pe in images:
        if module.base in programs:
            continue
        preferred = _preferred(module, pe) if pe is not None else None
        if pe is None or preferred is None:
            unknown += 1
        elif preferred == module.base:
            there += 1
        else:
            distance = signed(module.base - preferred)
            builtin = pe.is_wine_builtin or pe.is_wine_placeholder
            whose = "builtin" if builtin else "native"
            moved.append(
                f"{module.name} ({whose}) at 0x{module.base:x}, linked for "
                f"0x{preferred:x}: {distance}"
            )
    says = f"{there} DLLs are at their preferred bases, {len(moved)} are relocated"
    if unknown:
        says += f"; of {unknown} it is not known, since their files are not at hand"
    verdict = Verdict.NOTE if moved else Verdict.UNKNOWN if unknown else Verdict.OK
    moved.sort(key=lambda each: "(native)" not in each)
    yield Rule("dll-bases", verdict, says, moved[:_SHOWN])


def _user_data(layout: Layout) -> Rule:
    page = next((area for area in layout.areas if area.start <= KUSER < area.end), None)
    if page is not None and page.kind == Kind.KUSER:
        says = "KUSER_SHARED_DATA is where it must be"
        return Rule("kuser-shared-data", Verdict.OK, says, [describe(page)])
    evidence = [describe(page)] if page else [f"no mapping is listed at 0x{KUSER:x}"]
    says = "KUSER_SHARED_DATA is not seen at 0x7ffe0000"
    return Rule("kuser-shared-data", Verdict.UNKNOWN, says, evidence)


def _high_addresses(layout: Layout, windows: Windows, program: Pe | None) -> Rule:
    """Memory that 32-bit code may get pointers to, above what it expects."""
    if program is None or program.is_64:
        what = "not known" if program is None else "64-bit"
        verdict = Verdict.UNKNOWN if program is None else Verdict.NOT_APPLICABLE
        return Rule("high-addresses", verdict, f"the program is {what}")
    aware = bool(program.characteristics & _LARGE_ADDRESSES)
    flag = f"its header {'has' if aware else 'lacks'} LARGE_ADDRESS_AWARE"
    limit = 2 * GIB if not aware else 3 * GIB if layout.pointer_size == 4 else 4 * GIB
    if limit == 4 * GIB:
        says = "the program may be given any address below 4 GiB, and no 32-bit code has others"
        return Rule("high-addresses", Verdict.OK, says, [flag])
    high = [area for area in layout.areas if limit <= area.start < 4 * GIB]
    above = [area for area in high if area.accessible]
    given = _given_out(high) if windows.is_wine else []
    of_windows = [area for area in above if area.kind in WINDOWS_KINDS or area in given]
    evidence = [flag, *(_whose(area, given) for area in (of_windows or above)[:_SHOWN])]
    if of_windows:
        says = f"Windows code has memory above {limit // GIB} GiB, which it may not expect"
        return Rule("high-addresses", Verdict.WARNING, says, evidence)
    nameless = [area for area in above if tenant(area) == "unknown"]
    if above:
        size = size_of(sum(area.size for area in above))
        says = f"above {limit // GIB} GiB are {size}, none of it known to be Windows code's"
        if nameless:
            size = size_of(sum(area.size for area in nameless))
            says += f"; of {size} without an owner's name it does not tell"
        return Rule("high-addresses", Verdict.OK, says, evidence)
    says = f"nothing is between {limit // GIB} and 4 GiB"
    return Rule("high-addresses", Verdict.OK, says, evidence)


def _given_out(areas: list[Area]) -> list[Area]:
    """Memory that lies within what Wine holds: nobody but Wine maps there, for Windows code."""
    return [
        area
        for before, area, after in zip(areas, areas[1:], areas[2:], strict=False)
        if tenant(area) == "unknown" and area.accessible
        and before.end == area.start and tenant(before) == "held"
        and area.end == after.start and tenant(after) == "held"
    ]  # fmt: skip


def _whose(area: Area, given: list[Area]) -> str:
    return describe(area) + (", in the midst of what Wine holds" if area in given else "")


def _shared_heap(layout: Layout, target: Target) -> Rule:
    """The heap that all Windows 9x programs shared, at SYSTEM_HEAP_BASE."""
    version = target.wine.version if target.wine is not None else None
    there = [
        area for area in layout.areas if area.start <= _SYSTEM_HEAP < area.end and area.accessible
    ]
    evidence = [describe(area) for area in there]
    if version is not None and version >= (7, 19):
        evidence.insert(0, f"Wine {'.'.join(map(str, version))} has none (gone since 7.19)")
        return Rule("shared-heap", Verdict.NOT_APPLICABLE, "there is no shared heap", evidence)
    if version is None:
        return Rule("shared-heap", Verdict.UNKNOWN, "Wine's version is not known", evidence)
    if there:
        return Rule("shared-heap", Verdict.OK, "memory is mapped at 0x80000000", evidence)
    return Rule("shared-heap", Verdict.NOTE, "nothing is mapped at 0x80000000")


def _preloader(layout: Layout, target: Target) -> Rule:
    found = [area for area in layout.areas if "preloader" in area.path]
    if found:
        evidence = [f"{found[0].path} is mapped at 0x{found[0].start:x}"]
        return Rule("preloader", Verdict.OK, "Wine's preloader started the process", evidence)
    libraries = [area for area in layout.areas if area.kind == Kind.LIBRARY]
    if not libraries:
        return Rule("preloader", Verdict.UNKNOWN, "no library is listed")
    says = "no preloader is mapped: libraries were there before Wine could reserve anything"
    low = [area for area in libraries if area.start < 2 * GIB]
    evidence = [f"in the Windows ranges: {describe(area)}" for area in low[:_SHOWN]]
    if low:
        return Rule("preloader", Verdict.WARNING, says, evidence)
    evidence = [f"the lowest library is {describe(libraries[0])}"]
    return Rule("preloader", Verdict.OK, f"{says}; none came in the way", evidence)


def _areas(layout: Layout, target: Target, windows: Windows) -> Iterator[Rule]:
    """Each range that the preloader must reserve: how much of it is held, used, free, lost."""
    own = target.arch.pointer_size
    ranges = [(name, start, end) for name, start, end, words in RESERVED if own in words]
    for name, start, end in [*ranges, *windows.asked]:
        sums: dict[str, int] = {}
        foreign: list[Area] = []
        for area in layout.areas:
            size = min(area.end, end) - max(area.start, start)
            if size > 0:
                whose = tenant(area)
                sums[whose] = sums.get(whose, 0) + size
                if whose == "foreign":
                    foreign.append(area)
        sums["free"] = end - start - sum(sums.values())
        parts = [f"{size_of(size)} {word}" for key, word in _WORDS if (size := sums.get(key, 0))]
        verdict = Verdict.WARNING if foreign else Verdict.OK
        if not foreign and not sums.get("held") and sums["free"]:
            verdict = Verdict.NOTE
        says = f"{name}, 0x{start:x} to 0x{end:x}: {', '.join(parts)}"
        yield Rule("reserved-area", verdict, says, [describe(area) for area in foreign[:_SHOWN]])


_WORDS = (
    ("held", "held without access"),
    ("windows", "used for Windows code"),
    ("unknown", "used, it does not tell by whom"),
    ("foreign", "used by what does not belong there"),
    ("free", "not held"),
)
