"""Where i386 functions start, by the code around: calls of them, and what lies between them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.space import AddressSpace

ALIGNMENT = 16
# How far back a start is looked for, how far around for calls of it, and how many are given.
_REACH = 1 << 15
_UNALIGNED_REACH = 1 << 13
_AROUND = 1 << 17
_MAX_STARTS = 32
_MARGIN = 64

# What assemblers and compilers fill gaps with, the longest first.
_PADDING = sorted(
    (
        bytes.fromhex(each)
        for each in (
            "cc", "90", "6690", "8bff", "8d7600", "8d4900", "8d742600", "8d642400", "2e8d742600",
            "8db600000000", "8d9b00000000", "8db42600000000", "8da42400000000", "2e8db42600000000",
            "0f1f00", "0f1f4000", "0f1f440000", "660f1f440000", "0f1f8000000000",
            "0f1f840000000000", "660f1f840000000000", "662e0f1f840000000000",
            "66662e0f1f840000000000", "6666662e0f1f840000000000",
        )
    ),
    key=len,
    reverse=True,
)  # fmt: skip
# First bytes of functions: pushes and room on the stack, realignment; the others are the first
# use of an argument, and are taken for a function's where nothing but a return lies before.
FRAME_MAKERS = tuple(
    bytes.fromhex(each) for each in ("55", "53", "56", "57", "51", "83ec", "81ec", "8bff", "8d4c24")
)
_BEGINNINGS = FRAME_MAKERS + tuple(
    bytes.fromhex(each) for each in ("8b4424", "8b4c24", "8b5424", "6a", "68", "a1", "b8", "ff7424")
)


def called_nearby(space: AddressSpace, pc: int) -> list[int]:
    """Addresses up to `pc` that direct calls around lead to, the nearest first.

    Every byte E8 is taken for a call: of those that are none, one in 30,000 leads so near.
    """
    window = space.memory.window(pc)
    if window is None:
        return []
    low, high = max(window.low, pc - _AROUND), min(window.high, pc + _AROUND)
    code = bytes(window.buffer[low - window.base : high - window.base])
    found = set()
    at = code.find(0xE8)
    while 0 <= at < len(code) - 5:
        distance = int.from_bytes(code[at + 1 : at + 5], "little", signed=True)
        target = low + at + 5 + distance
        if pc - _REACH < target <= pc:
            found.add(target)
        at = code.find(0xE8, at + 1)
    return sorted(found, reverse=True)[:_MAX_STARTS]


def boundaries(space: AddressSpace, pc: int) -> Iterator[int]:
    """Addresses up to `pc` that look as if functions started there, the nearest first.

    First those that are aligned as most compilers align functions, then others.
    """
    window = space.memory.window(pc)
    if window is None:
        return
    low = max(window.low, pc - _REACH)
    code = bytes(window.buffer[low - window.base : pc + _MARGIN - window.base])
    found = 0
    for start in range(pc & -ALIGNMENT, low + _MARGIN, -ALIGNMENT):
        if ends_before(code, start - low):
            yield start
            found += 1
            if found >= _MAX_STARTS:
                break
    if low == window.low:
        yield low
    found = 0
    for at in range(pc - low, max(pc - low - _UNALIGNED_REACH, 5), -1):
        ends = (
            code[at - 1] == 0xC3
            or (code[at - 3] == 0xC2 and code[at - 1] == 0)
            or (code[at - 5] == 0xE9 and code[at - 1] in (0, 0xFF))
            or code[at - 2] == 0xEB
        )
        if ends and (low + at) % ALIGNMENT and code.startswith(_BEGINNINGS, at):
            yield low + at
            found += 1
            if found >= _MAX_STARTS:
                return


def ends_before(code: bytes, at: int) -> bool:
    """Whether code ends before `code[at]`: with a return, a jump or a trap, and padding."""
    floor = at - ALIGNMENT
    while at > floor:
        size = _padding_before(code, at)
        if not size:
            break
        at -= size
    last = code[max(at - 6, 0) : at]
    return (
        last[-1:] == b"\xc3"
        or (last[-3:-2] == b"\xc2" and last[-1:] == b"\0")
        or last[-5:-4] in (b"\xe9", b"\xe8")
        or last[-2:-1] == b"\xeb"
        or last[:2] == b"\xff\x25"
        or (last[:1] == b"\xff" and len(last) == 6 and last[1] & 0xF8 == 0xA0)
        or (last[-2:-1] == b"\xff" and last[-1] & 0xF8 == 0xE0)
        or code[at : at + 1] == b"\xcc"
        or at <= floor
    )


def is_padding(code: bytes) -> bool:
    """Whether bytes are nothing but what gaps between functions are filled with."""
    at = len(code)
    while at:
        size = _padding_before(code, at)
        if not size:
            return False
        at -= size
    return True


def _padding_before(code: bytes, at: int) -> int:
    return next((len(each) for each in _PADDING if code.endswith(each, 0, at)), 0)
