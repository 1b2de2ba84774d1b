"""What a dump is to hold beside what walking its threads' stacks reads: the words of locks, and
stacks that no thread is on."""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unspool.write.ranges import Range


class More(Record):
    """`pieces` are addresses and bytes, which may overlap.

    `stacks` are the bounds of further stacks, whose frames may point into them. Of a sanitized
    dump, `facts` are the ranges of them that stay as they are, and `registers`,
    by thread index, the numbers of the registers that do. `own_ids` are the threads' ids in their
    own pid namespace, by index, if they are others than the target's.
    """

    __slots__ = ("facts", "own_ids", "pieces", "registers", "stacks")

    def __init__(
        self,
        pieces: Sequence[tuple[int, bytes]] = (),
        facts: Sequence[Range] = (),
        registers: Mapping[int, Sequence[int]] | None = None,
        stacks: Sequence[Range] = (),
    ) -> None:
        self.pieces = list(pieces)
        self.facts = list(facts)
        self.registers = dict(registers or {})
        self.stacks = list(stacks)
        self.own_ids: list[int] = []
