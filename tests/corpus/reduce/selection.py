"""Chooses what is kept: for each stack, each module, and everything else that was read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from unspool.model import Report, Stack
from unspool.pe_image import PeImage
from unspool.targets.base import Target

from .elf_module import keep_elf
from .kept import Kept
from .pe_module import keep_pe
from .record import Reads

# Beyond what is read: code around a frame's pc, a stack's words below the innermost frame and
# above the outermost one.
CODE_BEFORE, CODE_AFTER = 48, 32
STACK_BELOW, STACK_ABOVE = 256, 256


def select(target: Target, report: Report, reads: Reads, others: Sequence[Stack] = ()) -> Kept:
    """What to keep of a target that holds everything; `report` has its frames and their names.

    Of `others` the code is kept.
    """
    kept = Kept(target.space.memory)
    vdso = [(each.base, each.end) for each in report.modules if each.kind == "vdso"]
    for address, size in reads.ranges:
        # The kernel's own image is read as if it were a file.
        if (address, address + size) not in vdso:
            kept.keep(address, size)
    keep_stacks(kept, report)
    places = {frame.pc for stack in (*report.stacks, *others) for frame in stack.frames}
    keep_code(kept, places)
    touched = sorted(touched_code(target, report, reads, places))
    for module in target.modules:
        inside = [each for each in touched if module.base <= each < module.end]
        image = target.space.image(module)
        if isinstance(image, PeImage):
            names = {name for base, name in reads.exports if base == module.base}
            keep_pe(kept, image, inside, names)
        elif module.kind == "wasm":
            # A runtime's image has no program headers, and tables of which any part may be read.
            kept.keep(module.base, module.end - module.base)
        elif image is not None:
            keep_elf(kept, module.base, inside)
        if module.kind == "vdso":
            kept.whole.add(module.base, module.end)
        if module.name == "ntdll.so":
            keep_version(kept, module.base, module.end)
    return kept


def keep_stacks(kept: Kept, report: Report) -> None:
    """Keeps each stack from its innermost frame to its outermost.

    The bounds of Wine's own stacks are those of their segments, which must not be cut.
    """
    for stack in report.stacks:
        for index, segment in enumerate(stack.segments):
            places = [
                frame.sp
                for frame in stack.frames
                if frame.segment == index and frame.sp is not None
            ]
            if places:
                low, high = min(places) - STACK_BELOW, max(places) + STACK_ABOVE
                kept.keep(low, high - low)
            if segment.kind != "windows" and segment.low and segment.high:
                kept.whole.add(segment.low, segment.high)


def touched_code(
    target: Target, report: Report, reads: Reads, places: Collection[int]
) -> Iterator[int]:
    """Addresses in functions that a walk meets: of frames, of their begins, of code it reads."""
    for pc in places:
        yield pc
        yield pc - 1
    for pc, location in report.locations.items():
        if location.function_offset is not None:
            yield pc - location.function_offset
    for address, size in reads.ranges:
        if size and target.space.is_code(address):
            yield address
            yield address + size - 1


def keep_code(kept: Kept, places: Collection[int]) -> None:
    for pc in places:
        kept.keep(pc - CODE_BEFORE, CODE_BEFORE + CODE_AFTER)


def keep_version(kept: Kept, low: int, high: int) -> None:
    """Keeps what Wine calls itself, and that all memory before it can be read."""
    data = kept.memory.read_available(low, high - low)
    at = data.find(b"wine-")
    while at >= 0 and not data[at + 5 : at + 6].isdigit():
        at = data.find(b"wine-", at + 1)
    assert at >= 0, "no version in ntdll.so"
    kept.keep(low + at, data.index(b"\0", at) + 1 - at)
    kept.whole.add(low, low + at + 80)
