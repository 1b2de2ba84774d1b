"""Checks functions that are named, and those that differ between two builds of a module."""

from __future__ import annotations

from unspool.analyses.patch.builds import ElfSource, compare, with_parts
from unspool.analyses.patch.check import patch_check
from unspool.analyses.patch.functions import resolve
from unspool.analyses.patch.pe_builds import PeSource, identity
from unspool.analyses.patch.records import Checked, CodeRange
from unspool.errors import FormatError, InputError
from unspool.formats.elf import Elf
from unspool.formats.pe import Pe, is_pe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.patch.builds import Comparison
    from unspool.analyses.patch.records import PatchCheck
    from unspool.model import Module, Report
    from unspool.targets.base import Target
    from unspool.targets.input.source import Source


def check_functions(
    target: Target,
    report: Report,
    wanted: Sequence[str],
    *,
    old: str | None,
    new: str | None,
    inlined: bool,
) -> PatchCheck:
    """Both answers for each function. `report` holds all walked stacks of the target.

    Raises `InputError` if one of the builds cannot be read or is not what the target runs,
    `UsageError` for what is neither a name nor a range.
    """
    notes: list[str] = []
    functions = resolve(target, wanted, inlined=inlined)
    if old is not None and new is not None:
        functions += of_builds(target, old, new, notes)
    check = patch_check(target, report, functions)
    check.notes += notes
    return check


def _source(source: Source) -> ElfSource | PeSource:
    if is_pe(source.buffer):
        return PeSource(Pe(source.buffer))
    return ElfSource(Elf(source.buffer))


def _is(target: Target, module: Module, old_id: str) -> bool:
    """Whether the target runs that build: of PE modules their headers say."""
    if module.kind != "pe":
        return module.code_id == old_id
    image = target.pe(module)
    if image is None:
        return old_id in (module.code_id, module.debug_id)
    return old_id in (identity(pe) for pe in (image.file, image.headers) if pe is not None)


def _compared(old: str, new: str) -> tuple[Comparison, int]:
    """How two builds differ, and the address that the old one is made for (ELF: 0)."""
    from unspool.targets.input.source import open_source

    with open_source(old) as before, open_source(new) as after:
        sources = []
        for path, source in ((old, before), (new, after)):
            try:
                sources.append(_source(source))
            except FormatError as error:
                hint = "they must be ELF or PE files"
                raise InputError(f"{path}: {error}", hint) from None
        preferred = 0 if isinstance(sources[0], ElfSource) else Pe(before.buffer).image_base
        return compare(*sources), preferred


def of_builds(target: Target, old: str, new: str, notes: list[str]) -> list[Checked]:
    """The functions that differ, as code of the module that is the old build."""
    compared, preferred = _compared(old, new)
    module = next((each for each in target.modules if _is(target, each, compared.old_id)), None)
    if module is None:
        raise InputError(
            f"{old}: the target runs no file of build id {compared.old_id}",
            "is it the build that runs there?",
        )
    counts = {
        how: sum(each.how == how for each in compared.differences)
        for how in ("changed", "added", "removed")
    }
    words = ", ".join(f"{count:,} {how}" for how, count in counts.items())
    notes.append(f"{module.name}: {words}, {compared.same:,} functions are the same")
    if not compared.exact:
        notes.append(
            "compared byte by byte: code that has only moved counts as changed, and a call of "
            "another library function in the place of one may not be seen"
        )
    image = target.space.image(module)
    bias = image.bias if image is not None else module.bias or 0
    if module.kind == "pe":
        bias = module.base - preferred
    found = []
    for each in compared.differences:
        if each.old is None:
            continue
        code = [
            CodeRange(part.name, part.start + bias, part.end + bias, module.index)
            for part in with_parts(compared, each)
        ]
        checked = Checked(f"{module.name}!{each.name}", code)
        checked.notes.append(f"{each.how} by the new build")
        found.append(checked)
    if not found:
        notes.append("no function has to be replaced")
    return found
