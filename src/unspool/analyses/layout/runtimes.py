"""Heaps of runtimes that take their memory from the kernel themselves: Go's and Java's."""

from __future__ import annotations

from unspool.analyses.go import is_go
from unspool.analyses.layout.mappings import is_held
from unspool.analyses.layout.paint import Label
from unspool.analyses.layout.records import Kind
from unspool.errors import FormatError
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.model import Module
    from unspool.targets.base import Target
    from unspool.targets.live.procfs import Mapping

# Where Go asks for its arenas on 64-bit Linux: 0xc0 << 32, and that in each further TiB
# (runtime/malloc.go, mallocinit).
_GO_FIRST, _GO_STEP = 0xC0 << 32, 1 << 40
_JVM = "libjvm.so"
_JVM_CLASSES = frozenset(("CollectedHeap", "MemRegion", "Universe"))
_WORD = 8


def heaps(target: Target, mappings: Sequence[Mapping], stacks: Sequence[Label]) -> Iterator[Label]:
    """The heaps of what the target is made with, with what is reserved for them."""
    if target.arch.pointer_size != _WORD:
        return
    modules = target.space.modules
    if is_go(target):
        yield from _go(mappings, stacks)
    for module in modules:
        if module.name == _JVM:
            yield from _java(target, module)


def _go(mappings: Sequence[Mapping], stacks: Iterable[Label]) -> Iterator[Label]:
    start = end = 0
    for mapping in [*mappings, None]:
        if mapping is not None and start and mapping.start == end and not mapping.path:
            end = mapping.end
            continue
        if start:
            yield _go_heap(start, end, stacks)
        start = 0
        if mapping is not None and not mapping.path and mapping.start % _GO_STEP == _GO_FIRST:
            start, end = mapping.start, mapping.end


def _go_heap(start: int, end: int, stacks: Iterable[Label]) -> Label:
    inside = [label for label in stacks if start <= label.start < end]
    of = f", with the {inside[0].name}" if inside else ""
    evidence = f"Go asks for its heap at 0x{start:x}, goroutines' stacks are in it"
    if inside:
        evidence += f": {inside[0].evidence}"
    threads = inside[0].threads if inside else ()
    name = f"Go's heap{of}"
    return Label(start, end, Kind.HEAP, name, evidence, threads=threads, decide=_room)


def _java(target: Target, library: Module) -> Iterator[Label]:
    """What the JVM has reserved for its heap, of collectors that reserve one range."""
    from functools import partial

    from unspool.generated.hotspot.tables import VmTables
    from unspool.generated.reader import Reader

    try:
        tables = VmTables(
            Reader(target.memory_now()), partial(target.symbol, library), _JVM_CLASSES
        )
        heap = tables.static("Universe._collectedHeap")
        at = heap + tables.offset("CollectedHeap._reserved")
        start = tables.get(at, tables.field("MemRegion._start"))
        words = tables.get(at, tables.field("MemRegion._word_size"))
    except (FormatError, Fault):
        return
    end = start + words * _WORD
    if start < end < 1 << 56:
        evidence = f"CollectedHeap::_reserved at 0x{at:x}"
        yield Label(start, end, Kind.HEAP, "the Java heap", evidence, decide=_room)


def _room(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    """What is not accessible yet is room for more; a file in it stays one."""
    if mapping.path:
        return None
    if is_held(mapping.permissions):
        return label.kind, f"room of {label.name.partition(',')[0]}"
    return label.kind, label.name
