"""What repeats is shown once: threads with the same stack, and recursion within a stack.

Both are linear in the number of frames; a stack overflow has hundreds of thousands.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from unspool.model import Stack

MAX_PERIOD = 8

# Recursion that repeats exactly: this much of it is shown before and after what is folded
# (in whole turns, at least one), and fewer frames than `_FEWEST` are not worth folding.
_HEAD, _TAIL, _FEWEST = 3, 2, 4
# So at least that many frames of a stack repeat one that is shown: most have fewer.
_LEAST_REPEATED = _TAIL + _FEWEST

# Recursion among few functions without a pattern (a parser's descent) is folded only if
# there is plenty of it, since every frame may tell something.
_IRREGULAR_FEWEST = 512
_IRREGULAR_SHOWN = 16


class Fold:
    """Frames `start` to `end` (exclusive) of a stack that are left out."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end


def location_keys(stack: Stack) -> list[int]:
    """What every frame's location goes by: its subject, or its look-up pc.

    The latter is `Frame.lookup_pc`, without half a million calls.
    """
    keys = [frame.pc if frame.exact else frame.pc - 1 for frame in stack.frames]
    for index, subject in stack.subjects.items():
        keys[index] = subject
    return keys


def group_stacks(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Stacks that look the same, together: same code addresses, segments and stop reason.

    The stack of the crash comes first and alone, the others in the order of their threads.
    """
    groups: dict[Hashable, list[Stack]] = {}
    for stack in stacks:
        key: Hashable = (
            tuple(location_keys(stack)),
            tuple(segment.kind for segment in stack.segments),
            _segment_ends(stack) if len(stack.segments) > 1 else (),
            stack.stop.reason,
        )
        if stack.crashed:
            key = ("crashed", stack.index, id(stack))
        groups.setdefault(key, []).append(stack)
    return sorted(groups.values(), key=lambda group: not group[0].crashed)


def _segment_ends(stack: Stack) -> tuple[int, ...]:
    numbers = [frame.segment for frame in stack.frames]
    return tuple(at for at in range(1, len(numbers)) if numbers[at] != numbers[at - 1])


def fold_frames(
    pcs: Sequence[int], start: int, end: int, function_of: Callable[[int], Hashable]
) -> list[Fold]:
    """What to leave out of frames `start` to `end` of one segment; `pcs` are their keys."""
    folds: list[Fold] = []
    if end - start - len(set(pcs[start:end])) < _LEAST_REPEATED:
        return folds
    at = start
    while at < end:
        run = next_run(pcs, at, end)
        if run is None:
            break
        first, last, period = run
        head = -(-_HEAD // period) * period
        tail = -(-_TAIL // period) * period
        if last - tail - (first + head) >= _FEWEST:
            folds.append(Fold(first + head, last - tail))
        at = last
    if end - start - sum(fold.end - fold.start for fold in folds) > _IRREGULAR_FEWEST:
        return _fold_irregular(pcs, start, end, function_of, folds)
    return folds


def next_run(pcs: Sequence[int], start: int, end: int) -> tuple[int, int, int] | None:
    """The first stretch that repeats itself, as (first, end, period); None if none does.

    A run is three turns or more. Only a pc that was seen within the last `MAX_PERIOD`
    frames can continue one, so ordinary stacks cost one look-up a frame.
    """
    seen: dict[int, int] = {}
    for index in range(start, end):
        pc = pcs[index]
        nearest = index - seen.get(pc, index - MAX_PERIOD - 1)
        for period in range(nearest, min(MAX_PERIOD, index - start) + 1):
            # Of three turns, this pc is in the second: it is in the first and the third.
            if pcs[index - period] != pc or index + period >= end or pcs[index + period] != pc:
                continue
            last = repeats_until(pcs, index, end, period)
            first = index - period
            if last - first >= 3 * period:
                return first, last, period
        seen[pc] = index
    return None


def repeats_until(pcs: Sequence[int], start: int, end: int, period: int) -> int:
    """The first index from `start` on whose pc is not that of `period` frames before.

    Compares slices that double in length, then halves into the one that differs.
    """
    at, step = start, 8
    while at < end:
        stop = min(at + step, end)
        if pcs[at:stop] == pcs[at - period : stop - period]:
            at, step = stop, step * 2
        elif stop - at == 1:
            break
        else:
            step = (stop - at) // 2
    return at


def _fold_irregular(
    pcs: Sequence[int],
    start: int,
    end: int,
    function_of: Callable[[int], Hashable],
    folds: list[Fold],
) -> list[Fold]:
    """Adds folds of long stretches that lie in few functions, and merges what overlaps."""
    result = []
    rest = iter(folds)
    fold = next(rest, None)
    for first, last in _stretches(pcs, start, end, function_of):
        while fold is not None and fold.end <= first:
            result.append(fold)
            fold = next(rest, None)
        # The exact folds within the stretch stay if they leave little to be folded beside.
        inside = []
        while fold is not None and fold.start < last:
            inside.append(fold)
            fold = next(rest, None)
        shown = last - first - sum(each.end - each.start for each in inside)
        if shown > _IRREGULAR_FEWEST:
            result.append(Fold(first + _IRREGULAR_SHOWN, last - _IRREGULAR_SHOWN))
        else:
            result += inside
    if fold is not None:
        result += [fold, *rest]
    return result


def _stretches(
    pcs: Sequence[int], start: int, end: int, function_of: Callable[[int], Hashable]
) -> list[tuple[int, int]]:
    """Maximal long stretches whose frames lie in at most `MAX_PERIOD` functions.

    One pass of a window: it grows at its end and, as soon as one function too many is in
    it, gives up frames at its start until one function is gone.
    """
    numbers: dict[Hashable, int] = {}
    table = {
        pc: numbers.setdefault(function_of(pc), len(numbers))
        for pc in dict.fromkeys(pcs[start:end])
    }
    functions = [table[pc] for pc in pcs[start:end]]
    result: list[tuple[int, int]] = []
    counts: dict[int, int] = {}
    low = 0
    for index, function in enumerate(functions):
        counts[function] = counts.get(function, 0) + 1
        if len(counts) <= MAX_PERIOD:
            continue
        if index - low > _IRREGULAR_FEWEST:
            result.append((start + low, start + index))
            low, counts = index, {function: 1}
        while len(counts) > MAX_PERIOD:
            leaving = functions[low]
            counts[leaving] -= 1
            if not counts[leaving]:
                del counts[leaving]
            low += 1
    if len(functions) - low > _IRREGULAR_FEWEST:
        result.append((start + low, end))
    return result
