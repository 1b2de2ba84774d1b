"""What finders may look at, made up: memory of given regions, modules, one symbol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.unit.unwind.spaces import ARCHES, region
from unspool.generated.code import Process
from unspool.memory import Memory
from unspool.model import Module, TargetInfo
from unspool.space import AddressSpace


def surroundings(
    arch: str,
    regions: Iterable[tuple[int, bytes, bool]],
    *,
    symbol: tuple[str, int] | None = None,
    modules: Sequence[Module] = (),
) -> Process:
    """A process of regions (address, bytes, executable); `symbol` is the first module's."""
    made = [
        region(start, data, executable=executable, writable=not executable)
        for start, data, executable in regions
        if data
    ]
    space = AddressSpace(ARCHES[arch], Memory(made), modules, lambda _: None)
    first = space.modules[0] if modules else None

    def find(module: Module, name: str) -> int | None:
        known = symbol is not None and module is first and name == symbol[0]
        return symbol[1] if symbol is not None and known else None

    return Process(space, space.memory, find, info=TargetInfo("core", arch))
