"""The Windows half of a thread whose Unix frames cannot be unwound.

A core of another machine often comes without its libc or ntdll.so. The TEB still says where the
Windows side's registers are: what lies between is left out, and said to be.
"""

from __future__ import annotations

from unspool.model import Trust
from unspool.unwind.step import DynamicStrategy, Found, Missed, Query, Switch
from unspool.wine.frames import objection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.unwind.step import Ended
    from unspool.wine.frames import SyscallFrame
    from unspool.wine.process import WineProcess


def guesses_for_wine(
    wine: WineProcess, guesses: Iterable[DynamicStrategy]
) -> list[DynamicStrategy]:
    """The same guesses, none of which leaves Windows frames out, and what to do without them."""
    return [*(_Within(wine, guess) for guess in guesses), WineRescue(wine)]


class WineRescue(DynamicStrategy):
    """Goes on at the thread's next system call frame where nobody knows the Unix caller."""

    name = "wine_rescue"

    def __init__(self, wine: WineProcess) -> None:
        self.wine = wine

    def answer(self, query: Query) -> Found | Missed:
        frame = next_frame(self.wine, query.above)
        if frame is None:
            return Missed("no system call frame above, or not on a Unix stack of Wine's")
        why = objection(self.wine.space, frame)
        if why is not None:
            return Missed(f"the next system call frame is of no use: {why}")
        words = f"Wine system call: Unix → Windows, frame at 0x{frame.address:x}"
        return Found(
            frame.registers(self.wine.space),
            Trust.SEGMENT_SWITCH,
            gap=f"no unwind data for {self._code(query)}",
            switch=Switch("windows", words, found_by="the TEB alone"),
        )

    def _code(self, query: Query) -> str:
        module = self.wine.space.module_at(query.lookup_pc)
        return module.name if module is not None else f"code at 0x{query.pc:x}"


class _Within(DynamicStrategy):
    """A guess that may not pass the thread's next system call frame.

    Above that lie, on the same Unix stack, frames of older calls, which only Windows code leads to.
    """

    def __init__(self, wine: WineProcess, guess: DynamicStrategy) -> None:
        self.name = guess.name
        self.wine = wine
        self.guess = guess

    def answer(self, query: Query) -> Found | Missed | Ended:
        answer = self.guess.answer(query)
        frame = next_frame(self.wine, query.above)
        if isinstance(answer, Found) and frame is not None:
            if (answer.above or 0) > frame.address:
                return Missed(f"it would pass the system call frame at 0x{frame.address:x}")
            # What a scan finds behind words that it could not check is rarely right, and here
            # there is something better.
            if answer.gap:
                return Missed(f"frames may be missing: {answer.gap}")
        return answer


def next_frame(wine: WineProcess, sp: int | None) -> SyscallFrame | None:
    """The newest system call frame above a stack pointer on a thread's Unix stack."""
    known = wine.space.stack_at(sp) if sp is not None else None
    thread = wine.thread_at(sp) if sp is not None else None
    if sp is None or known is None or known.kind != "unix" or thread is None:
        return None
    return next((each for each in thread.frames if each.address >= sp), None)
