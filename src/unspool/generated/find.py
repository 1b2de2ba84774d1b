"""Asks the finders of generated code, the surest first. One that breaks costs itself."""

from __future__ import annotations

from importlib import import_module

from unspool.errors import FormatError
from unspool.generated.code import GeneratedCode, GeneratedModule
from unspool.memory import Fault
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.generated.code import Process
    from unspool.space import AddressSpace

# Modules with a function `find(process) -> list[GeneratedModule]`. Where two know the same
# code, the earlier one is believed.
_FINDERS: tuple[str, ...] = (
    "wasmtime", "hotspot", "gdb_jit", "jitdump", "perf_map", "v8", "near_cfi",
)  # fmt: skip


def find_generated(process: Process, finders: Sequence[str] = _FINDERS) -> GeneratedCode:
    """All code that the process has made, as far as its runtimes tell. Raises nothing.

    The modules are in `process.space` afterwards. Never over a file's: memory that claims a
    mapped module's addresses lies.
    """
    found: list[GeneratedModule] = []
    findings: list[Finding] = []
    process.known = found
    for name in finders:
        try:
            finder = import_module(f"unspool.generated.{name}")
            found += _add(process.space, finder.find(process))
        except (FormatError, Fault) as error:
            title = f"generated code is not known as a whole: {name}: {error}"
            findings.append(Finding("generated_code", title))
    return GeneratedCode(found, [*findings, *process.findings], process.namers)


def _add(space: AddressSpace, modules: Sequence[GeneratedModule]) -> list[GeneratedModule]:
    images = {id(each.module): each.image for each in modules}
    added = {id(module) for module in space.add_modules([each.module for each in modules], images)}
    return [each for each in modules if id(each.module) in added]
