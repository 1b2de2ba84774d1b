"""ELF images segment by segment, PE images section by section."""

from __future__ import annotations

from unspool.analyses.layout.mappings import is_held
from unspool.analyses.layout.paint import Label
from unspool.analyses.layout.records import Kind
from unspool.formats.elf import PT_LOAD
from unspool.generated.code import GENERATED_KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.elf import ProgramHeader
    from unspool.model import Module
    from unspool.targets.base import Target
    from unspool.targets.live.procfs import Mapping

_PAGE = 0x1000
_TOP = 1 << 64


_VDSO = ("[vdso]", "linux-vdso.so.1", "linux-gate.so.1")


def images(target: Target, programs: set[int]) -> tuple[list[Label], list[Label]]:
    """Labels of every module's parts, and of what is left of the whole modules.

    `programs` are the bases of executables.
    """
    parts: list[Label] = []
    wholes: list[Label] = []
    for module in target.modules:
        if not 0 <= module.base < module.end <= _TOP or module.name in _VDSO:
            continue
        if module.kind in GENERATED_KINDS:
            parts.append(_generated(module))
            continue
        make = _sections if module.kind == "pe" else _segments
        *own, whole = make(target, module, module.base in programs)
        parts += own
        wholes.append(whole)
    return parts, wholes


def _generated(module: Module) -> Label:
    what = "WebAssembly" if module.kind == "wasm" else "machine code"
    return Label(
        module.base, module.end, Kind.CODE, f"{module.name}, made at run time",
        f"{what} at 0x{module.base:x}, by the records of its runtime",
        module=module.index, decide=_not_the_kernels,
    )  # fmt: skip


def _not_the_kernels(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    """The pages that the kernel names are its own: no program has made [vsyscall]."""
    named = mapping.path.startswith("[") and not mapping.path.startswith("[anon")
    return None if named else (label.kind, label.name)


# --- ELF -------------------------------------------------------------------------------------


def _segments(target: Target, module: Module, is_program: bool) -> Iterator[Label]:
    kind = Kind.EXECUTABLE if is_program else Kind.LIBRARY
    name = module.name
    elf, bias = target.elf(module), module.bias
    if elf is not None and bias is not None:
        for header in elf.program_headers():
            if header.type == PT_LOAD and header.memsz:
                yield from _segment(module, header, kind, bias)
    evidence = f"within {name}, which the target lists at 0x{module.base:x}"
    yield Label(module.base, module.end, kind, name, evidence, module=module.index, decide=_own)


def _segment(module: Module, header: ProgramHeader, kind: str, bias: int) -> Iterator[Label]:
    start = (header.vaddr + bias) & -_PAGE
    in_file = -(-(header.vaddr + bias + header.filesz) // _PAGE) * _PAGE
    end = -(-(header.vaddr + bias + header.memsz) // _PAGE) * _PAGE
    if not 0 <= start < end <= _TOP:
        return
    where = f"program header: 0x{header.memsz:x} bytes at 0x{header.vaddr + bias:x}"

    def role(mapping: Mapping, label: Label) -> tuple[str, str] | None:
        flags = mapping.permissions
        if header.flags and not mapping.path and is_held(flags):
            # Wine's preloader is linked for 0x400000, unmaps its headers there when it has run,
            # and holds the place for Windows code.
            return None
        if flags[:3] == "---":
            return kind, f"{module.name} gap"
        if flags[2] == "x":
            return kind, f"{module.name} code"
        if flags[1] == "w":
            return kind, f"{module.name} data"
        return kind, f"{module.name} {'relro' if header.flags & 2 else 'constants'}"

    if start < in_file:
        yield Label(
            start, min(in_file, end), kind, module.name, where, module=module.index, decide=role
        )
    if in_file < end:
        yield Label(
            max(start, in_file), end, kind, f"{module.name} bss",
            f"{where}, 0x{header.filesz:x} of them in the file",
            module=module.index, decide=_unnamed,
        )  # fmt: skip


def _own(mapping: Mapping, label: Label) -> tuple[str, str]:
    """The part of a module that no header tells of."""
    flags = mapping.permissions
    if flags[:3] == "---":
        return label.kind, f"{label.name} gap"
    if not mapping.path:
        return label.kind, f"{label.name} bss"
    role = "code" if flags[2] == "x" else "data" if flags[1] == "w" else "constants"
    return label.kind, f"{label.name} {role}"


def _unnamed(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    """The bss, which is anonymous; the heap follows it where nothing is random."""
    return (label.kind, label.name) if mapping.path in ("", "[heap]") else None


# --- PE --------------------------------------------------------------------------------------


def _sections(target: Target, module: Module, is_program: bool) -> Iterator[Label]:
    image = target.pe(module)
    pe = (image.file or image.headers) if image is not None else None
    kind = Kind.NATIVE
    if is_program:
        kind = Kind.PROGRAM
    elif pe is not None and (pe.is_wine_builtin or pe.is_wine_placeholder):
        kind = Kind.BUILTIN
    name, base = module.name, module.base
    if pe is not None:
        for section in pe.sections:
            size = max(section.virtual_size, 1)
            start, end = base + section.rva, base + section.rva + -(-size // _PAGE) * _PAGE
            if base <= start < end <= module.end:
                shown = f"{name} {section.name or 'section without a name'}"
                where = f"section at 0x{section.rva:x} of the image at 0x{base:x}"
                yield Label(start, end, kind, shown, where, module=module.index)
        end = min(base + -(-max(pe.size_of_headers, 1) // _PAGE) * _PAGE, module.end)
        yield Label(base, end, kind, f"{name} headers", f"image at 0x{base:x}", module=module.index)
    evidence = f"within the image at 0x{base:x}"
    yield Label(base, module.end, kind, name, evidence, module=module.index)
