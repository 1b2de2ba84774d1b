"""Modules of generated code that files tell of: which memory they are for, and whether they fit."""

from __future__ import annotations

from unspool.generated.code import GeneratedModule
from unspool.model import Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.generated.code import CodeNames, Process
    from unspool.generated.latest import Latest
    from unspool.image import Image

_MOST_SAMPLES = 4096
_MOST_MODULES = 10_000


def fits(process: Process, starts: Sequence[int]) -> bool:
    """Whether code at these addresses can be the process's: most of it is still mapped there.

    Another process with the same id has its code at other places: where a system puts memory is
    random. What lies in a file's mapping proves nothing, since some programs are always mapped
    at the same address.
    """
    inside = outside = 0
    for start in starts[:: max(1, len(starts) // _MOST_SAMPLES)]:
        if process.space.module_at(start) is not None:
            continue
        if process.space.memory.region(start) is None:
            outside += 1
        else:
            inside += 1
    return inside > outside


def modules_for(
    process: Process,
    path: str,
    names: CodeNames,
    code: Latest | None = None,
    image: Image | None = None,
) -> list[GeneratedModule]:
    """A module for each piece of executable memory in no module, if some `code` is known in it."""
    found: list[GeneratedModule] = []
    for low, high in _free_code(process):
        if (code is None or code.any_in(low, high)) and len(found) < _MOST_MODULES:
            module = Module(0, path.rpartition("/")[2], low, high, path=path, kind="jit")
            found.append(GeneratedModule(module, image=image, names=names))
    return found


def _free_code(process: Process) -> list[tuple[int, int]]:
    """Executable memory that is in no module, by address; neighbours are one."""
    taken = process.space.taken()
    pieces: list[tuple[int, int]] = []
    at = 0
    for region in process.space.memory.regions:
        if not region.executable:
            continue
        low = region.start
        while at < len(taken) and taken[at][1] <= low:
            at += 1
        following = at
        while low < region.end:
            base, end = taken[following] if following < len(taken) else (region.end, region.end)
            stop = min(base, region.end)
            if low < stop:
                if pieces and pieces[-1][1] == low:
                    pieces[-1] = pieces[-1][0], stop
                else:
                    pieces.append((low, stop))
            low = max(low, end)
            following += 1
    return pieces
