"""What i386 code does to the stack: the first instructions of a function, and its last ones.

No disassembler: each instruction that compilers write in these places is known by its bytes
(Intel SDM, volume 2), and the first other one ends the reading. Registers have the numbers of
their encoding, which are the DWARF numbers of `x86.py`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

    # What an epilogue does: "the stack pointer is a register plus n", or, with n None, "pop".
    Step = tuple[int, int | None]

_EAX, _EBX, _ESP, _EBP, _ESI, _EDI = 0, 3, 4, 5, 6, 7
_SAVED = frozenset((_EBX, _EBP, _ESI, _EDI))
_MAX_STEPS = 16
_PAGE = 0x1000
# Code that a prologue's is read in; MSVC's with a security cookie and handlers take 60.
MAX_PROLOGUE = 96


class Prologue:
    """What a function has done to the stack when its first instructions are through.

    `depth`: bytes from the return address down to the stack pointer, None after a
    realignment. `saved`: (register, depth of the word that holds it). `frame`: depth of the
    place that ebp was set to point at, None if it was not. `end`: bytes that were read;
    `whole` tells whether these are all that were given.
    """

    __slots__ = ("depth", "end", "frame", "saved", "whole")

    def __init__(self) -> None:
        self.depth: int | None = 0
        self.saved: list[tuple[int, int]] = []
        self.frame: int | None = None
        self.end = 0
        self.whole = False


def prologue(code: bytes) -> Prologue:
    """Reads a function from its first byte on, as far as it goes without a branch."""
    result = Prologue()
    at = 0
    eax: int | None = None
    while at < len(code):
        length = _length(code, at)
        if not length or at + length > len(code):
            return result
        before = eax
        eax = None
        if code[at] == 0xB8:
            eax = _signed(code, at + 1, 4)
        elif code[at] == 0xE8:
            # mov $n,%eax; call __chkstk: takes n bytes off the stack (MSVC, clang), or
            # only touches them, and `sub %eax,%esp` follows (GCC).
            if before is None or before < _PAGE:
                return result
            if code[at + length : at + length + 2] != b"\x29\xc4" and result.depth is not None:
                result.depth += before
            eax = before
        elif code[at : at + 2] == b"\x29\xc4":
            if before is None:
                return result
            if result.depth is not None:
                result.depth += before
        elif not _apply(result, code, at):
            return result
        at += length
        result.end = at
    result.whole = True
    return result


def _apply(state: Prologue, code: bytes, at: int) -> bool:
    """One instruction's effect on the stack; False if that is not known."""
    op = code[at]
    modrm = code[at + 1] if at + 1 < len(code) else 0
    depth = state.depth
    if 0x50 <= op < 0x58 or op in (0x68, 0x6A) or (op in (0xFF, 0x64) and _is_push(code, at)):
        state.depth = depth = None if depth is None else depth + 4
        register = op - 0x50
        if register in _SAVED and depth is not None and register not in dict(state.saved):
            state.saved.append((register, depth))
    elif (op, modrm) in ((0x89, 0xE5), (0x8B, 0xEC)):  # mov %esp,%ebp
        state.frame = depth
    elif (op, modrm) in ((0x83, 0xEC), (0x81, 0xEC), (0x83, 0xC4), (0x81, 0xC4)):
        size = _signed(code, at + 2, 1 if op == 0x83 else 4)
        size = size if modrm == 0xEC else -size
        if size < 0:
            return False
        state.depth = None if depth is None else depth + size
    elif (op, modrm) in ((0x83, 0xE4), (0x81, 0xE4)):  # and $-16,%esp
        state.depth = None
    else:
        return not _writes_stack_pointer(code, at)
    return True


def _is_push(code: bytes, at: int) -> bool:
    if code[at] == 0x64:  # pushl %fs:...
        at += 1
    return at + 1 < len(code) and code[at] == 0xFF and code[at + 1] >> 3 & 7 == 6


# Instructions with a ModRM byte that only compute: their immediate operand's size. The
# stack pointer is looked out for.
_PLAIN = {
    0x89: 0, 0x8B: 0, 0x88: 0, 0x8A: 0, 0x8D: 0, 0x31: 0, 0x33: 0, 0x85: 0, 0x84: 0,
    0x39: 0, 0x3B: 0, 0x01: 0, 0x03: 0, 0x29: 0, 0x2B: 0, 0x21: 0, 0x23: 0, 0x09: 0, 0x0B: 0,
    0x83: 1, 0x81: 4, 0xC7: 4, 0xC6: 1, 0xC1: 1, 0xD1: 0, 0xF6: 1, 0xF7: 4, 0x80: 1,
    0xD9: 0, 0xDD: 0, 0x38: 0, 0x3A: 0, 0x6B: 1, 0x69: 4,
}  # fmt: skip
# The same of those that begin with 0F: moves of bytes, words, vectors; setcc and cmovcc.
_PLAIN_0F = frozenset(
    (0xB6, 0xB7, 0xBE, 0xBF, 0x10, 0x11, 0x28, 0x29, 0x57, 0x6F, 0x7F, 0xD6, 0x7E, 0x6E, 0x1F,
     0x5A, 0x2A, 0x14, 0x16, 0xAF, *range(0x40, 0x50), *range(0x90, 0xA0))
)  # fmt: skip


def _length(code: bytes, at: int) -> int:
    """The length of an instruction, 0 if it is none of those that we know."""
    start = at
    while at < len(code) and code[at] in (0x64, 0x66, 0xF2, 0xF3):
        at += 1
    op = code[at] if at < len(code) else 0
    prefixes = at - start
    if 0x50 <= op < 0x58 or op == 0x90:
        return prefixes + 1
    if op == 0x6A or op in (0xA8, 0x3C):
        return prefixes + 2
    if op in (0x68, 0xE8, 0xA1, 0xA3, 0x3D, 0x05, 0x25, 0x2D, 0xA9) or 0xB8 <= op < 0xC0:
        return prefixes + 5
    if op == 0x0F and at + 1 < len(code) and code[at + 1] in _PLAIN_0F:
        return prefixes + 2 + _operand(code, at + 2)
    if op == 0xFF and _is_push(code, at):
        return prefixes + 1 + _operand(code, at + 1)
    immediate = _PLAIN.get(op)
    if immediate is None or at + 1 >= len(code):
        return 0
    if op & 0xFE == 0xF6:  # only test has an immediate operand
        immediate = immediate if code[at + 1] >> 3 & 7 < 2 else 0
    if code[start] == 0x66 and immediate == 4:
        immediate = 2
    return prefixes + 1 + _operand(code, at + 1) + immediate


def _operand(code: bytes, at: int) -> int:
    """The bytes of ModRM, SIB and displacement."""
    if at >= len(code):
        return 1
    mode, rm = code[at] >> 6, code[at] & 7
    if mode == 3:
        return 1
    size = 1
    base = rm
    if rm == 4:
        size = 2
        base = code[at + 1] & 7 if at + 1 < len(code) else 0
    if mode == 1:
        return size + 1
    return size + 4 if mode == 2 or base == 5 else size


def _writes_stack_pointer(code: bytes, at: int) -> bool:
    """Whether a plain instruction's result goes to esp."""
    while at < len(code) and code[at] in (0x64, 0x66, 0xF2, 0xF3):
        at += 1
    op = code[at]
    modrm = code[at + 1] if at + 1 < len(code) else 0
    if op == 0xB8 + _ESP:
        return True
    if op in (0x8B, 0x8D, 0x33, 0x03, 0x2B, 0x23, 0x0B, 0x6B, 0x69):
        return modrm >> 3 & 7 == _ESP
    if op in (0x89, 0x31, 0x01, 0x29, 0x21, 0x09, 0x83, 0x81, 0xC7, 0xC1, 0xD1, 0xF7):
        return modrm >> 6 == 3 and modrm & 7 == _ESP
    return False


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
