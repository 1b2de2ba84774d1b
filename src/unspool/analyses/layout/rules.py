"""The rules that any address space is checked against. Those of Windows are in `rules_windows`."""

from __future__ import annotations

from unspool.analyses.layout.records import Block, Hole, Kind, Rule, Verdict
from unspool.formats.elf import ET_EXEC, PT_LOAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unspool.analyses.layout.records import Area, Layout
    from unspool.targets.base import Target

GIB = 1 << 30
_GRANULE = 0x10000
_LARGE_DLL = 64 << 20
_DT_GNU_PRELINKED = 0x6FFFFDF5
# Lines of evidence of one rule.
_SHOWN = 100
# Rules that conclude from what is not mapped.
_OF_ALL = {
    "null-page", "low-64k", "vm-split", "largest-free-block", "stack-rlimit", "stack-guards",
    "mmap-direction", "overcommit", "map-count", "dos-area", "high-addresses", "shared-heap",
    "preloader", "reserved-area",
}
_STACKS = (Kind.STACK, Kind.WINDOWS_STACK, Kind.WINE_STACK)


# --- the lowest addresses ----------------------------------------------------------------------


def null_page(layout: Layout) -> Rule:
    first = layout.areas[0] if layout.areas else None
    evidence = []
    if layout.system is not None and layout.system.min_address is not None:
        evidence.append(f"vm.mmap_min_addr is {layout.system.min_address}")
    if layout.system is not None and layout.system.has_page_zero:
        evidence.append("the process asked for MMAP_PAGE_ZERO (personality)")
    if first is not None and first.start < 0x1000:
        evidence.insert(0, describe(first))
        if first.accessible:
            says = "memory is mapped at 0: null pointers lead into it, and crash nothing"
            return Rule("null-page", Verdict.WARNING, says, evidence)
        return Rule("null-page", Verdict.OK, "the page at 0 is held without access", evidence)
    if first is not None:
        evidence.insert(0, f"the lowest mapping is at 0x{first.start:x}")
    return Rule("null-page", Verdict.OK, "nothing is mapped at 0", evidence)


def low_memory(layout: Layout) -> Rule:
    low = [area for area in until(layout.areas, 0x10000) if area.accessible]
    if low:
        says = "memory is mapped in the low 64 KiB, where Windows code expects none"
        verdict = Verdict.WARNING if layout.is_windows else Verdict.NOTE
        return Rule("low-64k", verdict, says, [describe(area) for area in low[:_SHOWN]])
    return Rule("low-64k", Verdict.OK, "nothing can be accessed in the low 64 KiB")


# --- room --------------------------------------------------------------------------------------


def holes_of(areas: Sequence[Area], top: int) -> list[Hole]:
    """Where nothing is mapped, up to `top`."""
    holes = []
    at = 0
    for area in areas:
        if area.start >= top:
            break
        if at < area.start:
            holes.append(Hole(at, area.start))
        at = area.end
    if at < top:
        holes.append(Hole(at, top))
    return holes


def blocks_of(areas: Sequence[Area], limits: Sequence[int]) -> list[Block]:
    """The largest free block below each limit, without and with what is held only."""
    found = []
    for limit in limits:
        free = _largest(areas, limit, lambda area: False)
        held = _largest(areas, limit, is_held)
        found.append(Block(limit, *free, *held))
    return found


def is_held(area: Area) -> bool:
    """Whether an area keeps others away and is not used: Wine gives it out when it is needed."""
    return not area.accessible and area.kind in (Kind.RESERVED, Kind.DOS)


def _largest(
    areas: Sequence[Area], limit: int, is_free: Callable[[Area], bool]
) -> tuple[int, int]:
    best = (0, 0)
    at = _GRANULE
    for start, end in [*((a.start, a.end) for a in areas if not is_free(a)), (limit, limit)]:
        low = -(-at // _GRANULE) * _GRANULE
        high = min(start, limit) & -_GRANULE
        if high - low > best[1]:
            best = low, high - low
        at = max(at, end)
        if at >= limit:
            break
    return best


def room(layout: Layout) -> Rule:
    if not layout.blocks:
        return Rule("largest-free-block", Verdict.UNKNOWN, "what is free is not known")
    evidence = []
    narrow = False
    for block in layout.blocks:
        free = f"{size_of(block.size)} free at 0x{block.start:x}" if block.size else "nothing free"
        text = f"below {block.limit // GIB} GiB: {free}"
        if layout.is_windows and block.held_size > block.size:
            text += (
                f"; {size_of(block.held_size)} at 0x{block.held_start:x} with what is held "
                "without access, which Wine gives to Windows code"
            )
        evidence.append(text)
        room = max(block.size, block.held_size if layout.is_windows else 0)
        narrow |= room < _LARGE_DLL
    if layout.pointer_size == 8 and not layout.is_windows:
        says = "a 64-bit program is not bound to addresses below 4 GiB"
        return Rule("largest-free-block", Verdict.NOT_APPLICABLE, says)
    if narrow:
        says = "a DLL of 64 MiB cannot be loaded below every limit"
        return Rule("largest-free-block", Verdict.WARNING, says, evidence)
    says = "a DLL of 64 MiB can still be loaded"
    return Rule("largest-free-block", Verdict.OK, says, evidence)


def guards(layout: Layout) -> Rule:
    areas = layout.areas
    bare = []
    count = 0
    for index, area in enumerate(areas):
        if area.kind not in _STACKS or area.path == "[stack]":
            continue
        if area.name.startswith("signal stack"):
            continue
        count += 1
        below = areas[index - 1] if index else None
        touches = below is not None and below.end == area.start and below.accessible
        if below is not None and touches and below.name != area.name:
            bare.append(f"{describe(area)}: right below is {describe(below)}")
    if not count:
        return Rule("stack-guards", Verdict.NOT_APPLICABLE, "no stack but the first one is known")
    if bare:
        says = f"{len(bare):,} of {count:,} stacks can overflow into other memory unnoticed"
        return Rule("stack-guards", Verdict.NOTE, says, bare[:_SHOWN])
    says = f"below each of {count:,} stacks is a guard or nothing"
    return Rule("stack-guards", Verdict.OK, says)


# --- hazards -----------------------------------------------------------------------------------


def randomisation(layout: Layout, target: Target) -> Rule:
    system = layout.system
    evidence = []
    if system is not None and system.randomize is not None:
        evidence.append(f"kernel.randomize_va_space is {system.randomize}")
    if system is not None and (system.personality or 0) & 0x40000:
        evidence.append("the process has ADDR_NO_RANDOMIZE (personality)")
    fixed = next(
        (
            f"{module.name} is at 0x{module.base:x}, where programs are without randomisation"
            for module in target.modules
            if module.base in (0x555555554000, 0x56555000) and module.kind == "elf"
        ),
        None,
    )
    if fixed:
        evidence.append(fixed)
    random = system.is_random if system is not None else None
    if random is None and fixed is None:
        says = "a dump does not say whether addresses were random"
        return Rule("randomisation", Verdict.UNKNOWN, says, evidence)
    if random is False or fixed is not None:
        return Rule("randomisation", Verdict.OK, "addresses are the same at each start", evidence)
    if layout.pointer_size == 4:
        says = "libraries land elsewhere at each start: what fits today may not fit tomorrow"
        return Rule("randomisation", Verdict.NOTE, says, evidence)
    return Rule("randomisation", Verdict.OK, "addresses are random, in a wide space", evidence)


def prelink(target: Target) -> Rule:
    """Prelinked libraries, and programs, were laid out for fixed addresses."""
    moved, fixed, unknown = [], [], 0
    for module in target.modules:
        if module.kind != "elf" or module.name.startswith(("[", "linux-")):
            continue
        elf = target.elf(module)
        if elf is None or module.bias is None:
            unknown += 1
            continue
        first = min((h.vaddr for h in elf.program_headers() if h.type == PT_LOAD), default=0)
        if elf.type == ET_EXEC or first == 0:
            continue
        where = f"{module.name}: laid out for 0x{first:x}"
        if module.bias:
            moved.append(f"{where}, moved by {signed(module.bias)}")
        else:
            fixed.append(f"{where}, and there")
    if moved or fixed:
        says = f"{len(moved) + len(fixed)} prelinked, {len(moved)} of them moved"
        verdict = Verdict.NOTE if moved else Verdict.OK
        return Rule("prelink", verdict, says, [*moved, *fixed][:_SHOWN])
    if unknown:
        says = f"none that is at hand is prelinked; the files of {unknown} modules are not"
        return Rule("prelink", Verdict.UNKNOWN, says)
    return Rule("prelink", Verdict.OK, "no library was laid out for a fixed address (prelink)")


def overcommit(layout: Layout) -> Rule:
    system = layout.system
    writable = sum(
        area.size
        for area in layout.areas
        if area.permissions[1] == "w" and area.permissions[3] != "s"
    )
    held = sum(area.size for area in layout.areas if not area.accessible)
    evidence = [f"{size_of(writable)} are private and writable, {size_of(held)} without access"]
    if system is None or system.overcommit is None:
        says = "a dump does not say how the system counts memory"
        return Rule("overcommit", Verdict.UNKNOWN, says, evidence)
    evidence.append(f"vm.overcommit_memory is {system.overcommit}")
    if system.overcommit == 2 and system.commit_limit is not None:
        left = system.commit_limit - (system.committed or 0)
        evidence.append(f"{size_of(max(left, 0))} are left of {size_of(system.commit_limit)}")
        if left < GIB:
            says = "the system counts strictly, and has little left: allocations can fail"
            return Rule("overcommit", Verdict.WARNING, says, evidence)
        says = "the system counts strictly: what is without access is not counted"
        return Rule("overcommit", Verdict.NOTE, says, evidence)
    says = "the system promises more memory than it has: reservations cost nothing"
    return Rule("overcommit", Verdict.OK, says, evidence)


def map_count(layout: Layout) -> Rule:
    count = layout.mappings
    limit = layout.system.max_maps if layout.system is not None else None
    if limit is None:
        says = "how many mappings the system allows is not known"
        return Rule("map-count", Verdict.UNKNOWN, says, [f"there are {count:,}"])
    evidence = [f"there are {count:,}, vm.max_map_count is {limit:,}"]
    if count > limit * 9 // 10:
        says = "hardly any mapping can be added: mmap will fail"
        return Rule("map-count", Verdict.WARNING, says, evidence)
    return Rule("map-count", Verdict.OK, "far from the limit of mappings", evidence)


def withdraw(found: Sequence[Rule]) -> None:
    """Takes back what only a list of all mappings can say. What is there, is there."""
    for rule in found:
        if rule.id in _OF_ALL and rule.verdict not in (Verdict.WARNING, Verdict.UNKNOWN):
            rule.verdict = Verdict.UNKNOWN
            rule.says = "the target does not list all mappings"
            rule.evidence = ()


# --- words -------------------------------------------------------------------------------------


def describe(area: Area) -> str:
    """An area in a line: its bounds, what it is."""
    return f"0x{area.start:x}-0x{area.end:x} {area.permissions} {area.name}"


def until(areas: Sequence[Area], end: int) -> Iterator[Area]:
    """The areas that begin below an address."""
    for area in areas:
        if area.start >= end:
            return
        yield area


def signed(distance: int) -> str:
    """A distance in hexadecimal, with its sign."""
    return f"{'-' if distance < 0 else '+'}0x{abs(distance):x}"


def size_of(size: int) -> str:
    """Bytes for people: 12 KiB, 3.4 MiB."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    shown = f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
    return f"{shown} {units[0]}"
