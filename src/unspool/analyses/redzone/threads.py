"""What lies beyond each thread's stack pointer: nothing that may be believed.

The kernel, signal handlers and debuggers write there at any time; what is left are words of
calls that returned. Only a red zone belongs to a function, if its code uses it at all.
"""

from __future__ import annotations

from unspool.analyses.redzone.files import zone_of
from unspool.analyses.redzone.records import ThreadZone
from unspool.analyses.redzone.units import cfa_finder
from unspool.arch import x86_below
from unspool.errors import FormatError
from unspool.image import Image
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.model import Module, Thread
    from unspool.targets.base import Target

_MAX_FUNCTION = 1 << 20


def thread_zones(target: Target) -> Iterator[ThreadZone]:
    """What is below the stack pointer of each thread of a process.

    Raises nothing for what the target lacks: `ThreadZone.unknown` says it.
    """
    symbols: dict[int, object] = {}
    _ = target.wine  # once it is known, so are its threads' stacks
    for thread in target.threads:
        yield _zone(target, thread, symbols)


def _zone(target: Target, thread: Thread, symbols: dict[int, object]) -> ThreadZone:
    zone = ThreadZone(thread.index, thread.tid, thread.name)
    space, arch = target.space, target.space.arch
    if thread.registers is None:
        zone.unknown = "the target has no registers for it"
        return zone
    zone.pc, zone.sp = thread.registers[arch.pc], thread.registers[arch.sp]
    region = None if zone.sp is None else space.memory.region(zone.sp)
    if zone.sp is None or region is None:
        zone.unknown = "its stack pointer is in no memory of the target"
        return zone
    module = None if zone.pc is None else space.module_at(zone.pc)
    rule = zone_of(module, arch)
    zone.rule = rule.rule
    known = space.stack_at(zone.sp)
    low = max(region.mapping[0], known.low) if known is not None else region.mapping[0]
    top = max(zone.sp - rule.size, low)
    if rule.size:
        zone.red_zone = top, zone.sp
    zone.beyond = low, top
    zone.held = sum(len(data) for _, _, data in space.memory.pieces(low, top))
    _look_at_code(target, module, zone, symbols)
    return zone


def _look_at_code(
    target: Target, module: Module | None, zone: ThreadZone, symbols: dict[int, object]
) -> None:
    """Decodes the function at the pc."""
    arch = target.space.arch
    if arch.name not in ("x86-64", "i386"):
        zone.unknown = f"code of {arch.name} is not decoded"
    elif not x86_below.available():
        zone.unknown = "the library iced-x86 is not installed"
    elif module is None or zone.pc is None:
        zone.unknown = "the pc is in no module"
    else:
        found = _function(target, module, zone.pc, symbols)
        if found is None:
            zone.unknown = "where the function at the pc begins is not known"
            return
        zone.function, start, end = found
        try:
            code = target.space.memory.read(start, min(end - start, _MAX_FUNCTION))
        except Fault:
            zone.unknown = "the code at the pc is not at hand"
            return
        image = target.space.image(module)
        assert image is not None
        of_file = cfa_finder(image, arch)
        found_uses = x86_below.below_stack(
            code, start, bits=arch.pointer_size * 8,
            cfa_at=lambda address: of_file(address - image.bias),
        )  # fmt: skip
        zone.uses = [each for each in found_uses if each.access != "barrier"]


def _function(
    target: Target, module: Module, pc: int, symbols: dict[int, object]
) -> tuple[str | None, int, int] | None:
    """The name, start and end of the function at a pc, in addresses of the process."""
    from unspool.unwind.strategies.dwarf_cfi import find_fde

    image = target.space.image(module)
    if image is None:
        return None
    name = None
    if isinstance(image, Image) and image.elf is not None:
        from unspool.symbols.elf.symbols import ElfSymbols

        known = symbols.setdefault(module.index, ElfSymbols(image.elf, bias=image.bias))
        assert isinstance(known, ElfSymbols)
        symbol = known.lookup(pc - image.bias)
        if symbol is not None and symbol.size:
            start = symbol.start + image.bias
            return symbol.name, start, start + symbol.size
        name = symbol.name if symbol is not None else None
    try:
        found = find_fde(image, pc - image.bias)
    except FormatError:
        return None
    if found is not None:
        return name, found[1].start + image.bias, found[1].end + image.bias
    if isinstance(image, Image):
        return None
    table = image.function_table()
    entry = table.find(pc - image.base) if table else None
    return (None, image.base + entry.begin, image.base + entry.end) if entry else None
