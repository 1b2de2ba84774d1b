"""Wine's callbacks: from Windows code back to the Unix code that called it.

A window procedure, a hook, a timer: Unix code of win32u calls back by
`call_user_mode_callback`, which makes a new system call frame below the old one and starts
`KiUserCallbackDispatcher` on the Windows stack. What that returns to is no return address:
0xdeadbabe up to Wine 8.9, then 0, and since 9.0 a machine frame as Windows has it, which leads to
the older Windows code, past all Unix frames.
"""

from __future__ import annotations

from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.step import EarlyStrategy, Found, Missed, Query, Switch
from unspool.unwind.strategies.wine_functions import Functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.unwind.step import Stepper
    from unspool.wine.frames import SyscallFrame
    from unspool.wine.layouts import Resume
    from unspool.wine.process import WineProcess, WineThread

_DISPATCHER = "KiUserCallbackDispatcher"


class WineCallback(EarlyStrategy):
    """Crosses from KiUserCallbackDispatcher to the Unix stack."""

    name = "wine_callback"

    def __init__(self, wine: WineProcess, stepper: Stepper) -> None:
        self.wine = wine
        self.stepper = stepper
        self.space = wine.space
        self.functions = Functions(wine.space, wine.ntdll, (_DISPATCHER,))

    def claims(self, query: Query) -> bool:
        return self.functions.at(query.lookup_pc) is not None

    def answer(self, query: Query) -> Found | Missed:
        sp = query.above
        thread = None if sp is None else self.wine.thread_at(sp)
        level = self._level(thread, sp) if thread is not None and sp is not None else None
        if thread is None or level is None:
            return self._past_unix(query, "no system call frame belongs to this callback")
        newer, older = thread.frames[level - 1], thread.frames[level]
        for resume in self._resumes():
            registers = self._resumed(newer, older, resume)
            if registers is not None:
                words = f"Wine callback: Windows → Unix, frame at 0x{older.address:x}"
                return Found(
                    registers,
                    Trust.SEGMENT_SWITCH,
                    switch=Switch("unix", words, found_by=f"the {resume.name}"),
                )
        return self._past_unix(query, "where the Unix code goes on is not known")

    def _past_unix(self, query: Query, why: str) -> Found | Missed:
        """The older Windows code by the machine frame of 9.0 and later, Unix code left out."""
        row = self.stepper.find_row(query, [], remember=False)
        answer = self.stepper.apply_row(row, query) if row is not None else None
        if isinstance(answer, Found) and answer.exact:
            answer.gap = f"Unix code that called back: {why}"
            return answer
        return Missed(why, final=True)

    def _level(self, thread: WineThread, sp: int) -> int | None:
        """Which of the thread's frames is that of the system call that called back.

        The callback's Windows frames lie right below the stack pointer of the code that made
        the system call. The newest frame is no candidate: its registers are stale or of a call
        within the callback.
        """
        best = None
        for level, frame in enumerate(thread.frames[1:], 1):
            try:
                outer = frame.word(self.space, frame.layout.sp)
            except Fault:
                continue
            if outer > sp and (best is None or outer < best[0]):
                best = outer, level
        return best[1] if best else None

    def _resumes(self) -> list[Resume]:
        """The layouts to try: those of the process's version first."""
        version = self.wine.version

        def is_other(resume: Resume) -> bool:
            return version is None or not resume.since <= version <= resume.until

        return sorted(self.wine.resumes, key=is_other)

    def _resumed(
        self, newer: SyscallFrame, older: SyscallFrame, resume: Resume
    ) -> list[int | None] | None:
        """The Unix code's registers by one layout, or None if they cannot be right."""
        space, arch = self.space, self.space.arch
        registers: list[int | None] = [None] * len(arch.register_names)
        try:
            base = newer.address
            if resume.base_at is not None:
                base = newer.word(space, resume.base_at)
            for number, offset in resume.registers:
                registers[number] = space.memory.read_uint(base + offset, arch.pointer_size)
        except Fault:
            return None
        if not resume.span[0] <= base - newer.address <= resume.span[1]:
            return None
        pc, saved = registers[arch.pc], registers[arch.sp]
        assert pc is not None
        sp = registers[arch.sp] = (base if saved is None else saved) + resume.adjust
        # In between the two frames, in Unix code that has called something.
        lowest = newer.address - resume.below
        if not lowest < sp <= older.address or not space.is_code(pc - 1):
            return None
        module = space.module_at(pc - 1)
        if module is not None and module.kind != "elf":
            return None
        return None if space.after_call(pc) is False else registers
