"""Where the call before a return address led: the best evidence for a guessed frame."""

from __future__ import annotations

from unspool.arch.calls import LOOK_BEHIND, x86_call_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace

# An import's stub, the linker's jump table for incremental links, a forwarded function.
_MAX_JUMPS = 4
_MAX_REMEMBERED = 100_000


class CallTargets:
    """Functions that i386 calls led to, as far as code and tables of imports tell."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self._known: dict[int, int | None] = {}

    def of(self, address: int) -> int | None:
        """The function that was called right before a return address; None if that is open.

        A direct call says it, and an indirect one of a fixed place in memory, as calls of
        imported functions are. Jumps that the function consists of are followed.
        """
        if address not in self._known:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[address] = self._find(address)
        return self._known[address]

    def _find(self, address: int) -> int | None:
        code = self.space.code_before(address)
        if not code:
            return None
        target = x86_call_target(code, LOOK_BEHIND, address)
        if target is not None and self.space.is_code(target):
            return self._behind_jumps(target & self.space.arch.mask)
        if code[2:4] == b"\xff\x15":  # call *address
            target = self.space.memory.maybe_uint(int.from_bytes(code[4:8], "little"), 4)
            if target is not None and self.space.is_code(target):
                return self._behind_jumps(target)
        return None

    def _behind_jumps(self, target: int) -> int:
        for _ in range(_MAX_JUMPS):
            code = self.space.memory.read_available(target, 6)
            if code[:2] == b"\xff\x25" and len(code) == 6:  # jmp *address
                following = self.space.memory.maybe_uint(int.from_bytes(code[2:], "little"), 4)
            elif code[:1] == b"\xe9" and len(code) >= 5:
                distance = int.from_bytes(code[1:5], "little", signed=True)
                following = (target + 5 + distance) & self.space.arch.mask
            else:
                break
            if following is None or not self.space.is_code(following):
                break
            target = following
        return target
