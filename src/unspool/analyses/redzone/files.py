"""Finds what a file's code does below the stack pointer, function by function."""

from __future__ import annotations

from unspool.analyses.redzone.look import add_places, look, need_decoder
from unspool.analyses.redzone.objects import ObjectFile, has_split_dwarf
from unspool.analyses.redzone.records import (
    AAPCS32,
    AAPCS64,
    ASKED,
    I386,
    KERNEL,
    SYSTEM_V,
    WINDOWS,
    WINDOWS_ARM64,
    FileUses,
)
from unspool.analyses.redzone.units import cfa_finder, fde_ranges, function_start, units_of
from unspool.arch.aarch64 import AARCH64
from unspool.arch.arm import ARM
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.errors import FormatError, InputError
from unspool.formats.elf import ET_DYN, ET_EXEC, ET_REL, PF_X, PT_LOAD, Elf
from unspool.formats.pe import Pe, is_pe
from unspool.image import Image
from unspool.memory import Memory
from unspool.model import Module
from unspool.symbols.finders import DebugFiles
from unspool.symbols.functions import elf_functions, section_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.redzone.records import Zone
    from unspool.arch.base import Arch
    from unspool.cursor import Buffer
    from unspool.symbols.finders import DebugFile
    from unspool.symbols.functions import Function
    from unspool.targets.base import Options

_ZONES = {X86_64: SYSTEM_V, X86: I386, AARCH64: AAPCS64}
_BY_NAME = {arch.name: zone for arch, zone in (*_ZONES.items(), (ARM, AAPCS32))}
_EXECUTABLE, _ALLOCATED = 4, 2  # SHF_EXECINSTR, SHF_ALLOC
_KINDS = {ET_REL: "ELF object", ET_EXEC: "ELF program", ET_DYN: "ELF library or program"}
_LTO = (".gnu.lto_", ".llvm.lto")
# Sections of a kernel module that no other ELF object has (kernel: scripts/module.lds.S).
_OF_MODULES = (".gnu.linkonce.this_module", ".modinfo")


def file_uses(
    buffer: Buffer, path: str, options: Options, *, no_red_zone: bool = False, lines: bool = True
) -> FileUses:
    """The operands below the stack pointer in an ELF or a PE file.

    `options` say where debug files may be. Raises `InputError` for another file or CPU,
    `MissingDependency` if the decoder is not installed, `FormatError` for broken headers.
    """
    if is_pe(buffer):
        from unspool.analyses.redzone.pe_files import add_pe_names, pe_uses

        pe = Pe(buffer)
        result = pe_uses(pe, path, no_red_zone)
        if lines and result.functions:
            add_pe_names(result, pe, DebugFiles(options.symbols, options.sysroot))
        return result
    elf = Elf(buffer)
    arch = next((each for each in _ZONES if each.machine == elf.machine), None)
    if arch is None or arch.elf_class != elf.elf_class:
        raise InputError(f"{path}: code of another CPU", "x86-64, i386 and aarch64 are looked at")
    if arch is not AARCH64:
        need_decoder()
    is_module = any(each.name in _OF_MODULES for each in elf.sections())
    kind = "kernel module" if is_module else _KINDS.get(elf.type, "ELF file")
    zone = KERNEL if is_module else _ZONES[arch]
    result = FileUses(path, kind, arch.name, ASKED if no_red_zone else zone)
    _elf_uses(elf, arch, result, options, lines)
    return result


def _elf_uses(elf: Elf, arch: Arch, result: FileUses, options: Options, lines: bool) -> None:
    from unspool.symbols.elf.symbols import ElfSymbols

    module = Module(0, result.path, 0, 1 << 64, bias=0, path=result.path, file=result.path)
    files = DebugFiles(options.symbols, options.sysroot)
    relocatable = elf.type == ET_REL
    debug = None if relocatable else files.find(module, elf)
    known = elf_functions(elf, ElfSymbols(elf, debug.elf if debug else None))
    functions = sorted(known, key=function_start)
    image = Image(Memory(), 0, file=elf)
    parts = ObjectFile(elf, arch) if relocatable else None
    cfa_at = cfa_finder(image, arch)
    tables = [] if relocatable else [image.eh_frame()[1], *image.debug_frames()]
    unnamed = [] if relocatable else sorted(fde_ranges(tables))
    by_section: dict[int, list[Function]] = {}
    for each in functions:
        by_section.setdefault(each.section if relocatable else 0, []).append(each)
    for index, name, address, code in _code(elf, result):
        here = by_section.get(index if relocatable else 0, [])
        units = units_of(here, unnamed, address, address + len(code))
        if parts is not None:
            look(result, code, address, units, arch, parts.cfa_at(index), (index, name))
        else:
            look(result, code, address, units, arch, cfa_at)
    if not result.looked_at and any(each.name.startswith(_LTO) for each in elf.sections()):
        result.problems.append(
            "there is no machine code in it, but the compiler's own (LTO): give the file that it "
            "is linked into"
        )
    if not elf.sections() and (elf.shoff or not elf.program_headers()):
        result.problems.append("its section table is not in the file: it is cut, or broken")
    if parts is not None:
        if lines and result.functions:
            _add_object_lines(result, parts, files.find(module, elf))
        result.notes += parts.problems
    elif lines and result.functions:
        _add_lines(result, module, elf, files)
    lost = lines and any(not each.places for each in result.functions)
    if lost and has_split_dwarf(debug.elf if debug is not None else elf):
        result.notes.append("no files and lines: they are in .dwo files, which are not read")


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


def _add_lines(result: FileUses, module: Module, elf: Elf, files: DebugFiles) -> None:
    from unspool.symbols.module_symbols import ModuleSymbols

    symbols = ModuleSymbols(module, elf, files, lines=True)
    add_places(result, symbols)


def _add_object_lines(result: FileUses, parts: ObjectFile, debug: DebugFile | None) -> None:
    from unspool.symbols import native

    if not native.available():
        result.notes.append("no files and lines: the library symbolic is not installed")
        return
    opened = parts.lines(debug)
    if opened is None:
        return
    lines, addresses = opened
    for function in result.functions:
        base = addresses.get(function.section_index)
        if base is None:
            continue
        for use in function.uses:
            places, _ = lines.lookup(use.address + base)
            if places:
                function.places[use.address] = places[0].file, places[0].line


def zone_of(module: Module | None, arch: Arch) -> Zone:
    """The rule for code of a process."""
    if module is not None and module.kind == "pe":
        return WINDOWS_ARM64 if arch.name == AARCH64.name else WINDOWS
    return _BY_NAME[arch.name]
