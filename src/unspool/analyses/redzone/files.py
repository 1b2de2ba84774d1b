"""Finds what a file's code does below the stack pointer, function by function."""

from __future__ import annotations

from unspool.analyses.redzone.records import (
    ASKED,
    I386,
    KERNEL,
    SYSTEM_V,
    WINDOWS,
    FileUses,
    FunctionUses,
)  # fmt: skip
from unspool.analyses.redzone.units import (
    cfa_finder,
    fde_ranges,
    function_start,
    kind_of,
    units_of,
)
from unspool.arch import x86_below
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.errors import FormatError, InputError, MissingDependency
from unspool.formats.elf import ET_DYN, ET_EXEC, ET_REL, PF_X, PT_LOAD, Elf
from unspool.formats.pe import MACHINE_AMD64, MACHINE_I386, Pe, is_pe
from unspool.image import Image
from unspool.memory import Memory
from unspool.model import Module
from unspool.symbols.functions import elf_functions, pe_functions, section_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from unspool.analyses.redzone.records import Zone
    from unspool.analyses.redzone.units import Unit
    from unspool.arch.base import Arch
    from unspool.cursor import Buffer
    from unspool.symbols.functions import Function
    from unspool.targets.base import Options

_EXECUTABLE, _ALLOCATED = 4, 2  # SHF_EXECINSTR, SHF_ALLOC
_KINDS = {ET_REL: "ELF object", ET_EXEC: "ELF program", ET_DYN: "ELF library or program"}
# Sections of a kernel module that no other ELF object has (kernel: scripts/module.lds.S).
_OF_MODULES = (".gnu.linkonce.this_module", ".modinfo")
# More operands than these of one function say nothing more.
_MOST = 100_000


def file_uses(
    buffer: Buffer, path: str, options: Options, *, no_red_zone: bool = False, lines: bool = True
) -> FileUses:
    """The operands below the stack pointer in an ELF or a PE file.

    `options` say where debug files may be. Raises `InputError` for another file or CPU,
    `MissingDependency` if the decoder is not installed, `FormatError` for broken headers.
    """
    if is_pe(buffer):
        return _pe_uses(Pe(buffer), path, no_red_zone)
    elf = Elf(buffer)
    arch = next((each for each in (X86_64, X86) if each.machine == elf.machine), None)
    if arch is None or arch.elf_class != elf.elf_class:
        raise InputError(f"{path}: code of another CPU", "x86-64 and i386 are looked at")
    need_decoder()
    is_module = any(each.name in _OF_MODULES for each in elf.sections())
    kind = "kernel module" if is_module else _KINDS.get(elf.type, "ELF file")
    zone = KERNEL if is_module else (SYSTEM_V if arch is X86_64 else I386)
    result = FileUses(path, kind, arch.name, ASKED if no_red_zone else zone)
    _elf_uses(elf, arch, result, options, lines)
    return result


def need_decoder() -> None:
    """Raises `MissingDependency` if there is no decoder for x86 code."""
    if not x86_below.available():
        raise MissingDependency(
            "instructions are decoded by the library iced-x86, which is not installed",
            "pip install 'unspool[x86]'",
        )


def _elf_uses(elf: Elf, arch: Arch, result: FileUses, options: Options, lines: bool) -> None:
    from unspool.symbols.elf_symbols import ElfSymbols
    from unspool.symbols.finders import DebugFiles

    module = Module(0, result.path, 0, 1 << 64, bias=0, path=result.path, file=result.path)
    files = DebugFiles(options.symbols, options.sysroot)
    relocatable = elf.type == ET_REL
    debug = None if relocatable else files.find(module, elf)
    known = elf_functions(elf, ElfSymbols(elf, debug.elf if debug else None))
    functions = sorted(known, key=function_start)
    image = Image(Memory(), 0, file=elf)
    cfa_at = None if relocatable else cfa_finder(image, arch)
    tables = [] if relocatable else [image.eh_frame()[1], *image.debug_frames()]
    unnamed = [] if relocatable else sorted(fde_ranges(tables))
    by_section: dict[int, list[Function]] = {}
    for each in functions:
        by_section.setdefault(each.section if relocatable else 0, []).append(each)
    for index, name, address, code in _code(elf, result):
        here = by_section.get(index if relocatable else 0, [])
        units = units_of(here, unnamed, address, address + len(code))
        _look(result, code, address, units, arch, cfa_at, name if relocatable else "")
    if relocatable:
        result.notes.append("of relocatable objects neither call frame information nor lines")
    elif lines and result.functions:
        _add_lines(result, module, elf, files)


def _code(elf: Elf, result: FileUses) -> Iterator[tuple[int, str, int, bytes]]:
    """Executable sections, or segments where there are none: index, name, address, bytes."""
    wanted = _EXECUTABLE | _ALLOCATED
    named = False
    for index, section in enumerate(elf.sections()):
        if section.flags & wanted != wanted:
            continue
        named = True
        if result.looked_at > elf.size:
            result.problems.append("its sections hold more code than the file has bytes")
            return
        try:
            found = section_code(elf, index)
        except FormatError as error:
            result.problems.append(str(error))
            continue
        if found is not None:
            yield index, section.name, *found
    for header in () if named else elf.program_headers():
        if header.type == PT_LOAD and header.flags & PF_X:
            code = bytes(elf.buffer[header.offset : header.offset + header.filesz])
            if len(code) < header.filesz:
                result.problems.append(f"code at 0x{header.vaddr:x} is not in the file whole")
            yield -1, "", header.vaddr, code


def _look(
    result: FileUses,
    code: bytes,
    address: int,
    units: Sequence[Unit],
    arch: Arch,
    cfa_at: Callable[[int], tuple[str, int] | None] | None,
    section: str,
) -> None:
    """Looks at functions, and at what lies between them unless it is padding."""
    result.looked_at += len(code)
    at = address
    for name, start, end in [*units, (None, address + len(code), address + len(code))]:
        between = code[at - address : start - address]
        kind = kind_of(between, arch.pointer_size * 8)
        if kind == "code":
            _add(result, None, at, start, between, arch, None, section, known=False)
        elif kind == "data":
            result.skipped += len(between)
        if start < end:
            result.functions_seen += 1
            body = code[start - address : end - address]
            _add(result, name, start, end, body, arch, cfa_at, section)
        at = max(at, end)


def _add(
    result: FileUses,
    name: str | None,
    start: int,
    end: int,
    body: bytes,
    arch: Arch,
    cfa_at: Callable[[int], tuple[str, int] | None] | None,
    section: str,
    *,
    known: bool = True,
) -> None:
    bits = arch.pointer_size * 8
    is_whole = known and not (name and ".cold" in name)
    found = x86_below.below_stack(body, start, bits=bits, cfa_at=cfa_at, is_whole=is_whole)
    uses = [each for each in found if each.access != "barrier"]
    result.barriers += len(found) - len(uses)
    if uses:
        result.functions.append(
            FunctionUses(
                name, start, end, uses[:_MOST], result.zone, section=section, known=known
            )
        )


def _add_lines(result: FileUses, module: Module, elf: Elf, files: object) -> None:
    from unspool.symbols.finders import DebugFiles
    from unspool.symbols.module_symbols import ModuleSymbols

    assert isinstance(files, DebugFiles)
    symbols = ModuleSymbols(module, elf, files, lines=True)
    for function in result.functions:
        for use in function.uses:
            found = symbols.lookup(use.address)
            if found is not None and found[2]:
                function.places[use.address] = found[2][0].file, found[2][0].line
    if symbols.library_missing:
        result.notes.append("no files and lines: the library symbolic is not installed")


def _pe_uses(pe: Pe, path: str, no_red_zone: bool) -> FileUses:
    from unspool.pe_image import PeImage

    arch = {MACHINE_AMD64: X86_64, MACHINE_I386: X86}.get(pe.machine)
    if arch is None:
        raise InputError(f"{path}: code of another CPU", "x86-64 and i386 are looked at")
    need_decoder()
    result = FileUses(path, "PE file", arch.name, ASKED if no_red_zone else WINDOWS)
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
        _look(result, code, low, units_of(functions, ranges, low, low + size), arch, cfa_at, "")
    result.problems += image.problems
    return result


def zone_of(module: Module | None, arch: Arch) -> Zone:
    """The rule for code of a process."""
    if module is not None and module.kind == "pe":
        return WINDOWS
    return SYSTEM_V if arch is X86_64 or arch.name == X86_64.name else I386
