"""Wine's system calls: from Unix code to the Windows code that called it.

Since Wine 6.11 a thread has two stacks. `__wine_syscall_dispatcher` saves the Windows side's
registers in a `struct syscall_frame` and goes on on the other stack. Its own unwind data leads
into Windows only in Wine 7.20 to 8.20; before, it is garbage, and since 8.21 it leads to the
older Unix code on the same stack, past all Windows frames. So it is never followed: the frame is
looked for in several ways, and its registers are the caller's.
"""

from __future__ import annotations

from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.rows import Row
from unspool.unwind.step import EarlyStrategy, Found, Missed, Query, Switch
from unspool.unwind.strategies.wine_dispatcher import find_dispatchers
from unspool.wine.frames import SyscallFrame, objection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.unwind.step import Ended, TableStrategy
    from unspool.unwind.strategies.wine_dispatcher import Dispatcher
    from unspool.wine.process import WineProcess, WineThread

# Where to look for a frame above the stack pointer: arguments on the stack and the 32 bytes
# that Microsoft's calling convention leaves free lie between (6.11 to 8.9).
_REACH = 0x400
_RETURN = (0xC3, 0xC2)  # ret, ret n
# DW_OP_deref behind DW_OP_bregN: the form of the dispatchers' CFA.
_BREG0, _DEREF = 0x70, 0x06


class WineSyscall(EarlyStrategy):
    """Crosses from a dispatcher to the Windows stack."""

    name = "wine_syscall"

    def __init__(self, wine: WineProcess, cfi: TableStrategy) -> None:
        self.wine = wine
        self.space = wine.space
        self.cfi = cfi
        self._dispatchers: list[Dispatcher] | None = None

    @property
    def dispatchers(self) -> list[Dispatcher]:
        """The dispatchers' ranges, looked for when the first frame asks."""
        if self._dispatchers is None:
            self._dispatchers = find_dispatchers(self.wine)
        return self._dispatchers

    def named_code(self) -> list[tuple[int, int, str]]:
        """Code whose names are known here and in no symbol table: start, end, name.

        Stripped libraries have at best a label in the middle of a dispatcher.
        """
        return [(each.start, each.end, each.name) for each in self._dispatchers or ()]

    def claims(self, query: Query) -> bool:
        """Code in a dispatcher; or of ntdll.so, with its frame pointer where only a dispatcher
        sets it: that of a fork which hides its dispatcher from all other ways."""
        pc = query.lookup_pc
        for each in self.dispatchers:
            if each.start <= pc < each.end:
                return True
        unix = self.wine.ntdll_so
        if unix is None or not unix.base <= pc < unix.end or self.dispatchers:
            return False
        thread = self._thread(query)
        by_pointer = self._by_frame_pointer(query)
        return thread is not None and any(
            frame.address in (by_pointer, query.above) for frame in thread.frames
        )

    def answer(self, query: Query) -> Found | Missed | Ended:
        thread = self._thread(query)
        sp = query.above
        if query.exact and sp is not None:
            early = self._before_the_switch(query, thread, sp)
            if early is not None:
                return early
        ways: dict[int, list[str]] = {}
        for address, how in self._candidates(query, thread):
            ways.setdefault(address, []).append(how)
        problems = []
        layout = self.wine.frame_layout
        for address in sorted(ways, key=lambda each: (-len(ways[each]), each)):
            if address % layout.alignment:
                continue
            frame = SyscallFrame(address, layout)
            why = objection(self.space, frame)
            if why is None:
                return self._caller(frame, ways[address])
            problems.append(f"by {' and '.join(ways[address])}: {why}")
        detail = f" ({problems[0]})" if problems else ""
        return Missed(f"no usable system call frame{detail}", final=True)

    def _caller(self, frame: SyscallFrame, ways: list[str]) -> Found:
        registers = frame.registers(self.space)
        pc = registers[self.space.arch.pc]
        assert pc is not None
        words = f"Wine system call: Unix → Windows, frame at 0x{frame.address:x}"
        return Found(
            registers,
            Trust.SEGMENT_SWITCH,
            exact=self._at_return(pc),
            switch=Switch("windows", words, found_by=" and ".join(ways)),
        )

    def _at_return(self, pc: int) -> bool:
        """Whether a `ret` is next: the end of a system call stub, whether it is a return
        address (i386) or not (x86-64). That of a call of a Unix library is an ordinary one."""
        code = self.space.memory.read_available(pc, 1)
        return bool(code) and code[0] in _RETURN

    def _thread(self, query: Query) -> WineThread | None:
        return None if query.above is None else self.wine.thread_at(query.above)

    # --- candidates ---------------------------------------------------------------------

    def _candidates(self, query: Query, thread: WineThread | None) -> Iterator[tuple[int, str]]:
        sp = query.above
        if sp is not None and thread is not None:
            above = [each.address for each in thread.frames if each.address >= sp]
            if above:
                yield min(above), "the TEB"
        pointer = self._by_frame_pointer(query)
        if pointer is not None:
            yield pointer, "the frame pointer"
        for address in self._by_cfi(query):
            yield address, "unwind data"
        if sp is not None:
            near = self._near(sp)
            if near is not None:
                yield near, "the stack pointer"

    def _by_frame_pointer(self, query: Query) -> int | None:
        fp = query.registers[self.space.arch.fp]
        return None if fp is None else fp - self.wine.frame_layout.frame_pointer

    def _by_cfi(self, query: Query) -> Iterator[int]:
        """The frame by what the dispatcher's CFA is said to be saved in."""
        row = self.cfi.row(query.pc, query.lookup_pc)
        if not isinstance(row, Row) or row.cfa_expression is None:
            return
        code = row.cfa_expression
        number = code[0] - _BREG0
        if not 0 <= number < len(query.registers) or code[-1] != _DEREF:
            return
        base = query.registers[number]
        if base is None:
            return
        from unspool.cursor import Cursor

        offset = Cursor(code, 1).sleb()
        layout = self.wine.frame_layout
        # 8.21 and later: the older Unix code's stack pointer. 7.20 to 8.20: Windows'.
        yield base + offset - layout.syscall_cfa
        yield base + offset - layout.sp

    def _near(self, sp: int) -> int | None:
        """The first plausible frame right above the stack pointer."""
        layout = self.wine.frame_layout
        first = sp + -sp % layout.alignment
        for address in range(first, first + _REACH, layout.alignment):
            if objection(self.space, SyscallFrame(address, layout)) is None:
                return address
        return None

    # --- a thread stopped in the dispatcher itself, before or after it switches stacks -----

    def _before_the_switch(
        self, query: Query, thread: WineThread | None, sp: int
    ) -> Found | Missed | None:
        """The caller of a dispatcher that is still, or again, on the Windows stack.

        It takes its return address off the stack into the frame with its second instruction,
        and puts it back before its last one. None if the stack is the Unix one already.
        """
        known = self.space.stack_at(sp)
        if known is None or known.kind != "windows" or thread is None:
            return None
        space, layout = self.space, self.wine.frame_layout
        registers = list(query.registers)
        word = space.arch.pointer_size
        try:
            pushed = space.memory.read_uint(sp, word)
        except Fault:
            pushed = 0
        module = space.module_at(pushed)
        in_windows = module is not None and module.kind == "pe" and space.is_code(pushed)
        if in_windows and (space.after_call(pushed) or self._at_return(pushed)):
            registers[space.arch.pc] = pushed
            registers[space.arch.sp] = sp + word
            return Found(registers, Trust.LEAF, exact=self._at_return(pushed))
        if not thread.frames:
            return Missed("no system call frame, and no return address", final=True)
        frame = thread.frames[0]
        saved = frame.registers(space)
        if objection(space, frame) is not None:
            return Missed("the system call frame is not filled yet", final=True)
        registers[space.arch.pc] = saved[space.arch.pc]
        if registers[space.arch.fp] == frame.address + layout.frame_pointer:
            registers[space.arch.fp] = saved[space.arch.fp]
        pc = registers[space.arch.pc]
        assert pc is not None
        return Found(registers, Trust.SEGMENT_SWITCH, exact=self._at_return(pc))
