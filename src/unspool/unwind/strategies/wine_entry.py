"""A thread that was stopped in one of Wine's dispatchers while it is on the Windows stack.

Before it changes stacks, the dispatcher takes its return address off the stack into the frame,
with one of its first instructions, and saves the registers one by one. Once it has changed back
all of them are as the frame has them, until it returns. Which of it has been done only the code
tells: the frame keeps what the last system call left there.
"""

from __future__ import annotations

from unspool.model import Trust
from unspool.unwind.step import Found, Missed
from unspool.wine.frames import SyscallFrame, objection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace
    from unspool.unwind.step import Query
    from unspool.unwind.strategies.wine_dispatcher import Dispatcher
    from unspool.wine.process import WineProcess
    from unspool.wine.thread import WineThread

# All that is done before the stacks change is done in fewer bytes.
_ENTRY = 0x100
_RETURN = (0xC3, 0xC2)  # ret, ret n


def is_entry(wine: WineProcess, dispatcher: Dispatcher, pc: int) -> bool:
    """Whether a pc is in the part of a dispatcher that saves registers, by the code."""
    code = wine.space.memory.read_available(dispatcher.start, _ENTRY)
    saved = code.find(wine.frame_layout.save_fp)
    return pc == dispatcher.start or pc - dispatcher.start <= saved


def on_windows_stack(space: AddressSpace, thread: WineThread, sp: int) -> bool:
    """Whether a stack pointer in a dispatcher is not on the thread's Unix stack."""
    known = space.stack_at(sp)
    if known is not None and known.thread == thread.index:
        return known.kind == "windows"
    # A fiber's stack, say. Where the frames lie is the Unix one.
    region = space.memory.region(sp)
    frames = [space.memory.region(frame.address) for frame in thread.frames[:1]]
    return not any(region and each and each.mapping == region.mapping for each in frames)


def caller(
    wine: WineProcess, thread: WineThread, dispatcher: Dispatcher, query: Query, sp: int
) -> Found | Missed:
    """Who called a dispatcher that is executing on the Windows stack."""
    space, layout = wine.space, wine.frame_layout
    into = query.pc - dispatcher.start
    code = space.memory.read_available(dispatcher.start, _ENTRY)
    pop, saved = code.find(layout.pop_pc), code.find(layout.save_fp)
    exact = not dispatcher.is_unix_call
    if into == 0 or 0 <= into <= pop:
        registers = list(query.registers)
        registers[space.arch.pc] = space.memory.read_uint(sp, space.arch.pointer_size)
        registers[space.arch.sp] = sp + space.arch.pointer_size
        return _found(space, registers, exact)
    if pop < 0:
        return Missed("the code is not at hand that tells where the return address is", final=True)
    if not thread.frames:
        return Missed("the system call frame that has the return address is unknown", final=True)
    frame = thread.frames[0]
    if saved < 0 or into <= saved:
        registers = list(query.registers)
        registers[space.arch.pc] = frame.word(space, layout.pc)
        has_flags = code.startswith(layout.pop_flags, into)
        registers[space.arch.sp] = sp + (space.arch.pointer_size if has_flags else 0)
    else:
        why = objection(space, frame)
        if why is not None:
            return Missed(f"the system call frame is of no use: {why}", final=True)
        registers, exact = caller_in(wine, frame, dispatcher)
        if (registers[space.arch.sp] or 0) < sp:
            # On its way out: the arguments are off the stack.
            registers, exact = frame.registers(space), True
    return _found(space, registers, exact)


def caller_in(
    wine: WineProcess, frame: SyscallFrame, dispatcher: Dispatcher | None
) -> tuple[list[int | None], bool]:
    """The caller's registers of a frame, and whether its pc is exact. Raises `Fault`.

    At the end of a system call's stub it is. That of a call of a Unix library is a return
    address, and its arguments are on the stack, as they are for other calls.
    """
    space = wine.space
    registers = frame.registers(space)
    pc, sp = registers[space.arch.pc], registers[space.arch.sp]
    assert pc is not None
    assert sp is not None
    if dispatcher is not None:
        is_unix_call = dispatcher.is_unix_call
    else:
        code = space.memory.read_available(pc, 1)
        is_unix_call = bool(code) and code[0] not in _RETURN
    if is_unix_call:
        registers[space.arch.sp] = sp - wine.frame_layout.unix_arguments
    return registers, not is_unix_call


def _found(space: AddressSpace, registers: list[int | None], exact: bool) -> Found | Missed:
    pc = registers[space.arch.pc]
    assert pc is not None
    module = space.module_at(pc)
    if not space.is_code(pc) or (module is not None and module.kind != "pe"):
        return Missed(f"the return address 0x{pc:x} is in no Windows code", final=True)
    return Found(registers, Trust.SEGMENT_SWITCH, exact=exact)
