"""Allocators that take malloc's place and leave no mark by which their memory could be told.

glibc's and musl's heaps are found by their records. Of others it is known that they are there;
and what their mappings are called, if they call them anything (`names`).
"""

from __future__ import annotations

from unspool.analyses.layout.records import Kind, Rule, Verdict
from unspool.analyses.layout.rules import describe, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.layout.records import Layout
    from unspool.model import Module
    from unspool.targets.base import Target

_LIBRARIES = (
    ("libjemalloc.so", "jemalloc"), ("libtcmalloc", "tcmalloc"), ("libmimalloc", "mimalloc"),
    ("libhoard.so", "Hoard"), ("libsnmalloc", "snmalloc"), ("librpmalloc", "rpmalloc"),
    ("libtsan", "ThreadSanitizer"), ("liblsan", "LeakSanitizer"), ("libhwasan", "HWASan"),
    ("libscudo", "Scudo"), ("libhardened_malloc", "hardened_malloc"), ("libtbbmalloc", "tbbmalloc"),
)  # fmt: skip
_SHOWN = 5


def allocator_rules(layout: Layout, target: Target) -> list[Rule]:
    """A rule where another allocator is loaded: what of the memory may be its heap."""
    found = [(module, name) for module in target.modules if (name := _allocator(module))]
    if not found:
        return []
    anonymous = [
        area
        for area in layout.areas
        if area.kind == Kind.ANONYMOUS and not area.path and area.permissions[1] == "w"
    ]
    named = [area for area in layout.areas if area.path.startswith("[anon") and area.kind == "heap"]
    evidence = [f"{name}: {module.path or module.name}" for module, name in found[:_SHOWN]]
    names = " and ".join(dict.fromkeys(name for _, name in found))
    if named:
        size = size_of(sum(area.size for area in named))
        evidence += [describe(area) for area in named[:_SHOWN]]
        says = f"{names} in place of the C library's malloc: {size} are called its own"
        return [Rule("allocator", Verdict.OK, says, evidence)]
    size = size_of(sum(area.size for area in anonymous))
    anonymous.sort(key=lambda area: -area.size)
    evidence += [describe(area) for area in anonymous[:_SHOWN]]
    says = f"{names} in place of the C library's malloc: of {size} without a name, some are its"
    return [Rule("allocator", Verdict.NOTE, says, evidence)]


def _allocator(module: Module) -> str:
    for start, name in _LIBRARIES:
        if module.name.startswith(start):
            return name
    return ""
