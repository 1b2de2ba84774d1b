"""Which strategies are asked, and in which order: the surest first."""

from __future__ import annotations

from unspool.unwind.step import Stepper
from unspool.unwind.strategies.dwarf_cfi import DwarfCfi
from unspool.unwind.strategies.signal_frame import SignalTrampoline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.space import AddressSpace
    from unspool.unwind.step import DynamicStrategy, TableStrategy


def default_stepper(space: AddressSpace) -> Stepper:
    """A stepper with every strategy that applies to a target."""
    tables: list[TableStrategy] = [SignalTrampoline(space), DwarfCfi(space)]
    return Stepper(space, tables, _Dynamic(space, tables))


class _Dynamic:
    """The dynamic strategies, loaded for the first frame without a row: often there is none."""

    def __init__(self, space: AddressSpace, tables: list[TableStrategy]) -> None:
        self.space = space
        self.tables = tables
        self.strategies: list[DynamicStrategy] = []

    def __iter__(self) -> Iterator[DynamicStrategy]:
        if not self.strategies:
            from unspool.unwind.strategies.frame_pointer import FramePointer
            from unspool.unwind.strategies.leaf import Leaf
            from unspool.unwind.strategies.root import Root
            from unspool.unwind.strategies.scan import Scan

            space = self.space
            self.strategies = [
                Root(space),
                Leaf(space),
                FramePointer(space),
                Scan(space, self.tables),
            ]
        return iter(self.strategies)
