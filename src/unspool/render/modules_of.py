"""Which module each frame of a report is in."""

from __future__ import annotations

from unspool.model.target import ModuleRanges

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
        self._ranges = ModuleRanges(report.modules)

    def at(self, lookup: int) -> Module | None:
        location = self._locations.get(lookup)
        if location is not None and location.module is not None:
            return self._by_index.get(location.module)
        return self._ranges.at(lookup)
