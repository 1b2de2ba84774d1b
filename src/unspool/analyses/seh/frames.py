"""In which frame's part of the stack does an address lie?"""

from __future__ import annotations

from bisect import bisect_right

from unspool.model import StopReason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Stack


class FramesByAddress:
    """The frames of a thread that lie in `[low, high)`: each reaches up to its caller's."""

    def __init__(self, stack: Stack | None, low: int, high: int) -> None:
        frames = stack.frames if stack is not None else []
        found = sorted(
            (frame.sp, -index)
            for index, frame in enumerate(frames)
            if frame.sp is not None and low <= frame.sp < high
        )
        self._sps = [sp for sp, _ in found]
        self._indexes = [-index for _, index in found]
        self._gaps = {gap.before for gap in stack.gaps} if stack is not None else set()
        whole = stack is not None and stack.stop.reason == StopReason.ROOT
        # The walk left this stack for another one, or reached its root: nothing is beyond.
        self._last = None if whole else len(frames) - 1

    def at(self, address: int) -> tuple[int | None, str]:
        """(number of the frame or None, why it is not known or not sure)."""
        if not self._sps:
            return None, "no frame on this stack was found"
        place = bisect_right(self._sps, address) - 1
        if place < 0:
            return None, "below the stack pointer: the function that made it has returned"
        index = self._indexes[place]
        if index == self._last:
            return None, "above the last frame that was found"
        return index, "frames may be missing here" if index + 1 in self._gaps else ""
