"""What the code of a PE file does below the stack pointer, and what its functions are called."""

from __future__ import annotations

from unspool.analyses.redzone.look import add_places, look, need_decoder
from unspool.analyses.redzone.records import ASKED, WINDOWS, FileUses, FunctionUses
from unspool.analyses.redzone.units import cfa_finder, fde_ranges, function_start, units_of
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.errors import FormatError, InputError
from unspool.formats.pe import MACHINE_AMD64, MACHINE_I386, SUBSYSTEM_NATIVE
from unspool.memory import Memory
from unspool.model import Module
from unspool.pe_image import PeImage
from unspool.symbols.functions import pe_functions
from unspool.symbols.pe.module import PeModuleSymbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.arch.x86_below import Below
    from unspool.formats.pe import Pe
    from unspool.symbols.finders import DebugFiles


def pe_uses(pe: Pe, path: str, no_red_zone: bool) -> FileUses:
    arch = {MACHINE_AMD64: X86_64, MACHINE_I386: X86}.get(pe.machine)
    if arch is None:
        raise InputError(f"{path}: code of another CPU", "x86-64 and i386 are looked at")
    need_decoder()
    kind = "PE driver" if pe.subsystem == SUBSYSTEM_NATIVE else "PE file"
    result = FileUses(path, kind, arch.name, ASKED if no_red_zone else WINDOWS)
    base = pe.image_base
    image = PeImage(Memory(), base, pe, pe)
    functions = sorted(pe_functions(image, [pe]), key=function_start)
    for each in functions:
        each.start, each.end = each.start + base, each.end + base
    cfa_at = cfa_finder(image, arch) if arch is X86 else None
    table = image.function_table()
    ranges = [
        (base + table[index].begin, base + table[index].end) for index in range(len(table or ()))
    ] if table else list(fde_ranges([image.eh_frame()[1], *image.debug_frames()]))  # fmt: skip
    ranges.sort()
    for section in pe.sections:
        if not section.executable or not section.raw_size:
            continue
        size = min(section.virtual_size or section.raw_size, section.raw_size)
        try:
            code = pe.read(section.rva, size)
        except FormatError as error:
            result.problems.append(f"section {section.name}: {error}")
            continue
        low = base + section.rva
        if result.looked_at > len(pe.buffer):
            result.problems.append("its sections hold more code than the file has bytes")
            break
        look(result, code, low, units_of(functions, ranges, low, low + size), arch, cfa_at)
    result.problems += image.problems
    return result


def add_pe_names(result: FileUses, pe: Pe, files: DebugFiles) -> None:
    """Lines, and the names of functions that unwind data alone bound: from DWARF or a PDB file."""
    from unspool.symbols.demangle import function_name
    base, path = pe.image_base, result.path
    name = path.rpartition("/")[2]
    module = Module(0, name, base, base + pe.size_of_image, kind="pe", path=path, file=path)
    symbols = PeModuleSymbols(module, PeImage(Memory(), base, pe, pe), files, lines=True)
    add_places(result, symbols)
    result.functions = [
        part
        for each in result.functions
        for part in ([each] if each.known else _by_debug_information(each, symbols))
    ]
    for function in result.functions:
        found = symbols.lookup(function.start) if function.name is None else None
        if found is not None and function.known and found[1] == function.start:
            function.name = function_name(found[0])


def _by_debug_information(
    between: FunctionUses, symbols: PeModuleSymbols
) -> Iterator[FunctionUses]:
    """Leaf functions have no unwind data: of code between those that do, a PDB file knows."""
    parts: dict[int | None, list[Below]] = {}
    for use in between.uses:
        found = symbols.lookup(use.address)
        start = found[1] if found is not None and found[2] else None
        inside = start is not None and between.start <= start <= use.address
        parts.setdefault(start if inside else None, []).append(use)
    starts = [start for start in parts if start is not None]
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else between.end
        part = FunctionUses(None, start, end, parts[start], between.zone)
        part.places = between.places
        yield part
    if None in parts:
        left = FunctionUses(
            None, between.start, between.end, parts[None], between.zone, known=False
        )
        left.places = between.places
        yield left


