"""What wow64cpu.dll does on its way between 32-bit and 64-bit code, instruction by instruction.

32-bit code gets there by a far jump, with its stack pointer in rsp and the 64-bit one in r14. The
first instruction exchanges them. Then the 32-bit registers go into the thread's CPU area; on the
way back they come from there, the stack pointers change places again, and another far jump ends
it. Which of that has been done the code tells.
"""

from __future__ import annotations

from unspool.arch.x86 import EBP, EBX, EDI, EIP, ESI, ESP, X86
from unspool.arch.x86_64 import R14, RBP, RBX, RDI, RSI
from unspool.wine import layouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.memory import Memory
    from unspool.unwind.step import Query
    from unspool.wine.thread import WineThread

LIMIT = 1 << 32
_SAVED = ((EBX, RBX), (EBP, RBP), (ESI, RSI), (EDI, RDI))
# What 32-bit code has pushed at its stack pointer: the return address of a system call, or that
# and three arguments (16 bytes) of a call of a Unix library, which pops them.
SYSCALL, UNIX_CALL = 4, 0x14
# xchg %r14, %rsp in both encodings; ljmp *(%r14)
_EXCHANGE = (b"\x4c\x87\xf4", b"\x49\x87\xe6")
_JUMP_BACK = b"\x41\xff\x2e"
# mov %edx, Esp(%r13): the last of the registers is in the CPU area.
_STORE_ESP = b"\x41\x89\x95\xc4\0\0\0"
# lea 0x14(%r14), %rdx: the arguments of a call of a Unix library are taken off the stack.
_SKIP_ARGUMENTS = b"\x49\x8d\x56\x14"
# pop %rdx, of the flags that pushf has put on the 64-bit stack.
_POP_FLAGS = b"\x5a"
_MOST = 0x100


def is_on_32_bit_stack(thread: WineThread, sp: int) -> bool:
    teb = thread.teb32
    return teb is not None and teb.allocation <= sp < teb.stack_base


def registers_32(
    eip: int, esp: int, registers: Sequence[int | None]
) -> list[int | None]:
    """32-bit registers of a caller; those that it can rely on are the 64-bit ones' halves."""
    found: list[int | None] = [None] * len(X86.register_names)
    for number, wide in _SAVED:
        value = registers[wide]
        found[number] = None if value is None else value & LIMIT - 1
    found[EIP], found[ESP] = eip, esp
    return found


def area_registers(memory: Memory, thread: WineThread) -> list[int | None]:
    """The 32-bit registers of the thread's CPU area. Raises `Fault`."""
    area = memory.read_uint(thread.teb.address + layouts.WOW64_CPU_AREA, 8)
    context = area + layouts.WOW64_CONTEXT
    found: list[int | None] = [None] * len(X86.register_names)
    for number, offset in layouts.CONTEXT_I386.registers:
        found[number] = memory.read_uint(context + offset, 4)
    return found


def popped(memory: Memory, function: int | None, pc: int) -> int | None:
    """How much of the 32-bit stack the function of wow64cpu.dll takes; None if its code is not
    at hand, or if it is another function."""
    if function is None or not 0 <= pc - function <= _MOST:
        return None
    code = memory.read_available(function, _MOST)
    if not code.startswith(_EXCHANGE):
        return None
    return UNIX_CALL if _SKIP_ARGUMENTS in code else SYSCALL


def executing(
    memory: Memory, thread: WineThread, query: Query, function: int | None, thunk: int | None
) -> tuple[list[int | None], int] | None:
    """The 32-bit registers of a thread that was stopped in wow64cpu.dll, and its 64-bit stack
    pointer. None if no 32-bit code runs. Raises `Fault`.

    `thunk` is the address of the far jump that 32-bit code executes.
    """
    sp, parked = query.above, query.registers[R14]
    if sp is None or parked is None:
        return None
    code = memory.read_available(query.pc, 3)
    if is_on_32_bit_stack(thread, sp):
        if code.startswith(_JUMP_BACK):
            eip = memory.read_uint(parked, 4)
            return registers_32(eip, sp, query.registers), parked
        if query.pc == thunk or code.startswith(_EXCHANGE):
            size = popped(memory, function, query.pc) or SYSCALL
            eip = memory.read_uint(sp, 4)
            return registers_32(eip, sp + size, query.registers), parked
        return None
    taken = popped(memory, function, query.pc)
    if taken is None or function is None:
        return None
    if code.startswith(_POP_FLAGS):
        sp += 8
    if _STORE_ESP in memory.read_available(function, query.pc - function):
        return area_registers(memory, thread), sp
    eip = memory.read_uint(parked, 4)
    return registers_32(eip, parked + taken, query.registers), sp
