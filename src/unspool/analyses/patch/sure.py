"""Which frames of a walk prove something, and which were guessed.

A frame by unwind data, registers or a switch of stacks is sure. One that the walk calls a leaf is
so too where the code says that nothing but a return follows: Wine's stubs of system calls on
i386, `call *%edx; ret $12`, have no unwind data and need none.
"""

from __future__ import annotations

from unspool.analyses.patch.records import SURE
from unspool.arch.x86 import ESP
from unspool.arch.x86_epilogue import epilogue
from unspool.memory import Fault
from unspool.model import Trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Stack
    from unspool.targets.base import Target

# Where the stack pointer is what the thread has, or will have when it gets there. Behind a call
# it may not be: a callee of stdcall has taken its arguments off, and no unwind data say so.
_EXACT_SP = (Trust.CONTEXT, Trust.SIGNAL, Trust.SEGMENT_SWITCH)
_MAX_SIZE = 40


class Certainty:
    """Tells frames of a target's stacks that are sure."""

    def __init__(self, target: Target) -> None:
        self.memory = target.space.memory
        self.is_i386 = target.space.arch.name == "i386"

    def is_sure(self, stack: Stack, number: int) -> bool:
        """Whether frame `number` is the caller of the one before it, beyond doubt."""
        frame = stack.frames[number]
        if frame.trust in SURE:
            return True
        return frame.trust == Trust.LEAF and number > 0 and self._returns(stack, number)

    def _returns(self, stack: Stack, number: int) -> bool:
        """Whether all that the callee still does is return, to this frame."""
        callee, frame = stack.frames[number - 1], stack.frames[number]
        if not self.is_i386 or callee.trust not in _EXACT_SP or callee.sp is None:
            return False
        steps = epilogue(self.memory.read_available(callee.pc, _MAX_SIZE))
        if steps is None:
            return False
        sp = callee.sp
        for register, distance in steps:
            if distance is None:
                sp += 4  # a pop; what of it is esp is not followed
            if (distance is None and register == ESP) or (distance is not None and register != ESP):
                return False
            sp += distance or 0
        try:
            return self.memory.read_uint(sp, 4) == frame.pc
        except Fault:
            return False
