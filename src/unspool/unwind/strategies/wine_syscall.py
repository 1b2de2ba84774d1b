"""Wine's system calls: from Unix code to the Windows code that called it.

Since Wine 6.11 a thread has two stacks. `__wine_syscall_dispatcher` saves the Windows side's
registers in a `struct syscall_frame` and goes on on the other stack. Its own unwind data leads
into Windows only in Wine 7.20 to 8.20; before, it is garbage, and since 8.21 it leads to the
older Unix code on the same stack, past all Windows frames. So it is never followed: the frame is
looked for in several ways, and its registers are the caller's.
"""

from __future__ import annotations

from unspool.model import Trust
from unspool.unwind.rows import Row
from unspool.unwind.step import EarlyStrategy, Found, Missed, Query, Switch
from unspool.unwind.strategies.wine_dispatcher import find_dispatchers
from unspool.unwind.strategies.wine_entry import caller, caller_in, is_entry, on_windows_stack
from unspool.wine.frames import SyscallFrame, objection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.unwind.step import Ended, TableStrategy
    from unspool.unwind.strategies.wine_dispatcher import Dispatcher
    from unspool.wine.process import WineProcess
    from unspool.wine.thread import WineThread

# Where to look for a frame above the stack pointer: arguments on the stack and the 32 bytes
# that Microsoft's calling convention leaves free lie between (6.11 to 8.9).
_REACH = 0x400
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
        self._saved_cfas: dict[int, tuple[int, int] | None] = {}

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
        """Code in a dispatcher; or of ntdll.so, right behind a call that only a dispatcher makes:
        that of a fork which hides its dispatcher from all other ways."""
        dispatcher = self._dispatcher_at(query.lookup_pc)
        if dispatcher is not None and dispatcher.has_end:
            return True
        if query.exact:
            return dispatcher is not None and is_entry(self.wine, dispatcher, query.pc)
        unix, pc = self.wine.ntdll_so, query.pc
        if dispatcher is None and (unix is None or not unix.base <= pc < unix.end):
            return False
        return bool(self.space.after_call(pc)) and self._is_behind_the_call(query)

    def _is_behind_the_call(self, query: Query) -> bool:
        layout = self.wine.frame_layout
        code = self.space.memory.read_available(query.pc, 8)
        if code.startswith(layout.after_syscall):
            address = self._by_frame_pointer(query)
        elif code.startswith(layout.after_unix_call):
            # Such a dispatcher has nothing on the Unix stack but arguments.
            address = None if query.above is None else query.above + layout.unix_arguments
        else:
            return False
        if address is None or address % layout.alignment:
            return False
        return objection(self.space, SyscallFrame(address, layout)) is None

    def answer(self, query: Query) -> Found | Missed | Ended:
        thread = self._thread(query)
        sp = query.above
        dispatcher = self._dispatcher_at(query.lookup_pc)
        if (
            query.exact and sp is not None and thread is not None and dispatcher is not None
            and on_windows_stack(self.space, thread, sp)
        ):  # fmt: skip
            return caller(self.wine, thread, dispatcher, query, sp)
        ways: dict[int, list[str]] = {}
        for address, how in self._candidates(query, thread):
            ways.setdefault(address, []).append(how)
        problems = []
        layout = self.wine.frame_layout
        for address in sorted(ways, key=lambda each: (-len(ways[each]), each)):
            if address % layout.alignment or not self._is_above(address, sp):
                continue
            frame = SyscallFrame(address, layout)
            why = objection(self.space, frame)
            if why is None:
                return self._caller(frame, dispatcher, ways[address])
            problems.append(f"by {' and '.join(ways[address])}: {why}")
        detail = f" ({problems[0]})" if problems else ""
        return Missed(f"no usable system call frame{detail}", final=True)

    def _is_above(self, address: int, sp: int | None) -> bool:
        """Whether a frame is on the stack that a stack pointer is in, and not below it.

        On its way out a dispatcher has the stack pointer within the frame.
        """
        if sp is None:
            return True
        region, own = self.space.memory.region(address), self.space.memory.region(sp)
        return (
            region is not None and own is not None and region.mapping == own.mapping
            and sp < address + self.wine.frame_layout.size
        )  # fmt: skip

    def _dispatcher_at(self, pc: int) -> Dispatcher | None:
        return next((each for each in self.dispatchers if each.start <= pc < each.end), None)

    def _caller(
        self, frame: SyscallFrame, dispatcher: Dispatcher | None, ways: list[str]
    ) -> Found:
        registers, exact = caller_in(self.wine, frame, dispatcher)
        words = f"Wine system call: Unix → Windows, frame at 0x{frame.address:x}"
        switch = Switch("windows", words, found_by=" and ".join(ways))
        return Found(registers, Trust.SEGMENT_SWITCH, exact=exact, switch=switch)

    def _thread(self, query: Query) -> WineThread | None:
        return self.wine.thread_of(query.thread, query.above)

    # --- candidates ---------------------------------------------------------------------

    def _candidates(self, query: Query, thread: WineThread | None) -> Iterator[tuple[int, str]]:
        sp = query.above
        if sp is not None and thread is not None:
            above = thread.frame_at(sp)
            if above is not None:
                yield above.address, "the TEB"
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
        lookup = query.lookup_pc
        if lookup not in self._saved_cfas:
            self._saved_cfas[lookup] = self._saved_cfa(query)
        place = self._saved_cfas[lookup]
        base = query.registers[place[0]] if place else None
        if place is None or base is None:
            return
        saved, layout = base + place[1], self.wine.frame_layout
        # 8.21 and later: the older Unix code's stack pointer. 7.20 to 8.20: Windows'.
        yield saved - layout.syscall_cfa
        yield saved - layout.sp

    def _saved_cfa(self, query: Query) -> tuple[int, int] | None:
        """The register and the offset from it that a dispatcher's CFA is saved at."""
        row = self.cfi.row(query.pc, query.lookup_pc)
        code = row.cfa_expression if isinstance(row, Row) else None
        if not code or code[-1] != _DEREF:
            return None
        number = code[0] - _BREG0
        if not 0 <= number < len(query.registers):
            return None
        from unspool.cursor import Cursor

        return number, Cursor(code, 1).sleb()

    def _near(self, sp: int) -> int | None:
        """The first plausible frame right above the stack pointer."""
        layout = self.wine.frame_layout
        first = sp + -sp % layout.alignment
        for address in range(first, first + _REACH, layout.alignment):
            if objection(self.space, SyscallFrame(address, layout)) is None:
                return address
        return None
