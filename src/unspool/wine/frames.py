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

# Windows limits callbacks within callbacks to some tens.
_MAX_FRAMES = 500


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


def chain(space: AddressSpace, teb: Teb, layout: FrameLayout) -> list[SyscallFrame]:
    """A thread's frames, the newest first; empty if no slot of the TEB leads to any.

    Only the oldest frame's registers are checked here: a thread that runs Windows code has
    stale or, in a fresh callback, unset registers in the newest one.
    """
    for slot in _slots(teb.layout):
        try:
            newest = space.memory.read_uint(teb.address + slot, space.arch.pointer_size)
        except Fault:
            continue
        found = _follow(space, newest, layout)
        if not found or teb.stack_limit <= newest < teb.stack_base:
            continue
        if objection(space, found[-1]) is None:
            return found
    return []


def _slots(layout: TebLayout) -> Iterator[int]:
    """Where the TEB may point at a frame, the likeliest first."""
    known = layout.syscall_frame
    yield from known
    # A fork may have moved the slot: what passes all checks is it, wherever it is.
    for slot in range(*layout.private, layout.word):
        if slot not in known:
            yield slot


def _follow(space: AddressSpace, address: int, layout: FrameLayout) -> list[SyscallFrame]:
    """The frame at an address and those that it leads to: upwards, in one stack."""
    memory = space.memory
    region = memory.region(address)
    if region is None or not region.writable:
        return []
    low, high = region.mapping
    found: list[SyscallFrame] = []
    while low <= address <= high - layout.size and not address % layout.alignment:
        if len(found) >= _MAX_FRAMES:
            return []
        frame = SyscallFrame(address, layout)
        found.append(frame)
        try:
            previous = frame.word(space, layout.previous)
        except Fault:
            return []
        if previous == 0:
            return found
        if previous < address + layout.size:
            return []
        address = previous
    return []
