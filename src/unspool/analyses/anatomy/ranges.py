"""What the dump's memory ranges say together: stacks without bytes, and addresses told twice."""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.anatomy.node import MEMORY, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.anatomy.node import Node
    from unspool.analyses.anatomy.survey import Survey

# So many bytes of two ranges are compared; what contradicts itself does so soon.
_COMPARED = 1 << 16


def check_ranges(survey: Survey) -> None:
    """Finds bytes for stacks without a place in the file, and ranges that contradict others."""
    ranges = [node for node in survey.nodes if node.type == MEMORY and node.address is not None]
    ranges.sort(key=_address)
    _house(survey, ranges)
    holder: Node | None = None
    for node in ranges:
        if holder is not None and _address(node) < _address(holder) + holder.size:
            _compare(survey, node, holder)
        if holder is None or _address(node) + node.size > _address(holder) + holder.size:
            holder = node


def _address(node: Node) -> int:
    return node.address or 0


def _house(survey: Survey, ranges: list[Node]) -> None:
    """Stacks with an RVA of 0: their bytes may lie in a memory range that has their address."""
    starts = [_address(node) for node in ranges]
    for link in survey.homeless:
        address = link.address or 0
        index = bisect_right(starts, address) - 1
        if index >= 0 and address < starts[index] + ranges[index].size:
            survey.targets[link.field] = (ranges[index].offset, ranges[index].size)
        else:
            survey.flaw(link.field, link.where, f"its {link.size or 0:,} bytes are not in the file")


def _compare(survey: Survey, node: Node, holder: Node) -> None:
    """Two ranges with the same addresses: it is wrong only if their bytes differ."""
    address = _address(node)
    at = holder.offset + address - _address(holder)
    if at == node.offset:
        return
    size = min(node.size, holder.end - at, _COMPARED)
    if survey.bytes(node.offset, size) != survey.bytes(at, size):
        what = f"has other bytes for addresses from 0x{address:x} than {holder.name}"
        node.problem = node.problem or what
        survey.complain(Problem(node.name, what))
