"""The memory of AddressSanitizer on x86-64: terabytes that have no name of their own.

Its runtime, a library or a part of the program, notes where its shadow begins. The rest is by
constants of compiler-rt (asan_mapping.h, asan_allocator.h): eight bytes have one in the shadow,
of all 47 bits of addresses, and the heap is at one of two places.
"""

from __future__ import annotations

from unspool.analyses.layout.mappings import is_held
from unspool.analyses.layout.paint import Label
from unspool.analyses.layout.records import Kind
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.layout.stacks import Finder
    from unspool.memory import Memory
    from unspool.targets.base import Target
    from unspool.targets.live.procfs import Mapping

_SYMBOL = "__asan_shadow_memory_dynamic_address"
# kDefaultShort64bit: where programs are built to have it. The mapping begins a page before.
_SHADOW = 0x7FFF8000
_SHADOW_SIZE = 1 << 47 - 3
_PAGE = 0x1000
# kAllocatorSpace, until LLVM 16 and since; kAllocatorSize, and records behind it.
_HEAPS, _HEAP_SIZE = (0x600000000000, 0x500000000000), 0x40000000000


def memory(target: Target, now: Memory, finder: Finder) -> Iterator[Label]:
    """The shadow and the heap of a program that was built with -fsanitize=address."""
    first = finder.at(_SHADOW)
    if target.arch.name != "x86-64" or first is None or first.start != _SHADOW - _PAGE:
        return
    for module in target.modules:
        noted = target.symbol(module, _SYMBOL) if module.kind == "elf" else None
        if noted is None:
            continue
        try:
            if now.read_uint(noted, 8) != _SHADOW:
                continue
        except Fault:
            continue
        evidence = f"{_SYMBOL} at 0x{noted:x} in {module.name} is 0x{_SHADOW:x}"
        yield Label(
            first.start, _SHADOW + _SHADOW_SIZE, Kind.ANONYMOUS, "AddressSanitizer's shadow",
            evidence, decide=_shadow,
        )  # fmt: skip
        yield from _heaps(finder.mappings, evidence)
        return


def _heaps(mappings: Sequence[Mapping], evidence: str) -> Iterator[Label]:
    """Both places, of which the runtime has one: what begins there, without a gap."""
    for start in _HEAPS:
        end = start
        for mapping in mappings:
            if mapping.start == end and not mapping.path and end < start + _HEAP_SIZE:
                end = mapping.end
        if end - start >= _HEAP_SIZE:
            evidence = f"{evidence}; its heap is at 0x{start:x}"
            yield Label(
                start, end, Kind.HEAP, "AddressSanitizer's heap", evidence, decide=_room
            )


def _shadow(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    if mapping.path:
        return None
    if is_held(mapping.permissions):
        return Kind.RESERVED, "gap in AddressSanitizer's shadow, which has none of its own"
    return label.kind, label.name


def _room(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    if mapping.path:
        return None
    if is_held(mapping.permissions):
        return Kind.RESERVED, f"room of {label.name}"
    return label.kind, label.name
