"""What the last instructions of an i386 function do: give the stack back, and return.

Each instruction that compilers write there is known by its bytes (Intel SDM, volume 2), and
the first other one ends the reading. Registers have the numbers of their encoding, which are
the DWARF numbers of `x86.py`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

    # What an epilogue does: "the stack pointer is a register plus n", or, with n None, "pop".
    Step = tuple[int, int | None]

_ESP, _EBP = 4, 5
_MAX_STEPS = 16


def epilogue(code: Buffer) -> list[Step] | None:
    """What the code does up to and without its `ret`, if that is all that it does."""
    steps: list[Step] = []
    at, size = 0, len(code)
    for _ in range(_MAX_STEPS):
        if at >= size:
            return None
        op = code[at]
        modrm = code[at + 1] if at + 1 < size else 0
        if op in (0xC3, 0xC2):
            return steps
        if 0x58 <= op < 0x60 and op != 0x58 + _ESP:
            steps.append((op - 0x58, None))
            at += 1
        elif op == 0xC9:  # leave
            steps += [(_EBP, 0), (_EBP, None)]
            at += 1
        elif (op, modrm) in ((0x83, 0xC4), (0x81, 0xC4)):  # add $n,%esp
            width = 1 if op == 0x83 else 4
            if at + 2 + width > size:
                return None
            steps.append((_ESP, _signed(code, at + 2, width)))
            at += 2 + width
        elif (op, modrm) in ((0x89, 0xEC), (0x8B, 0xE5)):  # mov %ebp,%esp
            steps.append((_EBP, 0))
            at += 2
        elif op == 0x8D and modrm >> 3 & 7 == _ESP and modrm >> 6 in (1, 2):
            # lea n(%reg),%esp
            width = 1 if modrm >> 6 == 1 else 4
            base, start = modrm & 7, at + 2
            if base == _ESP:
                if code[at + 2 : at + 3] != b"\x24":
                    return None
                start += 1
            if start + width > size:
                return None
            steps.append((base, _signed(code, start, width)))
            at = start + width
        elif op == 0x90 or code[at : at + 2] == b"\xf3\xc3":
            at += 1
        else:
            return None
    return None


def _signed(code: Buffer, at: int, size: int) -> int:
    return int.from_bytes(bytes(code[at : at + size]), "little", signed=True)
