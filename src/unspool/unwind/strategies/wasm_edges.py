"""Wasm code without unwind tables that was stopped where it has no frame of its own yet, or no
more: at the first instructions of a function and at its return.

Cranelift makes the same prologue and epilogue for every function (isa/x64/abi.rs and
isa/aarch64/abi.rs, gen_prologue_frame_setup and gen_epilogue_frame_restore).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace
    from unspool.unwind.step import Query

    Registers = list[int | None]

# push %rbp; mov %rsp,%rbp
_X86_PUSH, _X86_MOVE = b"\x55", b"\x48\x89\xe5"
_X86_RETURN = b"\xc3"
# stp x29, x30, [sp, #-16]!; mov x29, sp; ret. Before the first there may be bti or paciasp,
# before the last autiasp; retaa and retab do that themselves.
_ARM_PUSH, _ARM_MOVE = 0xA9BF7BFD, 0x910003FD
_ARM_RETURNS = (0xD65F03C0, 0xD65F0BFF, 0xD65F0FFF, 0xD50323BF, 0xD50323FF)
_ARM_PROLOGUE = 4


def caller_at_edge(space: AddressSpace, query: Query, start: int) -> Registers | None:
    """The caller's registers if the function at `start` has no frame at the query's exact pc."""
    if space.arch.name == "x86-64":
        moved = _x86(space, query, start)
    elif space.arch.name == "aarch64":
        moved = _aarch64(space, query, start)
    else:
        return None
    if moved is None:
        return None
    sp, address = moved
    registers = list(query.registers)
    registers[space.arch.pc], registers[space.arch.sp] = address, sp
    return registers


def _x86(space: AddressSpace, query: Query, start: int) -> tuple[int, int] | None:
    """The caller's stack pointer and the return address."""
    sp = query.registers[space.arch.sp]
    if sp is None:
        return None
    code = space.memory.read_available(start, len(_X86_PUSH + _X86_MOVE))
    done = query.pc - start
    if done == 0 or space.memory.read_available(query.pc, 1) == _X86_RETURN:
        at = sp
    elif done == len(_X86_PUSH) and code == _X86_PUSH + _X86_MOVE:
        at = sp + 8
    else:
        return None
    return at + 8, space.memory.read_uint(at, 8)


def _aarch64(space: AddressSpace, query: Query, start: int) -> tuple[int, int] | None:
    arch = space.arch
    sp = query.registers[arch.sp]
    link = query.registers[arch.link] if arch.link is not None else None
    if sp is None or link is None:
        return None
    data = space.memory.read_available(start, 4 * _ARM_PROLOGUE)
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) - 3, 4)]
    here = space.memory.read_available(query.pc, 4)
    if len(here) == 4 and int.from_bytes(here, "little") in _ARM_RETURNS:
        return sp, link & arch.code_address_mask
    if _ARM_MOVE not in words or _ARM_PUSH not in words[: words.index(_ARM_MOVE)]:
        return None
    done = (query.pc - start) // 4
    if done > words.index(_ARM_MOVE):
        return None
    pushed = done > words.index(_ARM_PUSH)
    return sp + (16 if pushed else 0), link & arch.code_address_mask
