"""Wine's system call frames: a thread's registers on the Windows side while it runs Unix code.

The TEB points at the newest frame, each frame at the one of the Unix code that had called
back into Windows code before. They lie on the Unix stack, the newest lowest.
"""

from __future__ import annotations

from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.space import AddressSpace
    from unspool.wine.layouts import FrameLayout, TebLayout
    from unspool.wine.teb import Teb

# A window procedure that sends messages to itself fills a Unix stack of 1 MB with some five
# hundred; forks have larger ones.
_MAX_FRAMES = 5000
# Frames that are looked at in one process.
_MAX_READ = 200_000


class SyscallFrame:
    """One frame in memory: where it is, and its layout."""

    __slots__ = ("address", "layout")

    def __init__(self, address: int, layout: FrameLayout) -> None:
        self.address = address
        self.layout = layout

    def word(self, space: AddressSpace, offset: int) -> int:
        """The word at an offset of the frame. Raises `Fault`."""
        return space.memory.read_uint(self.address + offset, space.arch.pointer_size)

    def registers(self, space: AddressSpace) -> list[int | None]:
        """The Windows side's registers; those that no code may rely on are unknown."""
        registers: list[int | None] = [None] * len(space.arch.register_names)
        for number, offset in self.layout.registers:
            registers[number] = self.word(space, offset)
        return registers


def objection(space: AddressSpace, frame: SyscallFrame) -> str | None:
    """Why the frame's registers cannot be the Windows side's, in words; None if they can."""
    layout = frame.layout
    try:
        pc, sp = frame.word(space, layout.pc), frame.word(space, layout.sp)
    except Fault as fault:
        return f"memory at {fault} cannot be read"
    if not space.is_code(pc):
        return f"its pc 0x{pc:x} is no code"
    module = space.module_at(pc)
    if module is not None and module.kind != "pe":
        return f"its pc 0x{pc:x} is in {module.name}, which is no Windows code"
    region = space.memory.region(sp)
    if region is None or not region.writable:
        return f"its stack pointer 0x{sp:x} is in no stack"
    if frame.address <= sp < frame.address + layout.size:
        return "its stack pointer is in the frame itself"
    return None


class Chains:
    """Finds threads' frames. All TEBs of a hostile dump can lead into one long chain, by every
    slot: what is read of one process is bounded."""

    def __init__(self, space: AddressSpace, layout: FrameLayout) -> None:
        self.space = space
        self.layout = layout
        self.room = _MAX_READ
        self._known: dict[int, list[SyscallFrame]] = {}

    def of(self, teb: Teb) -> list[SyscallFrame]:
        """A thread's frames, the newest first; empty if no slot of the TEB leads to any.

        Only the oldest frame's registers are checked here: a thread that runs Windows code has
        stale or, in a fresh callback, unset registers in the newest one.
        """
        if teb.address not in self._known:
            self._known[teb.address] = self._find(teb)
        return self._known[teb.address]

    def _find(self, teb: Teb) -> list[SyscallFrame]:
        broken: list[SyscallFrame] = []
        for slot in _slots(teb.layout):
            try:
                newest = self.space.memory.read_uint(teb.address + slot, teb.layout.word)
            except Fault:
                continue
            found, is_whole = self.follow(newest)
            if not found or teb.stack_limit <= newest < teb.stack_base:
                continue
            if objection(self.space, found[-1]) is not None:
                continue
            if is_whole:
                return found
            # 6.11 to 6.15 have no pointer to an older frame: whatever lies in its place.
            if slot in teb.layout.syscall_frame and _is_of_windows(self.space, found[-1]):
                broken = broken or found
        return broken

    def follow(self, address: int) -> tuple[list[SyscallFrame], bool]:
        """The frame at an address and those that it leads to: upwards, in one stack.

        Also whether they end as they should. Empty if there can be no frame.
        """
        layout, memory = self.layout, self.space.memory
        region = memory.region(address)
        if region is None or not region.writable:
            return [], False
        low, high = region.mapping
        found: list[int] = []
        while low <= address <= high - layout.size and not address % layout.alignment:
            self.room -= 1
            if len(found) >= _MAX_FRAMES or self.room < 0:
                break
            found.append(address)
            try:
                address = memory.read_uint(
                    address + layout.previous, self.space.arch.pointer_size
                )
            except Fault:
                break
            if address == 0 or address < found[-1] + layout.size:
                break
        return [SyscallFrame(each, layout) for each in found], address == 0


def _is_of_windows(space: AddressSpace, frame: SyscallFrame) -> bool:
    """Whether a frame has the code segment of Windows code."""
    try:
        return frame.word(space, frame.layout.cs) & 0xFFFF == frame.layout.user_cs
    except Fault:
        return False


def _slots(layout: TebLayout) -> Iterator[int]:
    """Where the TEB may point at a frame, the likeliest first."""
    known = layout.syscall_frame
    yield from known
    # A fork may have moved the slot: what passes all checks is it, wherever it is.
    for slot in range(*layout.private, layout.word):
        if slot not in known:
            yield slot
