"""New-style WoW64: 32-bit Windows code in a 64-bit process, on a stack of its own.

wow64cpu.dll jumps into 32-bit code and out of it (`syscall_32to64`); both stacks of a thread
interlock. In the order of calls, from the innermost: the Unix half, 64-bit code of wow64.dll that
serves a system call, the 32-bit code that made it, and the 64-bit code that started that.
"""

from __future__ import annotations

from unspool.arch.x86 import EIP, ESP, X86
from unspool.arch.x86_64 import R14, RIP, RSP
from unspool.formats.pe import MACHINE_I386
from unspool.image import Image
from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.step import (
    EarlyStrategy,
    Ended,
    Found,
    Missed,
    Query,
    Reviewer,
    Stepper,
    Switch,
)
from unspool.unwind.strategies.wine_functions import Functions
from unspool.unwind.strategies.wine_rescue import TOP
from unspool.unwind.strategies.wow64_cpu import (
    LIMIT,
    SYSCALL,
    UNIX_CALL,
    executing,
    is_on_32_bit_stack,
    popped,
    registers_32,
)
from unspool.wine import layouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Memory
    from unspool.wine.process import WineProcess
    from unspool.wine.thread import WineThread

_CPU = "wow64cpu.dll"
# What 64-bit code starts 32-bit code with, having called it from other 32-bit code.
_STARTED = ("KiUserCallbackDispatcher", "KiUserApcDispatcher")
# Copies of the 32-bit registers in frames of wow64.dll, below the frame of wow64cpu.dll.
_COPIES = 0x4000
# ljmp *address (Wine 10), and ljmp $0x33, $syscall_32to64 itself (older ones).
_LONG_JUMP_BY, _LONG_JUMP = b"\xff\x2d", b"\xea"
# xchg %r14, %rsp: the first instruction there.
_EXCHANGE = 3
# eax, ecx and edx are never known.
_SCRATCH = 3


class Wow64(EarlyStrategy):
    """Crosses between the 64-bit and the 32-bit stack of a thread, in 64-bit code."""

    name = "wow64"

    def __init__(self, wine: WineProcess, native: Stepper, compat: Stepper) -> None:
        self.wine = wine
        self.space = wine.space
        self.native = native
        self.compat = compat
        self._has_name = any(module.name.lower() == _CPU for module in self.space.modules)

    def claims(self, query: Query) -> bool:
        return self._is_32_bit(query) or self._is_cpu(query)

    def answer(self, query: Query) -> Found | Missed | Ended:
        if self._is_32_bit(query):
            return self._from_32_bit(query)
        return self._into_32_bit(query)

    def _is_32_bit(self, query: Query) -> bool:
        """Whether the thread runs 32-bit code here: by its stack or the module's machine."""
        pc = query.pc
        if pc >= LIMIT or query.above is None or query.above >= LIMIT:
            return False
        module = self.space.module_at(query.lookup_pc)
        if module is not None:
            image = self.space.image(module) if module.kind == "pe" else None
            if image is None or isinstance(image, Image):
                return False
            return image.headers.machine == MACHINE_I386
        thread = self._thread(query)
        return thread is not None and is_on_32_bit_stack(thread, query.above)

    def _is_cpu(self, query: Query) -> bool:
        """Whether code is wow64cpu.dll's, by that module's name or by what 32-bit code is told to
        jump to: the loader's list may be lost."""
        module = self.space.module_at(query.lookup_pc)
        if module is None or module.kind != "pe":
            return False
        if self._has_name:
            return module.name.lower() == _CPU
        thread = self._thread(query)
        thunk = self._thunk(thread) if thread is not None else None
        return thunk is not None and module.base <= thunk < module.end

    def _thread(self, query: Query) -> WineThread | None:
        return self.wine.thread_of(query.thread, query.above)

    def _thunk(self, thread: WineThread) -> int | None:
        """The far jump into wow64cpu.dll that 32-bit code executes."""
        if thread.teb32 is None:
            return None
        try:
            at = thread.teb32.address + layouts.TEB32.wow32_reserved
            return self.space.memory.read_uint(at, 4)
        except Fault:
            return None

    # --- the thread was stopped in 32-bit code ------------------------------------------------

    def _from_32_bit(self, query: Query) -> Found | Missed | Ended:
        esp = (query.registers[RSP] or 0) & LIMIT - 1
        registers = registers_32(query.pc, esp, query.registers)
        inner = Query(
            query.pc, query.exact, registers, query.stack, query.planted, query.above, query.thread
        )  # fmt: skip
        answer = self.compat.step(inner, [])
        if isinstance(answer, Found) and answer.stepper is None:
            answer.stepper = self.compat
            answer.resume = self._parked(query)
        elif isinstance(answer, Missed):
            answer.final = True
        return answer

    def _parked(self, query: Query) -> Found | None:
        """The caller of the 64-bit code that waits for 32-bit code to come back.

        wow64cpu keeps its stack pointer in r14 while 32-bit code runs, which cannot touch it.
        """
        sp = query.registers[R14]
        thread = self._thread(query)
        try:
            pc = self._way_out(thread) if thread is not None else None
        except Fault:
            pc = None
        if sp is None or pc is None:
            return None
        return self._caller_of(pc + _EXCHANGE, sp, query)

    def _caller_of(self, pc: int, sp: int, query: Query) -> Found | None:
        """The 64-bit caller of code of wow64cpu.dll with that stack pointer."""
        registers: list[int | None] = [None] * len(query.registers)
        registers[RIP], registers[RSP] = pc, sp
        return self._resume(Query(pc, True, registers, None, above=sp, thread=query.thread))

    def _way_out(self, thread: WineThread) -> int | None:
        """The 64-bit code that 32-bit code jumps to for system calls, by the thunk that does."""
        memory = self.space.memory
        thunk = self._thunk(thread)
        if thunk is None:
            return None
        code = memory.read(thunk, 7)
        if code.startswith(_LONG_JUMP_BY):
            return memory.read_uint(int.from_bytes(code[2:6], "little"), 4)
        return int.from_bytes(code[1:5], "little") if code.startswith(_LONG_JUMP) else None

    # --- 64-bit code that was called by 32-bit code -------------------------------------------

    def _into_32_bit(self, query: Query) -> Found | Missed | Ended:
        thread = self._thread(query)
        if query.exact:
            return self._stopped_inside(query, thread)
        esp = query.registers[R14]
        if esp is None:
            return self._past_32_bit(query, "r14 is not known")
        if thread is None or not is_on_32_bit_stack(thread, esp):
            if popped(self.space.memory, self._function(query), query.pc) is None:
                return Missed("r14 is not a 32-bit stack pointer: no 32-bit code runs")
            return self._past_32_bit(query, "r14 is not its stack pointer")
        try:
            registers = self._registers(query, thread, esp)
        except Fault as fault:
            return self._past_32_bit(query, f"memory at {fault} cannot be read")
        if registers is None:
            return self._past_32_bit(query, "no 32-bit registers go with r14")
        return self._into(registers, self._resume(query))

    def _into(self, registers: list[int | None], resume: Found | None) -> Found:
        switch = Switch("windows", "WoW64: 64-bit → 32-bit")
        return Found(
            registers, Trust.SEGMENT_SWITCH, exact=True, switch=switch, stepper=self.compat,
            resume=resume,
        )  # fmt: skip

    def _stopped_inside(self, query: Query, thread: WineThread | None) -> Found | Missed:
        """A thread that was executing code of wow64cpu.dll: where it is tells what it has done."""
        if thread is None:
            return Missed("the thread's TEBs are not known")
        thunk = self._thunk(thread)
        state = executing(
            self.space.memory, thread, query, self._function(query), thunk
        )
        if state is None:
            return Missed("no 32-bit code runs, or the code that tells is not at hand")
        registers, sp = state
        pc = self._way_out(thread) if query.pc == thunk else query.pc
        found = self._into(registers, self._caller_of(pc, sp, query) if pc else None)
        if query.above is not None and is_on_32_bit_stack(thread, query.above):
            found.switch = None  # it is there still, or again
        return found

    def _function(self, query: Query) -> int | None:
        row = self.native.find_row(query, [], remember=False)
        return row.function if row is not None else None

    def _past_32_bit(self, query: Query, why: str) -> Found | Missed:
        """The 64-bit caller, and that 32-bit code before it is left out."""
        answer = self._resume(query)
        if answer is None:
            return Missed(f"the 32-bit code that runs here: {why}", final=True)
        answer.gap = f"32-bit code: {why}"
        answer.stepper = answer.switch = None
        return answer

    def _registers(self, query: Query, thread: WineThread, esp: int) -> list[int | None] | None:
        """The 32-bit registers at the system call.

        64-bit code has to leave alone those that 32-bit code may rely on. Where they got lost on
        the way, the innermost ones are in the thread's CPU area. Of older ones wow64.dll keeps a
        copy, while it calls back into 32-bit code, in its frames or, for an APC, on the 32-bit
        stack.
        """
        memory = self.space.memory
        raw = memory.read(esp, 4)
        eip = int.from_bytes(raw, "little")
        size = popped(memory, self._function(query), query.pc) or SYSCALL
        registers = registers_32(eip, esp + size, query.registers)
        if registers.count(None) > _SCRATCH:
            area = memory.read_uint(thread.teb.address + layouts.WOW64_CPU_AREA, 8)
            context = area + layouts.WOW64_CONTEXT
            for end, reach in (
                (context + layouts.CONTEXT_I386.size, layouts.CONTEXT_I386.size),
                (query.above or 0, _COPIES),
                (esp, _COPIES),
            ):
                found = _context_in(_below(memory, end, reach), raw, esp)
                if found is not None:
                    return found
        return registers if self.space.is_code(eip) else None

    def _resume(self, query: Query) -> Found | None:
        """The 64-bit caller of wow64cpu's code."""
        row = self.native.find_row(query, [], remember=False)
        answer = self.native.apply_row(row, query) if row is not None else None
        if not isinstance(answer, Found):
            return None
        answer.stepper = self.native
        answer.switch = Switch("windows", "WoW64: 32-bit → 64-bit")
        return answer


class Wow64Callback(EarlyStrategy):
    """32-bit code that 64-bit code called back: what called that is on the 64-bit stack."""

    name = "wow64_callback"

    def __init__(self, compat: Stepper, wine: WineProcess) -> None:
        self.functions = Functions(compat.space, wine.ntdll32, _STARTED)

    def claims(self, query: Query) -> bool:
        return self.functions.at(query.lookup_pc) is not None

    def answer(self, query: Query) -> Ended:
        return Ended("64-bit code called back into 32-bit code here", of_a_part=True)


class Wow64Borders(Reviewer):
    """Turns ends of 32-bit stacks into misses that lie in their middle."""

    def __init__(self, wine: WineProcess) -> None:
        self.wine = wine

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        thread = self.wine.thread_of(query.thread, query.above)
        if isinstance(answer, Found) or answer.of_a_part or thread is None or thread.teb32 is None:
            return answer
        left = thread.teb32.stack_base - (query.above or 0)
        return answer if left <= TOP else Missed(f"{answer.why}, but the stack's end is above")


def _below(memory: Memory, end: int, size: int) -> bytes:
    """Up to `size` bytes below an address: of a stack, what is held begins somewhere in it."""
    start, least = end, max(end - size, 0)
    while start > least and (window := memory.window(start - 1)) is not None:
        start = max(window.low, least)
    return memory.read_available(start, end - start)


def _context_in(data: bytes, eip: bytes, esp: int) -> list[int | None] | None:
    """The registers of an I386_CONTEXT in the data that has that eip and goes with that esp."""
    offsets = dict(layouts.CONTEXT_I386.registers)
    at = data.find(eip)
    while at >= 0:
        start = at - offsets[EIP]
        end = start + layouts.CONTEXT_I386.size
        if start >= 0 and end <= len(data):
            registers: list[int | None] = [None] * len(X86.register_names)
            for number, offset in layouts.CONTEXT_I386.registers:
                registers[number] = int.from_bytes(data[start + offset :][:4], "little")
            if registers[ESP] in (esp + SYSCALL, esp + UNIX_CALL):
                return registers
        at = data.find(eip, at + 1)
    return None
