"""Whether a process may have stacks that no thread is on, by the functions that switch stacks.

Who waits on such a stack returns to code that no thread's stack has.
"""

from __future__ import annotations

from unspool.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.model import Module
    from unspool.targets.base import Target

# Of the C library (ucontext.h) and of Boost.Context.
_FUNCTIONS = (b"swapcontext", b"makecontext", b"jump_fcontext")
# They define some of these, for others.
_DEFINING = ("libc.so", "libc-2.", "libboost_context")
_MOST_MODULES = 1000
_MOST_NAMES = 4


def stack_switchers(target: Target) -> tuple[str | None, str | None]:
    """What keeps answers from being safe, and what is worth a note: the program's own use of such
    functions; that of its libraries, which most programs never reach."""
    modules = target.space.modules[:_MOST_MODULES]
    own = next((name for each in modules[:1] for name in _names(target, each)), None)
    reason = None
    if own is not None:
        reason = f"the program switches stacks ({own}): those that no thread is on are not seen"
    libraries = [each.name for each in modules[1:] if any(_names(target, each))]
    if not libraries:
        return reason, None
    shown = ", ".join(libraries[:_MOST_NAMES])
    if libraries[_MOST_NAMES:]:
        shown += f" and {len(libraries) - _MOST_NAMES} more"
    return reason, f"stacks that no thread is on are not seen; {shown} can make some"


def _names(target: Target, module: Module) -> Iterator[str]:
    """The functions that a module calls, or that a static program has."""
    elf = None if module.name.startswith(_DEFINING) else target.elf(module)
    for name in (".dynstr", ".strtab"):
        section = elf.section(name) if elf is not None else None
        if elf is None or section is None:
            continue
        try:
            buffer, start, end = elf.section_data(section)
        except FormatError:
            continue
        text = bytes(buffer[start:end])
        for each in _FUNCTIONS:
            if b"\0" + each + b"\0" in text:
                yield each.decode()
