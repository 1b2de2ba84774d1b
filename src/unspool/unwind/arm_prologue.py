"""What a function of 32-bit Arm code has done to its stack, by its first instructions."""

from __future__ import annotations

from unspool.arch import arm_stack
from unspool.arch.arm_code import arm_call_target
from unspool.arch.calls import LOOK_BEHIND
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace

# A prologue's last instruction comes this soon; compilers mix others in.
_MAX_INSTRUCTIONS = 40
# A stub of the procedure linkage table: `add ip, pc, #n; add ip, ip, #n; ldr pc, [ip, #n]!`,
# for T32 code behind `bx pc; nop`.
_THUMB_STUB = b"\x78\x47\xc0\x46"
_STUB = (0xE28FC, 0xE28CC, 0xE5BCF)
# From T32 code through a table's entry to a linker's stub to the function.
_MAX_JUMPS = 4

_ENDS = (
    arm_stack.POP, arm_stack.CALL, arm_stack.RETURN, arm_stack.JUMP, arm_stack.UNKNOWN,
)  # fmt: skip


class Prologue:
    """A prologue as far as it has run.

    `size` is how far the stack pointer has gone down. `saved` are registers and how far below
    the caller's stack pointer they are; `frame` is a register that points into the frame, and
    how far below the caller's stack pointer.
    """

    __slots__ = ("frame", "saved", "size")

    def __init__(self) -> None:
        self.size = 0
        self.saved: dict[int, int] = {}
        self.frame: tuple[int, int] | None = None


def read_prologue(code: bytes, *, is_thumb: bool) -> Prologue:
    """The prologue in code that begins with a function's first instruction."""
    prologue = Prologue()
    at = 0
    for _ in range(_MAX_INSTRUCTIONS):
        effect = arm_stack.effect(code, at, is_thumb=is_thumb)
        if effect is None or effect.kind in _ENDS:
            break
        at += effect.length
        if effect.kind == arm_stack.PUSH:
            prologue.size += effect.size
            numbers = [number for number in range(16) if effect.mask >> number & 1]
            for index, number in enumerate(numbers):
                prologue.saved.setdefault(number, prologue.size - 4 * index)
        elif effect.kind == arm_stack.MOVE:
            if effect.size > 0:
                break
            prologue.size -= effect.size
        elif effect.kind == arm_stack.FRAME and effect.mask in (7, 11):
            prologue.frame = effect.mask, prologue.size - effect.size
    return prologue


def called_function(space: AddressSpace, word: int) -> int | None:
    """The function that the call before a return address led to; None if that is not known.

    `word` is the return address as the call left it. The answer has bit 0 set for T32 code.
    """
    target = arm_call_target(space.code_before(word & ~1), LOOK_BEHIND, word)
    if target is None:
        return None
    try:
        return _behind_stub(space, target)
    except Fault:
        return target


def _behind_stub(space: AddressSpace, target: int) -> int:
    """The function that a call's target stands for: itself, or what its only jumps lead to."""
    for _ in range(_MAX_JUMPS):
        at = target & ~1
        code = space.memory.read_available(at, 16)
        following = _after_jump(space, code, at, is_thumb=bool(target & 1))
        if following is None:
            break
        target = following
    return target


def _after_jump(space: AddressSpace, code: bytes, at: int, *, is_thumb: bool) -> int | None:
    """Where the code at an address jumps to if it does nothing else; bit 0 is set for T32."""
    if is_thumb:
        if code.startswith(_THUMB_STUB):
            return at + 4
        if len(code) >= 4 and code[1] >> 3 == 0x1E and code[3] & 0xD0 == 0x90:  # b.w
            # The same with two bits more is a call.
            call = code[:3] + bytes((code[3] | 0x40,))
            return arm_call_target(call, 4, at + 4 | 1)
        return None
    words = [int.from_bytes(code[index : index + 4], "little") for index in (0, 4, 8)]
    if words[0] >> 24 == 0xEA:  # b
        call = code[:3] + b"\xeb"
        return arm_call_target(call, 4, at + 4)
    if words[0] == 0xE51FF004:  # ldr pc, [pc, #-4]: a linker's stub for functions far away
        return words[1]
    if tuple(word >> 12 for word in words) != _STUB:
        return None
    slot = at + 8 + sum(map(_rotated, words[:2])) + (words[2] & 0xFFF)
    return space.memory.read_uint(slot & space.arch.mask, 4)


def _rotated(word: int) -> int:
    """The immediate of an A32 data processing instruction."""
    rotation, byte = word >> 7 & 0x1E, word & 0xFF
    return (byte >> rotation | byte << 32 - rotation) & 0xFFFFFFFF
