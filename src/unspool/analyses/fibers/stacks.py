"""The stacks of fibers that wait, walked as those of threads are."""

from __future__ import annotations

from unspool.analyses.fibers.contexts import RESERVED, waiting
from unspool.generated.wasmtime import are_there
from unspool.memory import Memory, Region
from unspool.model import Stop, StopReason, Thread
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.walk import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.fibers.contexts import Waiting
    from unspool.model import Stack
    from unspool.targets.base import Target

MAX_FIBERS = 20_000
_MAX_FRAMES = 2_000_000


class _WithCopy(Memory):
    """The same memory as another one, but for one range. Of a running process the range is a
    copy: the rest of its memory goes on."""

    def __init__(self, memory: Memory) -> None:
        self.regions = memory.regions
        self._starts = memory._starts
        self.copy: Region | None = None

    def region(self, address: int) -> Region | None:
        copy = self.copy
        if copy is not None and copy.start <= address < copy.end:
            return copy
        return super().region(address)


def has_wasm(target: Target) -> bool:
    """Whether a process has Wasm code. Where it has none, next to nothing is read for that."""
    known = target.known_generated
    if known is None:
        return are_there(target.space, target.memory_now())
    return any(each.module.kind == "wasm" for each in known.modules)


def waiting_stacks(target: Target) -> Iterator[tuple[Waiting, Stack]]:
    """The fibers that wait in Wasm code or in what it has called, each with its stack.

    One that waits before any Wasm code, or has ended and left its stack for the next, is none.
    """
    if not has_wasm(target):
        return
    space = target.space.in_mode(target.arch)
    memory = space.memory = _WithCopy(target.space.memory)
    stepper = default_stepper(space, target.wine, lambda: target.generated)
    room = _MAX_FRAMES
    for number, fiber in enumerate(waiting(target.space, target.memory_now())):
        if number >= MAX_FIBERS or not room:
            return
        memory.copy = _region(fiber)
        # No thread's number: what strategies remember of threads is not about this stack.
        thread = Thread(-1 - number, 0, fiber.registers)
        stack = walk(stepper, thread, room, called=True)
        room -= min(len(stack.frames), room)
        _end(stack, fiber)
        modules = (space.module_at(frame.lookup_pc) for frame in stack.frames)
        if any(module is not None and module.kind == "wasm" for module in modules):
            yield fiber, stack


def _region(fiber: Waiting) -> Region:
    data, size = fiber.copy, len(fiber.copy)
    return Region(
        fiber.saved, fiber.high, lambda: (data, 0, size), writable=True,
        mapping=(fiber.low, fiber.high),
    )  # fmt: skip


def _end(stack: Stack, fiber: Waiting) -> None:
    """Ends a stack with the fiber's first function.

    Its unwind data lead to whom a running fiber returns to; of one that waits, to itself.
    """
    for index, frame in enumerate(stack.frames):
        if frame.sp == fiber.high - RESERVED:
            del stack.frames[index + 1 :]
            del stack.segments[frame.segment + 1 :]
            stack.gaps = tuple(gap for gap in stack.gaps if gap.before <= index)
            stack.stop = Stop(StopReason.ROOT, "the fiber's first function")
            return
