"""What a dump is to hold beside what walking its stacks reads: the words of locks."""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unspool.write.ranges import Range


class More(Record):
    """`pieces` are addresses and bytes, which may overlap.

    Of a sanitized dump, `facts` are the ranges of them that stay as they are, and `registers`,
    by thread index, the numbers of the registers that do.
    """

    __slots__ = ("facts", "pieces", "registers")

    def __init__(
        self,
        pieces: Sequence[tuple[int, bytes]] = (),
        facts: Sequence[Range] = (),
        registers: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self.pieces = list(pieces)
        self.facts = list(facts)
        self.registers = dict(registers or {})
