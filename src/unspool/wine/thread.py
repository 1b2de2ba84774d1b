"""A thread of a Wine process: its TEBs and its system call frames."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.space import AddressSpace
    from unspool.wine.frames import SyscallFrame
    from unspool.wine.teb import Teb


class WineThread:
    """A thread. `frames` are its system call frames, the newest first: that has the lowest address.

    `teb` is that of the process's own word size, `teb32` the other one of a WoW64 thread.
    """

    __slots__ = ("_addresses", "_callers", "frames", "index", "teb", "teb32")

    def __init__(
        self,
        index: int,
        teb: Teb,
        teb32: Teb | None,
        chain: Sequence[SyscallFrame],
    ) -> None:
        self.index = index
        self.teb = teb
        self.teb32 = teb32
        self.frames = chain
        self._addresses = [frame.address for frame in chain]
        self._callers: list[tuple[int, int]] | None = None

    def frame_above(self, address: int) -> SyscallFrame | None:
        """The first frame that begins at an address or above it."""
        at = bisect_left(self._addresses, address)
        return self.frames[at] if at < len(self.frames) else None

    def frame_at(self, address: int) -> SyscallFrame | None:
        """The frame that an address is in, or the first above it."""
        at = bisect_right(self._addresses, address) - 1
        if at >= 0 and address < self._addresses[at] + self.frames[at].layout.size:
            return self.frames[at]
        return self.frame_above(address)

    def level_above(self, space: AddressSpace, sp: int) -> tuple[int, int] | None:
        """Which frame is that of the system call that called back, and the stack pointer there.

        The callback's Windows frames lie right below the stack pointer of the code that made the
        system call, on the same stack. The newest frame is no candidate: its registers are stale
        or of a call within the callback.
        """
        if self._callers is None:
            self._callers = sorted(self._read_callers(space))
        at = bisect_right(self._callers, (sp, len(self.frames)))
        if at == len(self._callers):
            return None
        outer, level = self._callers[at]
        region, own = space.memory.region(outer), space.memory.region(sp)
        if region is None or own is None or region.mapping != own.mapping:
            return None
        return level, outer

    def _read_callers(self, space: AddressSpace) -> list[tuple[int, int]]:
        found = []
        for level, frame in enumerate(self.frames[1:], 1):
            try:
                found.append((frame.word(space, frame.layout.sp), level))
            except Fault:
                continue
        return found
