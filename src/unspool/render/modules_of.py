"""Which module each frame of a report is in."""

from __future__ import annotations

from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Module, Report


class ModulesOf:
    """A report's modules, by the look-up pc of frames.

    What a location says comes first; where there is none, a module that holds the address.
    """

    def __init__(self, report: Report) -> None:
        self._locations = report.locations
        self._by_index = {module.index: module for module in report.modules}
        self._by_base = sorted(report.modules, key=_base)
        self._bases = [module.base for module in self._by_base]

    def at(self, lookup: int) -> Module | None:
        location = self._locations.get(lookup)
        if location is not None and location.module is not None:
            return self._by_index.get(location.module)
        at = bisect_right(self._bases, lookup) - 1
        if at >= 0 and lookup < self._by_base[at].end:
            return self._by_base[at]
        return None


def _base(module: Module) -> int:
    return module.base
