"""glibc's heaps: the main arena's, other arenas', and large blocks with mappings of their own.

No debug symbols are needed: an arena (`struct malloc_state`, malloc/malloc.c) is known by its
shape. 127 bins are pairs of pointers, and one that is empty points at itself; arenas are
linked in a ring; `top` leads to the end of the heap. Layouts are those of glibc 2.26 and
later, which moved nothing since but within `heap_info`.
"""

from __future__ import annotations

from struct import Struct

from unspool.analyses.layout.mappings import is_held
from unspool.analyses.layout.paint import Label
from unspool.analyses.layout.records import Kind
from unspool.formats.elf import PT_LOAD
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.layout.stacks import Finder
    from unspool.memory import Memory
    from unspool.model import Module
    from unspool.targets.base import Target
    from unspool.targets.live.procfs import Mapping

_LIBC = ("libc.so.6", "libc-2.")
_MAX_DATA = 1 << 20
_BINS = 127
# An arena in use has few of its bins filled.
_EMPTY_BINS = 64
_MAX_ARENAS = 100_000
_MAX_HEAPS = 100_000
_MAX_CHUNKS = 64
# Low bits of a chunk's size: PREV_INUSE, IS_MMAPPED, NON_MAIN_ARENA.
_FLAGS, _MMAPPED = 7, 2
_PAGE = 0x1000


class _Shape:
    """Offsets in `struct malloc_state`, and how `heap_info` lies, by the size of a pointer."""

    def __init__(self, word: int) -> None:
        self.word = word
        # Two or three ints, then 10 (or 11) fast bins.
        self.top = 0x60 if word == 8 else 0x38
        self.bins = self.top + 2 * word
        self.next = self.bins + 2 * _BINS * word + 16
        self.attached = self.next + 2 * word
        self.system = self.next + 3 * word
        # HEAP_MAX_SIZE: heaps of other arenas are aligned to it.
        self.heap = 64 << 20 if word == 8 else 1 << 20


class Arena:
    """An arena: its address, the end of its top chunk, bytes that it has from the system."""

    def __init__(self, address: int, top: int, system: int, attached: int) -> None:
        self.address = address
        self.top = top
        self.system = system
        self.attached = attached


def heaps(target: Target, memory: Memory, finder: Finder) -> Iterator[Label]:
    """Labels of what glibc's malloc manages."""
    shape = _Shape(target.arch.pointer_size)
    for module in target.modules:
        if module.kind == "elf" and module.name.startswith(_LIBC):
            arenas = _arenas(target, module, memory, shape)
            for position, arena in enumerate(arenas):
                if position == 0:
                    yield from _main_heap(arena, module, memory, finder, shape)
                else:
                    yield from _other_heaps(arena, memory, finder, shape)


def large_blocks(memory: Memory, mapping: Mapping, word: int) -> Iterator[Label]:
    """Blocks that malloc took from the system one by one, by the chunks' headers."""
    if mapping.path or mapping.permissions[:2] != "rw" or mapping.end > 1 << 8 * word:
        return
    at = mapping.start
    for _ in range(_MAX_CHUNKS):
        head = memory.read_available(at, 2 * word)
        if len(head) < 2 * word:
            return
        before = int.from_bytes(head[:word], "little")
        size = int.from_bytes(head[word:], "little")
        skipped = 0
        if not before and not size and word == 4:
            # What malloc returns is aligned to 16 bytes: 8 are left out, and the chunk says so.
            head = memory.read_available(at + 8, 8)
            skipped = int.from_bytes(head[:4], "little")
            size = int.from_bytes(head[4:], "little")
            before = skipped - 8
        if before or size & _FLAGS != _MMAPPED:
            return
        size = (size & ~_FLAGS) + skipped
        if not size or size % _PAGE or size > mapping.end - at:
            return
        yield Label(
            at, at + size, Kind.HEAP, "large block of malloc",
            f"its chunk at 0x{at:x} has the size 0x{size:x} and is marked IS_MMAPPED",
        )  # fmt: skip
        at += size


def _arenas(target: Target, module: Module, memory: Memory, shape: _Shape) -> list[Arena]:
    """The main arena in libc's data, then those that it is linked with."""
    elf, bias = target.elf(module), module.bias
    if elf is None or bias is None:
        return []
    for header in elf.program_headers():
        if header.type == PT_LOAD and header.flags & 2:
            start = header.vaddr + bias
            data = memory.read_available(start, min(header.memsz, _MAX_DATA))
            for address in _candidates(data, start, shape):
                ring = _ring(address, memory, shape)
                if ring:
                    return ring
    return []


def _candidates(data: bytes, start: int, shape: _Shape) -> Iterator[int]:
    """Where arenas may be: before many pairs of words that point at themselves."""
    word, pair = shape.word, 2 * shape.word
    first = -start % word
    count = (len(data) - first) // word
    words = Struct(f"<{count}{'Q' if word == 8 else 'I'}").unpack_from(data, first)
    base = start + first
    empty = [
        base + at * word
        for at in range(count - 1)
        if words[at] == words[at + 1] == base + at * word - pair
    ]
    run: list[int] = []
    for place in [*empty, 0]:
        if run and not run[0] <= place < run[0] + _BINS * pair:
            if len(run) >= _EMPTY_BINS:
                low = run[-1] - shape.bins - (_BINS - 1) * pair
                yield from range(low, run[0] - shape.bins + 1, pair)
            run = []
        run.append(place)


def _ring(address: int, memory: Memory, shape: _Shape) -> list[Arena]:
    """The arenas from one on, if they lead back to it."""
    found: list[Arena] = []
    at = address
    word = shape.word
    seen = set()
    try:
        while at not in seen and len(found) < _MAX_ARENAS:
            seen.add(at)
            top = memory.read_uint(at + shape.top, word)
            size = memory.read_uint(top + word, word) & ~_FLAGS
            found.append(
                Arena(
                    at, top + size,
                    memory.read_uint(at + shape.system, word),
                    memory.read_uint(at + shape.attached, word),
                )
            )  # fmt: skip
            at = memory.read_uint(at + shape.next, word)
    except Fault:
        return []
    whole = all(each.top % _PAGE == 0 and each.system % _PAGE == 0 for each in found)
    return found if at == address and whole and found[0].system else []


def _main_heap(
    arena: Arena, module: Module, memory: Memory, finder: Finder, shape: _Shape
) -> Iterator[Label]:
    mapping = finder.at(arena.top - 1)
    if mapping is None or mapping.path not in ("", "[heap]"):
        return
    evidence = (
        f"main_arena at 0x{arena.address:x} in {module.name}: 0x{arena.system:x} bytes, "
        f"its top chunk ends at 0x{arena.top:x}"
    )
    yield Label(mapping.start, mapping.end, Kind.HEAP, "heap (malloc's main arena)", evidence)


def _other_heaps(
    arena: Arena, memory: Memory, finder: Finder, shape: _Shape
) -> Iterator[Label]:
    """The heaps of an arena that is none of the main thread's: the newest holds `top`."""
    word = shape.word
    at = (arena.top - 1) & -shape.heap
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MAX_HEAPS:
        seen.add(at)
        try:
            owner, before = memory.read_uint(at, word), memory.read_uint(at + word, word)
        except Fault:
            return
        if owner != arena.address or at % shape.heap:
            return
        threads = f"{arena.attached} thread{'' if arena.attached == 1 else 's'} attached"
        yield Label(
            at, at + shape.heap, Kind.HEAP, f"malloc arena 0x{arena.address:x}",
            f"heap_info at 0x{at:x}: ar_ptr is 0x{owner:x}, which main_arena leads to; {threads}",
            decide=_arena_part,
        )  # fmt: skip
        at = before


def _arena_part(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    if mapping.path:
        return None
    if is_held(mapping.permissions):
        return Kind.RESERVED, f"room of {label.name}"
    return label.kind, label.name
