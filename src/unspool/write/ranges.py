"""Sets of address ranges: joined, bounded, with parts taken out."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Range = tuple[int, int]

# A descriptor of memory takes 16 bytes of the file: what lies closer is cheaper to keep.
_CLOSE = 16


def joined(ranges: Iterable[Range], close: int = _CLOSE) -> list[Range]:
    """The ranges `(low, high)` in order, those joined that overlap or lie within `close` bytes."""
    result: list[Range] = []
    for low, high in sorted(ranges):
        if high <= low:
            continue
        if result and low <= result[-1][1] + close:
            if high > result[-1][1]:
                result[-1] = result[-1][0], high
        else:
            result.append((low, high))
    return result


def without(ranges: Iterable[Range], hidden: Range | None) -> list[Range]:
    """The ranges less the parts that are in another one."""
    if hidden is None:
        return list(ranges)
    result = []
    for low, high in ranges:
        for part in ((low, min(high, hidden[0])), (max(low, hidden[1]), high)):
            if part[0] < part[1]:
                result.append(part)
    return result
