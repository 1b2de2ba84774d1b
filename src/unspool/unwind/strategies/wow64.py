"""New-style WoW64: 32-bit Windows code in a 64-bit process, on a stack of its own.

wow64cpu.dll jumps into 32-bit code and out of it (`syscall_32to64`); both stacks of a thread
interlock. In the order of calls, from the innermost: the Unix half, 64-bit code of wow64.dll that
serves a system call, the 32-bit code that made it, and the 64-bit code that started that.
"""

from __future__ import annotations

from unspool.arch.x86 import EBP, EBX, EDI, EIP, ESI, ESP, X86
from unspool.arch.x86_64 import R14, RBP, RBX, RDI, RIP, RSI, RSP
from unspool.formats.pe import MACHINE_I386
from unspool.image import Image
from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.step import EarlyStrategy, Ended, Found, Missed, Query, Stepper, Switch
from unspool.unwind.strategies.wine_functions import Functions
from unspool.wine import layouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.memory import Memory
    from unspool.wine.process import WineProcess
    from unspool.wine.thread import WineThread

_CALLEE_SAVED = ((EBX, RBX), (EBP, RBP), (ESI, RSI), (EDI, RDI), (ESP, RSP), (EIP, RIP))
_LIMIT = 1 << 32
# What 64-bit code starts 32-bit code with, having called it from other 32-bit code.
_STARTED = ("KiUserCallbackDispatcher", "KiUserApcDispatcher")
# What 32-bit code has pushed at its stack pointer: the return address of a system call, or that
# and three arguments (16 bytes) of a call of a Unix library, which pops them.
_SYSCALL, _UNIX_CALL = 4, 0x14
# Copies of the 32-bit registers in frames of wow64.dll, below the frame of wow64cpu.dll.
_COPIES = 0x4000
# ljmp *address (Wine 10), and ljmp $0x33, $syscall_32to64 itself (older ones).
_LONG_JUMP_BY, _LONG_JUMP = b"\xff\x2d", b"\xea"
# xchg %r14, %rsp: the first instruction there.
_EXCHANGE = 3


class Wow64(EarlyStrategy):
    """Crosses between the 64-bit and the 32-bit stack of a thread, in 64-bit code."""

    name = "wow64"

    def __init__(self, wine: WineProcess, native: Stepper, compat: Stepper) -> None:
        self.wine = wine
        self.space = wine.space
        self.native = native
        self.compat = compat

    def claims(self, query: Query) -> bool:
        return self._is_32_bit(query) or self._is_cpu(query)

    def answer(self, query: Query) -> Found | Missed | Ended:
        if self._is_32_bit(query):
            return self._from_32_bit(query)
        return self._into_32_bit(query)

    def _is_32_bit(self, query: Query) -> bool:
        """Whether the thread runs 32-bit code here: by its stack or the module's machine."""
        pc = query.pc
        if pc >= _LIMIT or query.above is None or query.above >= _LIMIT:
            return False
        module = self.space.module_at(query.lookup_pc)
        if module is not None:
            image = self.space.image(module) if module.kind == "pe" else None
            if image is None or isinstance(image, Image):
                return False
            return image.headers.machine == MACHINE_I386
        thread = self.wine.thread_at(query.above)
        return thread is not None and _is_on_32_bit_stack(thread, query.above)

    def _is_cpu(self, query: Query) -> bool:
        module = self.space.module_at(query.lookup_pc)
        return module is not None and module.name.lower() == "wow64cpu.dll"

    # --- the thread was stopped in 32-bit code ------------------------------------------------

    def _from_32_bit(self, query: Query) -> Found | Missed | Ended:
        registers = _narrow(query.registers)
        inner = Query(query.pc, query.exact, registers, query.stack, query.planted, query.above)
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
        sp, above = query.registers[R14], query.above
        thread = self.wine.thread_at(above) if above is not None else None
        if sp is None or thread is None or thread.teb32 is None:
            return None
        try:
            pc = self._way_out(thread.teb32.address)
        except Fault:
            pc = None
        if pc is None:
            return None
        registers: list[int | None] = [None] * len(query.registers)
        registers[RIP], registers[RSP] = pc + _EXCHANGE, sp
        return self._resume(Query(pc + _EXCHANGE, True, registers, None, above=sp))

    def _way_out(self, teb32: int) -> int | None:
        """The 64-bit code that 32-bit code jumps to for system calls, by the thunk that does."""
        memory = self.space.memory
        thunk = memory.read_uint(teb32 + layouts.TEB32.wow32_reserved, 4)
        code = memory.read(thunk, 7)
        if code.startswith(_LONG_JUMP_BY):
            return memory.read_uint(int.from_bytes(code[2:6], "little"), 4)
        return int.from_bytes(code[1:5], "little") if code.startswith(_LONG_JUMP) else None

    # --- 64-bit code that was called by 32-bit code -------------------------------------------

    def _into_32_bit(self, query: Query) -> Found | Missed | Ended:
        esp = query.registers[R14]
        thread = self.wine.thread_at(esp) if esp is not None else None
        if esp is None:
            return self._past_32_bit(query, "r14 is not known")
        if thread is None or not _is_on_32_bit_stack(thread, esp):
            return Missed("r14 is not a 32-bit stack pointer: no 32-bit code runs")
        try:
            registers = self._registers(query, thread, esp)
        except Fault as fault:
            return self._past_32_bit(query, f"memory at {fault} cannot be read")
        if registers is None:
            return self._past_32_bit(query, "no 32-bit registers go with r14")
        return Found(
            registers,
            Trust.SEGMENT_SWITCH,
            exact=True,
            switch=Switch("windows", "WoW64: 64-bit → 32-bit"),
            stepper=self.compat,
            resume=self._resume(query),
        )

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

        The innermost ones are in the thread's CPU area. Of older ones wow64.dll keeps a copy,
        while it calls back into 32-bit code, in its frames or, for an APC, on the 32-bit stack.
        """
        memory = self.space.memory
        eip = memory.read(esp, 4)
        area = memory.read_uint(thread.teb.address + layouts.WOW64_CPU_AREA, 8)
        context = area + layouts.WOW64_CONTEXT
        for end, size in (
            (context + layouts.CONTEXT_I386.size, layouts.CONTEXT_I386.size),
            (query.above or 0, _COPIES),
            (esp, _COPIES),
        ):
            found = _context_in(_below(memory, end, size), eip, esp)
            if found is not None:
                return found
        if not self.space.is_code(int.from_bytes(eip, "little")):
            return None
        # A call that replaces them, NtRaiseException for example, has put others there. But
        # wow64cpu.dll has not touched the registers that it has to leave as they are.
        registers = _narrow(query.registers)
        registers[EIP], registers[ESP] = int.from_bytes(eip, "little"), esp + _SYSCALL
        return registers

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


def _is_on_32_bit_stack(thread: WineThread, sp: int) -> bool:
    teb = thread.teb32
    return teb is not None and teb.allocation <= sp < teb.stack_base


def _narrow(wide: Sequence[int | None]) -> list[int | None]:
    """The 32-bit registers that 64-bit ones are."""
    registers: list[int | None] = [None] * len(X86.register_names)
    for number, source in _CALLEE_SAVED:
        value = wide[source]
        registers[number] = None if value is None else value & _LIMIT - 1
    return registers


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
            if registers[ESP] in (esp + _SYSCALL, esp + _UNIX_CALL):
                return registers
        at = data.find(eip, at + 1)
    return None
