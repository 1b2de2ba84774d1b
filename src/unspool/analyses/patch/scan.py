"""The conservative answer: every aligned word of every stack's used part, and every register.

Which stacks a thread has is known by its walk (a signal handler's, the one that it interrupted)
and, under Wine, by its TEB. What they hold is taken as it is: no unwind data decide here.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.patch.records import SURE, Hit, UsedStack
from unspool.model import StopReason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.analyses.patch.records import CodeRange
    from unspool.cursor import Buffer
    from unspool.model import Stack, Thread
    from unspool.space import KnownStack
    from unspool.targets.base import Target

    Hits = dict[tuple[int, int], list[Hit]]

# Functions closer than this are searched for in one pass over the words.
_NEAR = 64 << 20
# Of one function; a deep recursion says nothing new after that.
_MOST_HITS = 10_000
_LOW_MEMORY = 1 << 32


def used_stacks(target: Target, stacks: Sequence[Stack]) -> tuple[list[UsedStack], list[str]]:
    """The used part of every known stack of every thread, and why that may not be all.

    It goes from the lowest stack pointer in it to the stack's end; of a stack in which no
    stack pointer is known, it is everything that the target holds.
    """
    used: list[UsedStack] = []
    reasons: list[str] = []
    for stack in stacks:
        thread = target.threads[stack.index]
        own, lacking = _of_thread(target, thread, stack)
        reasons += lacking
        used += own
    return used, reasons


def _of_thread(
    target: Target, thread: Thread, stack: Stack
) -> tuple[list[UsedStack], list[str]]:
    word = target.space.arch.pointer_size
    tops: dict[tuple[int, str], tuple[int, int]] = {}
    by_segment: dict[int, list[int]] = {}
    for frame in stack.frames:
        if frame.sp is not None:
            by_segment.setdefault(frame.segment, []).append(frame.sp)
    for number, sps in by_segment.items():
        segment = stack.segments[number]
        low, high = min(sps) & -word, _end(target, thread, segment.high, min(sps))
        key = high, segment.kind
        before = tops.get(key, (low, max(sps)))
        tops[key] = min(before[0], low), max(before[1], *sps)
    used, reasons = [], []
    whole = stack.stop.reason == StopReason.ROOT and not stack.gaps and all(
        frame.trust in SURE for frame in stack.frames
    )  # fmt: skip
    if not tops:
        reasons.append(f"thread {thread.tid}: where its stack is used is not known")
    for (high, kind), (low, last) in tops.items():
        each = UsedStack(thread.index, kind, low, high)
        missing = _first_missing(target, each)
        # Above the frame that nobody called there are its arguments and nothing to return to.
        if missing is not None and not (whole and missing > last):
            reasons.append(f"thread {thread.tid}: its stack at 0x{missing:x} is not in the target")
        used.append(each)
    for known in _other_stacks(target, thread, used):
        each = UsedStack(thread.index, known.kind, known.low, known.high)
        _first_missing(target, each)
        if each.held:
            used.append(each)
    return used, reasons


def _end(target: Target, thread: Thread, high: int | None, sp: int) -> int:
    """Where the stack around `sp` ends."""
    known = target.space.stack_at(sp)
    if known is not None:
        high = known.high
    region = target.space.memory.region(sp)
    end = high if high is not None else region.mapping[1] if region is not None else sp
    # C libraries put a thread's control block at the upper end of its stack (32-bit Wine, at
    # that of its Windows stack), and the kernel joins what lies behind that to the same
    # mapping: other threads' stacks, the heap.
    name = "fs_base" if target.space.arch.name == "x86-64" else "gs_base"
    pointer = thread.special.get(name, 0)
    return pointer if sp < pointer <= end else end


def _other_stacks(
    target: Target, thread: Thread, used: Sequence[UsedStack]
) -> Iterator[KnownStack]:
    """Stacks that Wine keeps for a thread and that none of its frames is on."""
    if target.wine is None:
        return
    for known in target.space.known_stacks:
        if known.thread == thread.index and not any(
            known.low <= each.low < known.high for each in used
        ):
            yield known


def _first_missing(target: Target, stack: UsedStack) -> int | None:
    """The first address of a stack that is not at hand; fills in how much is."""
    at, first = stack.low, None
    for start, _, data in target.space.memory.pieces(stack.low, stack.high):
        if start > at and first is None:
            first = at
        stack.held += len(data)
        at = start + len(data)
    return at if first is None and at < stack.high else first


# --- words ------------------------------------------------------------------------------


def scan(target: Target, stacks: Sequence[UsedStack], ranges: Sequence[CodeRange]) -> Hits:
    """Words and registers that are addresses in code ranges, by (start, end) of these."""
    hits: Hits = {}
    distinct = {(each.start, each.end): each for each in ranges}
    for group in _groups(sorted(distinct)):
        finder = _Finder(target, [distinct[place] for place in group], hits)
        for thread in target.threads:
            finder.registers(thread)
        for stack in stacks:
            finder.stack(stack)
    return hits


def _groups(places: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    groups: list[list[tuple[int, int]]] = []
    for place in places:
        if groups and place[0] - groups[-1][-1][0] < _NEAR:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


class _Finder:
    """Looks for addresses in ranges that lie close to each other."""

    def __init__(self, target: Target, ranges: list[CodeRange], hits: Hits) -> None:
        self.space = target.space
        self.tids = [thread.tid for thread in target.threads]
        self.ranges = ranges
        self.starts = [each.start for each in ranges]
        self.low, self.high = ranges[0].start, max(each.end for each in ranges)
        self.longest = max(each.end - each.start for each in ranges)
        self.hits = hits
        arch = self.space.arch
        mask = arch.code_address_mask
        self.mask = mask if mask != arch.mask else None
        self.sizes = [arch.pointer_size]
        if arch.pointer_size == 8 and target.wine is not None and target.wine.is_wow64:
            self.sizes.append(4)  # stacks of 32-bit code

    def registers(self, thread: Thread) -> None:
        arch = self.space.arch
        for number, value in enumerate(thread.registers or ()):
            if value is None or number == arch.sp:
                continue
            is_pc = number == arch.pc
            kind = "pc" if is_pc else "register"
            name = None if is_pc else arch.register_names[number]
            self.value(kind, thread.index, value & arch.code_address_mask, register=name)

    def stack(self, stack: UsedStack) -> None:
        for size in self.sizes:
            if size == 4 and self.sizes[0] == 8 and stack.low >= _LOW_MEMORY:
                continue
            for start, _, data in self.space.memory.pieces(stack.low, stack.high):
                self.piece(stack, start, data, size)

    def piece(self, stack: UsedStack, start: int, data: Buffer, size: int) -> None:
        skip = -start % size
        count = max(len(data) - skip, 0) // size
        view = memoryview(data)[skip : skip + count * size].cast("Q" if size == 8 else "I")
        low, high, mask = self.low, self.high, self.mask
        if mask is None:
            found = [index for index, word in enumerate(view) if low <= word <= high]
        else:
            found = [index for index, word in enumerate(view) if low <= word & mask <= high]
        for index in found:
            value = view[index] if mask is None else view[index] & mask
            self.value("word", stack.thread, value, address=start + skip + index * size)

    def value(
        self,
        kind: str,
        thread: int,
        value: int,
        *,
        address: int | None = None,
        register: str | None = None,
    ) -> None:
        """Notes a value for each range that it lies in, its end included.

        A return address lies behind its call, which may be the function's last instruction.
        """
        at = bisect_right(self.starts, value)
        after_call: bool | None = None
        asked = False
        while at > 0 and value - self.starts[at - 1] <= self.longest:
            at -= 1
            code = self.ranges[at]
            if value > code.end or (kind == "pc" and value == code.end):
                continue
            if not asked:
                after_call, asked = self.space.after_call(value), True
            if value == code.end and after_call is False:
                continue
            found = self.hits.setdefault((code.start, code.end), [])
            if len(found) < _MOST_HITS:
                found.append(
                    Hit(
                        kind, thread, self.tids[thread], value, code,
                        address=address, register=register, after_call=after_call,
                    )
                )  # fmt: skip
