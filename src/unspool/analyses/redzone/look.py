"""Looks at the code of a section, function by function, and at what lies between them."""

from __future__ import annotations

from unspool.analyses.redzone.records import INTERRUPT, FunctionUses
from unspool.analyses.redzone.units import kind_of
from unspool.arch import aarch64_below, x86_below
from unspool.arch.aarch64 import AARCH64
from unspool.errors import MissingDependency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.analyses.redzone.records import FileUses
    from unspool.analyses.redzone.units import Unit
    from unspool.arch.base import Arch
    from unspool.symbols.module_symbols import ModuleSymbols
    from unspool.symbols.pe.module import PeModuleSymbols

    CfaAt = Callable[[int], tuple[str, int] | None] | None

# More operands than these of one function say nothing more.
_MOST = 100_000


def need_decoder() -> None:
    """Raises `MissingDependency` if there is no decoder for x86 code."""
    if not x86_below.available():
        raise MissingDependency(
            "instructions are decoded by the library iced-x86, which is not installed",
            "pip install 'unspool[x86]'",
        )


def look(
    result: FileUses,
    code: bytes,
    address: int,
    units: Sequence[Unit],
    arch: Arch,
    cfa_at: CfaAt,
    section: tuple[int, str] = (0, ""),
) -> None:
    """Looks at functions, and at what lies between them unless it is padding."""
    result.looked_at += len(code)
    at = address
    for name, start, end in [*units, (None, address + len(code), address + len(code))]:
        between = code[at - address : start - address]
        kind = _kind_of(between, arch)
        if kind == "code":
            _add(result, None, at, start, between, arch, None, section, known=False)
        elif kind == "data":
            result.skipped += len(between)
        if start < end:
            result.functions_seen += 1
            body = code[start - address : end - address]
            _add(result, name, start, end, body, arch, cfa_at, section)
        at = max(at, end)


def _kind_of(between: bytes, arch: Arch) -> str:
    """What lies between functions: "padding", "code" or "data".

    Of what is no padding nothing says whether it is A64 code: nearly all words are some.
    """
    if arch is AARCH64:
        return "padding" if aarch64_below.is_padding(between) else "data"
    return kind_of(between, arch.pointer_size * 8)


def _add(
    result: FileUses,
    name: str | None,
    start: int,
    end: int,
    body: bytes,
    arch: Arch,
    cfa_at: CfaAt,
    section: tuple[int, str],
    *,
    known: bool = True,
) -> None:
    if arch is AARCH64:
        uses = aarch64_below.below_stack(body, start)
        if uses:
            result.functions.append(
                FunctionUses(
                    name, start, end, uses[:_MOST], result.zone,
                    section=section[1], section_index=section[0], known=known,
                )
            )  # fmt: skip
        return
    bits = arch.pointer_size * 8
    is_whole = known and not (name and ".cold" in name)
    found = x86_below.below_stack(body, start, bits=bits, cfa_at=cfa_at, is_whole=is_whole)
    uses = [each for each in found if each.access != "barrier"]
    result.barriers += len(found) - len(uses)
    if uses:
        zone = result.zone
        if zone.size and x86_below.is_interrupt_handler(body, bits):
            zone = INTERRUPT
        result.functions.append(
            FunctionUses(
                name, start, end, uses[:_MOST], zone,
                section=section[1], section_index=section[0], known=known,
            )
        )


def add_places(result: FileUses, symbols: ModuleSymbols | PeModuleSymbols) -> None:
    for function in result.functions:
        for use in function.uses:
            found = symbols.lookup(use.address)
            if found is not None and found[2]:
                function.places[use.address] = found[2][0].file, found[2][0].line
    if symbols.library_missing:
        result.notes.append("no files and lines: the library symbolic is not installed")


