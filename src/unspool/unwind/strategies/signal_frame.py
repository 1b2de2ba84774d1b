"""Signal frames, known by the code that a handler returns to.

The kernel saves all registers of the interrupted code at fixed places from the stack
pointer, so this is a row like any other. It is tried before CFI: musl's and Go's
trampolines have none, and the AArch64 vdso's recovers neither pc nor most registers.
"""

from __future__ import annotations

from unspool.model import Trust
from unspool.unwind.rows import Row
from unspool.unwind.step import Missed, TableStrategy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace


class SignalTrampoline(TableStrategy):
    """Matches the architecture's trampolines against the bytes at the pc itself."""

    name = "signal_frame"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self._longest = max(len(frame.code) for frame in space.arch.signal_frames)

    def row(self, pc: int, lookup_pc: int) -> Row | Missed:
        # A handler's return address is the trampoline's first instruction, which nothing
        # ever called: the bytes are those at the pc, whether it is exact or not.
        arch = self.space.arch
        code = self.space.memory.read_available(pc, self._longest)
        for frame in arch.signal_frames:
            if code.startswith(frame.code):
                return Row(
                    self.name, Trust.SIGNAL, arch, arch.sp, 0, frame.saved,
                    ra_column=arch.pc, signal=frame,
                )  # fmt: skip
        return Missed("no signal trampoline at the pc")
