"""Wasm code that was stopped where its function has no frame of its own: not yet, no more, or
while the frame is moved to make room for the arguments of a tail call.

Cranelift makes the same prologue and epilogue for every function (isa/x64/abi.rs and
isa/aarch64/abi.rs: gen_prologue_frame_setup, gen_epilogue_frame_restore; emit_return_call_*).
Its unwind tables describe prologues alone: behind them they say that there is a frame.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace
    from unspool.unwind.step import Query

    Registers = list[int | None]

# push %rbp; mov %rsp,%rbp. Then mov %rbp,%rsp; pop %rbp, and ret, ret $N or a jump.
_X86_PUSH, _X86_MOVE = b"\x55", b"\x48\x89\xe5"
_X86_POP = b"\x48\x89\xec\x5d"
_X86_RETURN, _X86_RETURN_AND_POP = b"\xc3", b"\xc2"
_X86_JUMPS = (b"\xe9", b"\xff\xe0", b"\xff\xe1", b"\xff\xe2", b"\xff\xe3", b"\xff\xe6", b"\xff\xe7",
              b"\x41\xff")  # fmt: skip
# Who has taken more arguments than it gives moves its return address up: mov (%rsp),%r11;
# mov %r11,N(%rsp); add $N,%rsp. Offsets have one byte or four.
_X86_TAKE = b"\x4c\x8b\x1c\x24"
_X86_PUT, _X86_ADD = (b"\x4c\x89\x5c\x24", b"\x4c\x89\x9c\x24"), (b"\x48\x83\xc4", b"\x48\x81\xc4")
# Who gives more moves its frame record down, after sub $N,%rsp; mov %rsp,%rbp:
# mov N(%rsp),%r11; mov %r11,(%rsp); mov N+8(%rsp),%r11; mov %r11,8(%rsp).
_X86_LOAD = (b"\x4c\x8b\x5c\x24", b"\x4c\x8b\x9c\x24")
_X86_STORES = 4 + 5  # bytes of the two stores
_X86_NEAR = 48  # bytes that all this takes at most

# stp x29, x30, [sp, #-16]!; mov x29, sp; and in the end ldp x29, x30, [sp], #16. Before the first
# there may be bti or a signature, after the last add sp, sp, #N and autiaz and the like.
_ARM_PUSH, _ARM_MOVE, _ARM_POP = 0xA9BF7BFD, 0x910003FD, 0xA8C17BFD
_ARM_AUTHENTICATE = (0xD503239F, 0xD50323BF, 0xD50323DF, 0xD50323FF)
_ARM_ADD, _ARM_ADD_BITS = 0x910003FF, 0xFF8003FF  # add sp, sp, #N, LSL #12 or not
_ARM_PROLOGUE = 4
# ldur or ldr x29, [sp, #N]; stp x29, x30, [sp]; mov x29, sp.
_ARM_LOADS = ((0xF84003FD, 0xFFE00FFF, 12, 1), (0xF94003FD, 0xFFC003FF, 10, 8))
_ARM_STORE = 0xA9007BFD


def caller_at_edge(space: AddressSpace, query: Query, start: int) -> Registers | None:
    """The caller's registers if the function at `start` has no frame at the query's exact pc."""
    registers = list(query.registers)
    arch = space.arch
    if arch.name == "x86-64":
        moved = _x86(space, query, start)
        if moved is None:
            return None
        record, popped, has_fp = moved
        if not has_fp:
            registers[arch.fp] = space.memory.read_uint(record - 8, 8)
        registers[arch.pc] = space.memory.read_uint(record, 8)
        registers[arch.sp] = record + 8 + popped
        return registers
    if arch.name == "aarch64":
        sp = _aarch64(space, query, start)
        link = query.registers[arch.link] if arch.link is not None else None
        if sp is None:
            sp = _about_to_move(space, query)
            if sp is not None:
                registers[arch.fp] = space.memory.read_uint(sp - 16, 8)
        if sp is None or link is None:
            return None
        registers[arch.pc], registers[arch.sp] = link & arch.code_address_mask, sp
        return registers
    return None


def _x86(space: AddressSpace, query: Query, start: int) -> tuple[int, int, bool] | None:
    """Where the return address is, how much is popped behind it, whether rbp is the caller's."""
    sp = query.registers[space.arch.sp]
    if sp is None:
        return None
    done = query.pc - start
    low = max(start, query.pc - _X86_NEAR)
    code = space.memory.read_available(low, query.pc - low + _X86_NEAR)
    here = query.pc - low
    before, after = code[:here], code[here:]
    if done == len(_X86_PUSH) and code.startswith(_X86_PUSH + _X86_MOVE):
        return sp + 8, 0, True
    if after.startswith(_X86_RETURN_AND_POP):
        return sp, int.from_bytes(after[1:3], "little"), True
    if done == 0 or after.startswith(_X86_RETURN) or _is_popped(before, after):
        return sp, 0, True
    size = _moved_down(code, here)
    return (sp + size + 8, 0, False) if size is not None else None


def _is_popped(before: bytes, after: bytes) -> bool:
    """Whether the code is between the end of a frame and the jump of a tail call."""
    if before.endswith(_X86_POP):
        return after.startswith((*_X86_JUMPS, _X86_TAKE))
    if before.endswith(_X86_POP + _X86_TAKE):
        return after.startswith(_X86_PUT)
    for put, add, offset in zip(_X86_PUT, _X86_ADD, (1, 4), strict=True):
        moves = _X86_POP + _X86_TAKE + put
        for adds in (0, len(add) + offset):
            size = len(moves) + offset + adds
            if before[len(before) - size :].startswith(moves) and size <= len(before):
                return after.startswith(_X86_JUMPS if adds else add)
    return False


def _moved_down(code: bytes, here: int) -> int | None:
    """How far the frame record is moved down, if it is just being moved."""
    for load, offset in zip(_X86_LOAD, (1, 4), strict=True):
        size = 2 * (len(load) + offset) + _X86_STORES
        pattern = _X86_MOVE + load
        begin = code.rfind(pattern, 0, here + len(pattern)) + len(_X86_MOVE)
        if begin >= len(_X86_MOVE) and begin - len(_X86_MOVE) <= here < begin + size:
            return int.from_bytes(code[begin + len(load) : begin + len(load) + offset], "little")
    return None


def _aarch64(space: AddressSpace, query: Query, start: int) -> int | None:
    """The caller's stack pointer, where its address is in the link register."""
    sp = query.registers[space.arch.sp]
    if sp is None:
        return None
    done = (query.pc - start) // 4
    low = start + 4 * max(done - _ARM_PROLOGUE, 0)
    before = _words(space, low, (query.pc - low) // 4)
    (here,) = _words(space, query.pc, 1) or (0,)
    first = _words(space, start, _ARM_PROLOGUE)
    if _ARM_MOVE in first and done <= first.index(_ARM_MOVE):
        pushes = first[: first.index(_ARM_MOVE)]
        if _ARM_PUSH in pushes:
            return sp + (16 if done > pushes.index(_ARM_PUSH) else 0)
    for word in reversed(before):
        if word == _ARM_POP:
            return sp + (_added(here) or 0)
        if word not in _ARM_AUTHENTICATE and _added(word) is None:
            break
    if here == _ARM_MOVE and before[-1:] == [_ARM_STORE]:
        before.pop()
    elif here != _ARM_STORE:
        return None
    size = _loaded_from(before[-1]) if before else None
    return sp + size + 16 if size is not None else None


def _about_to_move(space: AddressSpace, query: Query) -> int | None:
    """The same where the frame record is to be moved by the next instructions."""
    sp, code = query.registers[space.arch.sp], _words(space, query.pc, 3)
    if sp is None or code[1:] != [_ARM_STORE, _ARM_MOVE]:
        return None
    size = _loaded_from(code[0])
    return sp + size + 16 if size is not None else None


def _words(space: AddressSpace, address: int, count: int) -> list[int]:
    data = space.memory.read_available(address, 4 * count)
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) - 3, 4)]


def _added(word: int) -> int | None:
    """N of add sp, sp, #N."""
    if word & _ARM_ADD_BITS != _ARM_ADD:
        return None
    return (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)


def _loaded_from(word: int) -> int | None:
    """N of a load of x29 from [sp, #N]."""
    for pattern, bits, shift, scale in _ARM_LOADS:
        if word & bits == pattern:
            return ((word & ~bits) >> shift) * scale
    return None
