"""Where a walk of a Wine thread may not go, and where it goes on if nobody knows the caller.

A thread's stacks interlock: above its next system call frame lie, on the same Unix stack, frames
of older calls, which only Windows code leads to; and above the stack pointer of a system call
that called back lies Windows code that only Unix code leads to. What passes such a border left
something out, however sure it is. A core of another machine often comes without its libc or
ntdll.so: the system call frames still say where the other half is.
"""

from __future__ import annotations

from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.rows import Row
from unspool.unwind.step import (
    DynamicStrategy,
    Ended,
    Found,
    Missed,
    Query,
    Reviewer,
    Switch,
    TableStrategy,
)
from unspool.unwind.strategies.scan import Scan
from unspool.unwind.strategies.wine_callback import cross, resumes_here
from unspool.unwind.strategies.wine_dispatcher import find_dispatchers
from unspool.unwind.strategies.wine_entry import caller_in
from unspool.unwind.strategies.wine_functions import STARTED, Functions
from unspool.wine.frames import objection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.unwind.strategies.wine_dispatcher import Dispatcher
    from unspool.wine.frames import SyscallFrame
    from unspool.wine.process import WineProcess

_UNIX, _WINDOWS = "unix", "windows"
_GUESSES = (Trust.FRAME_POINTER, Trust.SCAN)
# Threads start at most so far below their Windows stack's end: 0x50 to 0x540 bytes in 8.0 and
# 10.0. A null record or return address anywhere else was written by somebody.
TOP = 0x1000


class Border:
    """Where a part of a stack ends: `high` is the first address of what is not in it.

    `frame` is the system call frame there: that of the call which a Unix part serves, or that
    of the call which called back into a Windows part; None at the end of a Windows stack.
    """

    __slots__ = ("frame", "high", "kind", "level")

    def __init__(
        self, kind: str, high: int, frame: SyscallFrame | None = None, level: int = 0
    ) -> None:
        self.kind = kind
        self.high = high
        self.frame = frame
        self.level = level


def border(wine: WineProcess, query: Query, reach: int | None = None) -> Border | None:
    """The next border above a frame; None if the frame is on no stack of Wine's.

    None as well if `reach` is not above the first frame on a Unix stack: that is told at once.
    """
    sp = query.above
    thread = wine.thread_of(query.thread, sp)
    known = wine.space.stack_at(sp) if sp is not None else None
    if sp is None or thread is None or known is None or known.thread != thread.index:
        return None
    space = wine.space
    if known.kind == _UNIX:
        frame = thread.frame_above(sp)
        if frame is not None and reach is not None and reach <= frame.address:
            return None
        if frame is not None and resumes_here(wine, frame, query):
            frame = thread.frame_above(frame.address + 1)
        if frame is None or objection(space, frame) is not None:
            return None
        return Border(_UNIX, frame.address + 1, frame)
    if known.kind != _WINDOWS:
        return None
    above = thread.level_above(space, sp)
    if above is not None and above[1] < known.high:
        level, outer = above
        if objection(space, thread.frames[level]) is None:
            return Border(_WINDOWS, outer, thread.frames[level], level)
    return Border(_WINDOWS, known.high)


class WineBorders(Reviewer):
    """Turns answers that pass a border into misses."""

    def __init__(self, wine: WineProcess) -> None:
        self.wine = wine

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        if isinstance(answer, Found) and (answer.switch is not None or answer.stepper is not None):
            return answer
        if isinstance(answer, Found) and answer.row is not None and answer.row.signal is not None:
            return answer
        reach = self._reach(answer) if isinstance(answer, Found) else None
        limit = border(self.wine, query, reach)
        if limit is None:
            return answer
        why = self._objection(query, answer, limit)
        return answer if why is None else Missed(why)

    def _reach(self, answer: Found) -> int:
        return answer.registers[self.wine.space.arch.sp] or answer.above or 0

    def _objection(self, query: Query, answer: Found | Ended, limit: Border) -> str | None:
        frame = limit.frame
        where = f"the system call frame at 0x{frame.address:x}" if frame else "the stack's end"
        if isinstance(answer, Ended):
            if answer.of_a_part:
                return None
            if frame is None and limit.high - (query.above or 0) <= TOP:
                return None
            return f"{answer.why}, but {where} is above"
        arch = self.wine.space.arch
        sp = self._reach(answer)
        guess = answer.trust in _GUESSES
        if frame is None:
            return f"it would pass {where}" if guess and sp > limit.high else None
        if limit.kind == _UNIX:
            return f"it would pass {where}" if sp >= limit.high else None
        # A program can leave a callback by longjmp, and its frame then stays behind: unwind
        # data that leads past is right. What leads to the very code that was called back from
        # is a machine frame, or the return address that a callback pretends to have.
        try:
            pc = frame.word(self.wine.space, frame.layout.pc)
        except Fault:
            return None
        if answer.registers[arch.pc] == pc or (guess and sp >= limit.high):
            return f"it would pass the callback of {where}"
        return None


class WineRescue(DynamicStrategy):
    """Goes on behind the next border where nobody knows the caller."""

    name = "wine_rescue"

    def __init__(self, wine: WineProcess) -> None:
        self.wine = wine

    def answer(self, query: Query) -> Found | Missed:
        limit = border(self.wine, query)
        if limit is None or limit.frame is None:
            return Missed("no system call frame above, or not on a stack of Wine's")
        gap = f"no unwind data for {self._code(query)}"
        if limit.kind == _WINDOWS:
            thread = self.wine.thread_of(query.thread, query.above)
            found = cross(self.wine, thread, limit.level) if thread is not None else None
            if found is None:
                return Missed("where the Unix code goes on that called back is not known")
            found.gap = gap
            return found
        words = f"Wine system call: Unix → Windows, frame at 0x{limit.frame.address:x}"
        registers, exact = caller_in(self.wine, limit.frame, None)
        switch = Switch("windows", words, found_by="the TEB alone")
        return Found(registers, Trust.SEGMENT_SWITCH, exact=exact, gap=gap, switch=switch)

    def _code(self, query: Query) -> str:
        module = self.wine.space.module_at(query.lookup_pc)
        return module.name if module is not None else f"code at 0x{query.pc:x}"


class _Careful(DynamicStrategy):
    """A guess of which only that is taken of Unix code that was checked: the system call frame
    is surer, and what is left out by it the lesser half."""

    def __init__(self, wine: WineProcess, guess: DynamicStrategy) -> None:
        self.name = guess.name
        self.wine = wine
        self.guess = guess

    def answer(self, query: Query) -> Found | Missed | Ended:
        answer = self.guess.answer(query)
        if isinstance(answer, Ended) and self._is_wide_windows_code(query):
            return Missed(f"{answer.why}, but not of Windows code")
        # What a scan finds behind words that it could not check is rarely right.
        if isinstance(answer, Found) and answer.gap:
            limit = border(self.wine, query)
            if limit is not None and limit.kind == _UNIX:
                return Missed(f"frames may be missing: {answer.gap}")
        return answer


    def _is_wide_windows_code(self, query: Query) -> bool:
        module = self.wine.space.module_at(query.lookup_pc)
        return module is not None and module.kind == "pe" and self.wine.bitness == 64


class _Switches(TableStrategy):
    """Code that leads on by other means than a row: its row, if it has one, is no evidence.

    For a scan, which does not take for a return address what leads nowhere.
    """

    name = "wine_switches"

    def __init__(self, wine: WineProcess) -> None:
        self.wine = wine
        self.functions = Functions(wine.space, wine.ntdll, STARTED)
        self._dispatchers: list[Dispatcher] | None = None

    def row(self, pc: int, lookup_pc: int) -> Row | Missed:
        if self._dispatchers is None:
            self._dispatchers = find_dispatchers(self.wine)
        if self.functions.at(lookup_pc) or any(
            each.has_end and each.start <= lookup_pc < each.end for each in self._dispatchers
        ):
            return Row(self.name, Trust.SCAN, self.wine.space.arch, 0, 0, (), root=True)
        return Missed("no code that switches stacks")


def guesses_for_wine(
    wine: WineProcess, guesses: Iterable[DynamicStrategy]
) -> list[DynamicStrategy]:
    """The same guesses, none of which leaves frames out, and what to do without them."""
    guesses = list(guesses)
    for guess in guesses:
        if isinstance(guess, Scan):
            guess.tables = [_Switches(wine), *guess.tables]
    return [*(_Careful(wine, guess) for guess in guesses), WineRescue(wine)]
