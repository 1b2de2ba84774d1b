"""Puts a layout together: mappings, names by layers, holes, rules, findings."""

from __future__ import annotations

from unspool.analyses.layout import (
    images,
    malloc,
    musl,
    names,
    reserve,
    rules,
    rules_kernel,
    runtimes,
    sanitizers,
    stacks,
)
from unspool.analyses.layout.allocators import allocator_rules
from unspool.analyses.layout.mappings import WITHOUT_FILES, is_whole, mappings_of
from unspool.analyses.layout.paint import Label, paint
from unspool.analyses.layout.records import Kind, Layout, Verdict
from unspool.analyses.layout.rules_windows import large_address_aware, windows_rules
from unspool.analyses.layout.system import system_of
from unspool.analyses.layout.windows import RESERVED, Windows
from unspool.formats.notes import AT_BASE, AT_ENTRY, AT_SYSINFO_EHDR, parse_auxv
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.analyses.layout.records import Plan, Rule
    from unspool.memory import Memory
    from unspool.model import Stack
    from unspool.targets.base import Target
    from unspool.targets.live.procfs import Mapping

_GIB = 1 << 30
_MAX_VVAR = 0x6000
# Lines of a finding; the rule has all.
_MOST_DETAILS = 12


def layout(target: Target, walked: Iterable[Stack]) -> Layout:
    """The target's address space. `walked` are its threads' stacks.

    Of a running process, what names heaps is read while it runs, after its mappings.
    """
    facts = target.facts()
    found, source = mappings_of(target, facts)
    memory = target.memory_now()
    labels = stacks.thread_labels(target, facts.thread_names)
    windows = Windows(target, memory, facts.environ or b"")
    auxv = parse_auxv(target.arch, facts.auxv or b"")
    layers = _layers(target, memory, found, list(walked), labels, windows, auxv)
    name_of = names.label_of_unnamed if source == WITHOUT_FILES else names.label_of
    result = Layout(
        target.info, target.arch.pointer_size, paint(found, layers, name_of),
        source=source, is_windows=windows.is_wine or target.info.os == "windows",
        system=system_of(target), labels=labels, mappings=len(found),
    )  # fmt: skip
    result.top = _top(result)
    whole = bool(found) and is_whole(target, facts)
    _judge(result, target, windows, whole, auxv.get(AT_BASE, 0))
    result.own_findings = list(_findings(result, whole))
    result.findings = [*target.findings, *result.own_findings]
    return result


def _layers(
    target: Target,
    memory: Memory,
    found: Sequence[Mapping],
    walked: list[Stack],
    labels: dict[int, str],
    windows: Windows,
    auxv: dict[int, int],
) -> list[Iterable[Label]]:
    """Names of parts of the address space; where two know a part, the earlier one counts."""
    finder = stacks.Finder(found)
    on_stacks = list(stacks.mapped_stacks(walked, finder, labels, target.space))
    known = target.space.known_stacks
    _find_generated(target, found)
    parts, wholes = images.images(target, windows.programs() | _program(target, auxv))
    word = target.arch.pointer_size
    return [
        windows.structures(labels),
        stacks.known_stacks(known, labels),
        parts,
        wholes,
        stacks.signal_stacks(walked, finder, labels),
        malloc.heaps(target, memory, finder),
        musl.heaps(target, memory),
        runtimes.heaps(target, found, on_stacks),
        sanitizers.memory(target, memory, finder),
        on_stacks,
        windows.heap_labels(found),
        stacks.guards(on_stacks, finder),
        _large_blocks(target, found, on_stacks),
        stacks.thread_data(target.threads, memory, finder, word, labels),
        windows.blocks(labels),
        windows.reserved(),
        _vvar(auxv.get(AT_SYSINFO_EHDR, 0), finder),
    ]


def _judge(
    result: Layout, target: Target, windows: Windows, whole: bool, interpreter: int
) -> None:
    """Holes, rules and what to reserve; of mappings that are not `whole` nothing is concluded."""
    if whole:
        result.holes = rules.holes_of(result.areas, result.top)
        result.blocks = rules.blocks_of(result.areas, [2 * _GIB, 3 * _GIB, 4 * _GIB])
    result.rules = [*_native_rules(result, target, interpreter), *allocator_rules(result, target)]
    if result.is_windows:
        result.rules += windows_rules(result, target, windows)
    if whole:
        result.plan = _reserve_plan(result, target, windows)
    else:
        rules.withdraw(result.rules)


def _native_rules(layout: Layout, target: Target, interpreter: int) -> Iterator[Rule]:
    """The rules for every process, each with its verdict; those of Linux for processes on Linux.

    `interpreter` is where the kernel put the dynamic linker, 0 if there is none.
    """
    is_linux = target.info.os == "linux"
    yield rules.null_page(layout)
    yield rules.low_memory(layout)
    yield rules_kernel.top(layout)
    if is_linux:
        yield rules_kernel.direction(layout, interpreter)
    yield rules.room(layout)
    if is_linux:
        yield rules_kernel.stack_room(layout)
    yield rules.guards(layout)
    if is_linux:
        yield rules.randomisation(layout, target)
        yield rules.prelink(target)
        yield rules.overcommit(layout)
        yield rules.map_count(layout)


def _find_generated(target: Target, mappings: Sequence[Mapping]) -> None:
    """Has the target look for code that was made at run time, if there is such memory.

    What it finds is added to the target's modules.
    """
    for mapping in mappings:
        executable = mapping.permissions[2] == "x" and not mapping.path.startswith("[")
        if executable and target.space.module_at(mapping.start) is None:
            _ = target.generated
            return


def _reserve_plan(layout: Layout, target: Target, windows: Windows) -> Plan:
    """What to reserve to keep foreign mappings out of the Windows ranges. See `reserve`."""
    word = target.arch.pointer_size
    ranges = [(name, start, end) for name, start, end, words in RESERVED if word in words]
    if word == 4:
        aware = large_address_aware(target, windows)
        limit = 3 * _GIB if aware else 2 * _GIB
        low = max(limit, ranges[-1][2])
        ranges.append(("above what Windows code may use", low, layout.top & -reserve.GRANULARITY))
    return reserve.plan(layout.areas, ranges)


def _program(target: Target, auxv: dict[int, int]) -> set[int]:
    """The base of the ELF program, by its entry point, else by its path."""
    entry = auxv.get(AT_ENTRY)
    module = target.space.module_at(entry) if entry else None
    if module is not None:
        return {module.base}
    path = target.info.executable
    return {each.base for each in target.modules if path and each.path == path}


def _large_blocks(
    target: Target, mappings: Sequence[Mapping], on_stacks: Sequence[Label]
) -> Iterator[Label]:
    taken = {label.start for label in on_stacks}
    memory, word = target.memory_now(), target.arch.pointer_size
    if target.info.os != "linux":
        return
    for mapping in mappings:
        if mapping.start not in taken:
            yield from malloc.large_blocks(memory, mapping, word)


def _vvar(vdso: int, finder: stacks.Finder) -> Iterator[Label]:
    """The data of the vdso: cores do not name it, it lies right below."""
    mapping = finder.at(vdso) if vdso else None
    for _ in range(2):
        mapping = finder.below(mapping) if mapping is not None else None
        if mapping is None or mapping.path or mapping.permissions[1] == "w":
            return
        if mapping.end - mapping.start > _MAX_VVAR:
            return
        yield Label(
            mapping.start, mapping.end, Kind.KERNEL, "data of the vdso (vvar)",
            f"it lies right below the vdso at 0x{vdso:x}, and cannot be written to",
        )  # fmt: skip


def _top(layout: Layout) -> int:
    """The end of what the process can map: of its kind of address space, by what it has mapped."""
    highest = max((area.end for area in layout.areas if area.end <= 1 << 63), default=0)
    if layout.pointer_size == 8:
        # Kernels of arm64 are built for one of several sizes; 39 and 48 bits are common.
        sizes = (39, 42, 47, 48, 52) if layout.target.arch == "aarch64" else (47, 56)
        return next((1 << bits for bits in sizes if highest <= 1 << bits), 1 << 64)
    # A 64-bit kernel leaves the last two pages out (IA32_PAGE_OFFSET).
    return 3 * _GIB if highest <= 3 * _GIB else max(4 * _GIB - 0x2000, highest)


def _findings(layout: Layout, whole: bool) -> Iterator[Finding]:
    if not whole:
        yield Finding(
            "mappings_missing", "the target does not list the process's mappings",
            detail="only what the dump holds is shown: the rest need not be free",
            incomplete=True,
        )  # fmt: skip
    for rule in layout.rules:
        if rule.verdict == Verdict.WARNING:
            more = len(rule.evidence) - _MOST_DETAILS
            lines = [*rule.evidence[:_MOST_DETAILS], *([f"and {more:,} more"] if more > 0 else ())]
            detail = "\n".join(lines) or None
            yield Finding("layout", f"{rule.id}: {rule.says}", detail=detail)
