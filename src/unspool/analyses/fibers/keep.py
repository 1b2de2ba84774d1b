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
    """The used parts of the stacks of fibers that wait, as far as there is room.

    A process without executable memory of no module has none, and is not looked at.
    """
    kept = More()
    room = _MOST_BYTES
    if target.known_generated is None and not _has_made_code(target):
        return kept
    for fiber, _ in waiting_stacks(target):
        room -= len(fiber.copy)
        if room < 0 or len(kept.stacks) >= _MOST_FIBERS:
            break
        kept.pieces.append((fiber.saved, fiber.copy))
        kept.stacks.append((fiber.low, fiber.high))
    return kept


def _has_made_code(target: Target) -> bool:
    space = target.space
    return any(
        region.executable and space.module_at(region.start) is None
        for region in space.memory.regions
    )
