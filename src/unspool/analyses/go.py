"""Programs of Go, whose goroutines are no threads: how one is known."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.targets.base import Target

# Stripped programs have them as well.
_SECTIONS = (".gopclntab", ".go.buildinfo")


def is_go(target: Target) -> bool:
    """Whether the target's program is made with Go."""
    for module in target.space.modules[:1]:
        elf = target.elf(module)
        return elf is not None and any(elf.section(name) is not None for name in _SECTIONS)
    return False
