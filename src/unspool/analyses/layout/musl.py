"""Heaps of musl's malloc (mallocng, since 1.2.1), found by their own check words.

No symbols are needed: every page of musl's records of heap memory (`struct meta_area`) begins
with a secret, a random word that `__malloc_context` in libc's data begins with as well; a group
of blocks leads to its record, and the record back (musl: src/malloc/mallocng/meta.h).
"""

from __future__ import annotations

from struct import Struct

from unspool.analyses.layout.paint import Label
from unspool.analyses.layout.records import Kind
from unspool.formats.elf import PT_LOAD
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.memory import Memory
    from unspool.model import Module
    from unspool.targets.base import Target

_PAGE = 0x1000
_MAX_DATA = 1 << 20
_MAX_CANDIDATES = 2_000
_MAX_AREAS = 100_000


class _Shape:
    """Offsets in `malloc_context`, `meta_area` and `meta`, by the size of a pointer."""

    def __init__(self, word: int) -> None:
        wide = word == 8
        self.word = word
        self.head = 56 if wide else 36  # meta_area_head; the secret is at 0
        self.area = Struct("<QQi4x") if wide else Struct("<QIi")  # check, next, nslots
        # mem, and the last word: maplen is in its upper bits.
        self.meta = Struct("<16xQ8xQ") if wide else Struct("<8xI8xI")


def heaps(target: Target, memory: Memory) -> Iterator[Label]:
    """Labels of what musl's malloc manages: of libc.so, or of a program that holds it."""
    shape = _Shape(target.arch.pointer_size)
    for module in target.modules:
        if module.kind != "elf" or not _may_be_musl(target, module):
            continue
        found = _context(target, module, memory, shape)
        if found is not None:
            yield from _areas(*found, module, memory, shape)
            return


def _may_be_musl(target: Target, module: Module) -> bool:
    """Whether it may hold malloc: musl's own file, or a program that needs no other."""
    if module.name.startswith(("ld-musl-", "libc.musl-", "libc.so")):
        return not module.name.startswith("libc.so.6")
    path = target.info.executable
    return len(target.modules) < 3 or bool(path and module.path == path)


def _context(
    target: Target, module: Module, memory: Memory, shape: _Shape
) -> tuple[int, int, int] | None:
    """(where the context is, its secret, the first area of records)."""
    elf, bias = target.elf(module), module.bias
    if elf is None or bias is None:
        return None
    left = _MAX_CANDIDATES
    for header in elf.program_headers():
        if header.type != PT_LOAD or not header.flags & 2:
            continue
        start = (header.vaddr + bias + 7) & -8
        data = memory.read_available(start, min(header.memsz, _MAX_DATA))
        view = memoryview(data)[: len(data) // shape.word * shape.word]
        words = view.cast("Q" if shape.word == 8 else "I")
        for number in range(shape.head // shape.word, len(words)):
            head = words[number]
            if not head or head % _PAGE:
                continue
            at = number * shape.word - shape.head
            secret = int.from_bytes(data[at : at + 8], "little")
            # On i386 the context is aligned to 4.
            if not secret or at < 0:
                continue
            left -= 1
            if left < 0:
                return None
            if memory.read_available(head, 8) == data[at : at + 8]:
                return start + at, secret, head
    return None


def _areas(
    context: int, secret: int, area: int, module: Module, memory: Memory, shape: _Shape
) -> Iterator[Label]:
    size, word = shape.meta.size, shape.word
    seen: set[int] = set()
    while area and area not in seen and len(seen) < _MAX_AREAS and area % _PAGE == 0:
        seen.add(area)
        data = memory.read_available(area, _PAGE)
        if len(data) < shape.area.size:
            return
        check, following, slots = shape.area.unpack_from(data)
        if check != secret:
            return
        yield Label(
            area, area + _PAGE, Kind.HEAP, "malloc's own records (musl)",
            f"its check 0x{check:x} is the secret of __malloc_context at 0x{context:x} in "
            f"{module.name}",
        )  # fmt: skip
        for slot in range(min(max(slots, 0), (len(data) - shape.area.size) // size)):
            at = shape.area.size + slot * size
            group, last = shape.meta.unpack_from(data, at)
            pages = last >> 12
            if group and pages and _leads_back(memory, group, area + at, word):
                yield Label(
                    group, group + pages * _PAGE, Kind.HEAP, "heap (musl's malloc)",
                    f"its group at 0x{group:x} leads to the record 0x{area + at:x}, "
                    f"which has 0x{pages * _PAGE:x} bytes there",
                )  # fmt: skip
        area = following


def _leads_back(memory: Memory, group: int, record: int, word: int) -> bool:
    try:
        return memory.read_uint(group, word) == record
    except Fault:
        return False
