"""Which bytes of the file belong to nobody, and which to several."""

from __future__ import annotations

from unspool.analyses.anatomy.node import GAP, MEMORY, PADDING, Node, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.cursor import Buffer

# Writers start structures at multiples of 2, 4, 8 or 16.
_ALIGNMENT = 16
_PIECE = 1 << 16
_ZEROS = bytes(_PIECE)


def place(nodes: list[Node], buffer: Buffer, complain: Callable[[Problem], None]) -> list[Node]:
    """The nodes by offset, those that share bytes marked, with nodes for the gaps between."""
    placed: list[Node] = []
    reach = 0
    holder: Node | None = None
    for node in sorted(nodes, key=_order):
        if node.offset > reach:
            placed.append(_gap(buffer, reach, node.offset))
        elif holder is not None and node.offset < reach:
            _mark(node, holder, complain)
        placed.append(node)
        if node.end > reach:
            reach = node.end
            holder = node
    if reach < len(buffer):
        placed.append(_gap(buffer, reach, len(buffer)))
    return placed


def _order(node: Node) -> tuple[int, int]:
    return node.offset, -node.size


def _mark(node: Node, holder: Node, complain: Callable[[Problem], None]) -> None:
    """Says that a node begins within another.

    Memory in memory is what many dumps have: a thread's stack is a part of a larger range.
    It is wrong only if the two say different addresses of the same bytes.
    """
    inside = node.end <= holder.end
    if node.type == holder.type == MEMORY and _shift(node) == _shift(holder):
        words = "part of" if inside else "begins within"
        node.meaning = "; ".join(filter(None, (node.meaning, f"{words} {holder.name}")))
        return
    words = "lies within" if inside else "overlaps"
    what = f"{words} {holder.name} (0x{holder.offset:x}–0x{holder.end:x})"
    node.problem = node.problem or what
    complain(Problem(f"{node.name} at 0x{node.offset:x}", what))


def _shift(node: Node) -> int:
    """What is to be added to offsets in a memory node to have addresses."""
    return (node.address or 0) - node.offset


def _gap(buffer: Buffer, start: int, end: int) -> Node:
    zero = all(
        _ZEROS.startswith(bytes(buffer[at : min(at + _PIECE, end)]))
        for at in range(start, end, _PIECE)
    )
    size = end - start
    if zero and size < _ALIGNMENT:
        return Node("padding", PADDING, start, size, meaning="so that what follows is aligned")
    return Node(
        "gap", GAP, start, size, value="all zero" if zero else "",
        meaning="nothing in the dump refers to these bytes",
    )  # fmt: skip
