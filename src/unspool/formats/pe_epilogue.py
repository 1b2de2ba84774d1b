"""Epilogues of x86-64 Windows functions, recognised in the code at a pc.

Version 1 of the unwind data does not describe them. Instead the ABI leaves compilers only
one form, so that unwinders can tell: the stack pointer is set free with at most one `add` or
`lea`, registers are popped, and a `ret` or a jump out of the function ends it. (Microsoft,
"x64 prolog and epilog".)
"""

from __future__ import annotations

from unspool.formats.pe_unwind import RSP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cursor import Buffer

# The most code that an epilogue takes: lea, fifteen pops, a jump.
MAX_SIZE = 7 + 15 * 2 + 8
_MAX_POPS = 15

# How it ends. A `TAIL_CALL` certainly leaves the function. A `JUMP` does if its target is
# no part of it.
RETURN, TAIL_CALL, JUMP = range(3)


class Epilogue:
    """What is left to do: set rsp to `register` + `offset`, pop `pops`, leave by `kind`.

    `release` is how many bytes `ret n` takes off after the return address; `target` is the
    RVA that a `JUMP` leads to.
    """

    __slots__ = ("kind", "offset", "pops", "register", "release", "target")

    def __init__(self, register: int, offset: int, pops: list[int]) -> None:
        self.register = register
        self.offset = offset
        self.pops = pops
        self.kind = RETURN
        self.release = 0
        self.target = 0


def epilogue_at(code: Buffer, rva: int) -> Epilogue | None:
    """The rest of an epilogue that `code`, which is at `rva`, begins with; None if it is none."""
    size = len(code)
    # Whatever looks further than the code goes finds nothing there that could belong to one.
    code = bytes(code) + bytes(8)
    register, offset, at = _release(code)
    pops: list[int] = []
    while len(pops) <= _MAX_POPS:
        byte = code[at]
        if byte & 0xF8 == 0x58:
            pops.append(byte & 7)
            at += 1
        elif byte & 0xF0 == 0x40 and code[at + 1] & 0xF8 == 0x58 and at + 1 < size:
            pops.append((byte & 1) << 3 | code[at + 1] & 7)
            at += 2
        else:
            break
        if at >= size:
            return None
    if RSP in pops:
        return None
    found = Epilogue(register, offset, pops)
    end = _leave(code, at, rva, found)
    return found if 0 < end <= size else None


def _release(code: bytes) -> tuple[int, int, int]:
    """What the first instruction sets rsp to: (register, offset from it, size), or rsp itself."""
    # REX.W, and REX.B for a base of r8 to r15.
    if code[0] & 0xFE == 0x48:
        operation, operands = code[1], code[2]
        if code[0] == 0x48 and operands == 0xC4:
            if operation == 0x83:  # add $imm8, %rsp
                return RSP, _signed(code[3:4]), 4
            if operation == 0x81:  # add $imm32, %rsp
                return RSP, _signed(code[3:7]), 7
        # With rsp or r12 as the base follows another byte, which no epilogue has.
        if operation == 0x8D and operands & 0x38 == 0x20 and operands & 7 != 4:
            register = (code[0] & 1) << 3 | operands & 7
            if operands >> 6 == 1:  # lea disp8(register), %rsp
                return register, _signed(code[3:4]), 4
            if operands >> 6 == 2:  # lea disp32(register), %rsp
                return register, _signed(code[3:7]), 7
    return RSP, 0, 0


def _leave(code: bytes, at: int, rva: int, found: Epilogue) -> int:
    """Decodes the instruction that leaves into `found`; its end, or 0 if it is another."""
    if code[at] == 0xF2:  # `bnd`, of code made for memory protection extensions
        at += 1
    byte, following = code[at], code[at + 1]
    if byte == 0xC3:
        return at + 1
    if byte == 0xF3 and following == 0xC3:  # for AMD's K8, which mispredicted a lone ret
        return at + 2
    if byte == 0xC2:
        found.release = int.from_bytes(code[at + 1 : at + 3], "little")
        return at + 3
    if byte in (0xEB, 0xE9):
        end = at + (2 if byte == 0xEB else 5)
        found.kind, found.target = JUMP, rva + end + _signed(code[at + 1 : end])
        return end
    # A jump through the import table. Those of switches go through a register.
    if byte == 0xFF and following == 0x25:
        found.kind = TAIL_CALL
        return at + 6
    # Any other tail call is marked with a REX.W that has no other effect.
    if byte & 0xF8 == 0x48 and following == 0xFF and code[at + 2] & 0x38 == 0x20:
        found.kind = TAIL_CALL
        return at + 3
    return 0


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)
