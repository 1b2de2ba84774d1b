"""Which strategies are asked, and in which order: the surest first."""

from __future__ import annotations

from unspool.unwind.step import Stepper
from unspool.unwind.strategies.dwarf_cfi import DwarfCfi
from unspool.unwind.strategies.frame_pointer import FramePointer
from unspool.unwind.strategies.leaf import Leaf
from unspool.unwind.strategies.root import Root
from unspool.unwind.strategies.scan import Scan
from unspool.unwind.strategies.signal_frame import SignalTrampoline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace
    from unspool.unwind.step import DynamicStrategy, TableStrategy


def default_stepper(space: AddressSpace) -> Stepper:
    """A stepper with every strategy that applies to a target."""
    tables: list[TableStrategy] = [SignalTrampoline(space), DwarfCfi(space)]
    dynamic: list[DynamicStrategy] = [
        Root(space),
        Leaf(space),
        FramePointer(space),
        Scan(space, tables),
    ]
    return Stepper(space, tables, dynamic)
