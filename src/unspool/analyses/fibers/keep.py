"""Which stacks of fibers a minidump must keep so that its reader finds them."""

from __future__ import annotations

from unspool.analyses.fibers.stacks import waiting_stacks
from unspool.write.more import More

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.targets.base import Target

# Of all fibers together. One that waits in Wasm code uses some kilobytes of its stack.
_MOST_BYTES = 16 << 20
_MOST_FIBERS = 2000


def keep_fibers(target: Target) -> More:
    """The used parts of the stacks of fibers that wait, as far as there is room."""
    kept = More()
    room = _MOST_BYTES
    for fiber, _ in waiting_stacks(target):
        room -= len(fiber.copy)
        if room < 0 or len(kept.stacks) >= _MOST_FIBERS:
            break
        kept.pieces.append((fiber.saved, fiber.copy))
        kept.stacks.append((fiber.low, fiber.high))
    return kept
