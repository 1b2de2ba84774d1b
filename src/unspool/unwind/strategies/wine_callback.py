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
from unspool.unwind.strategies.wine_entry import on_windows_stack
from unspool.unwind.strategies.wine_functions import Functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace
    from unspool.unwind.step import Stepper
    from unspool.wine.frames import SyscallFrame
    from unspool.wine.layouts import Resume
    from unspool.wine.process import WineProcess
    from unspool.wine.thread import WineThread

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
        return self.functions.at(query.lookup_pc) is not None or self._is_entering(query)

    def _is_entering(self, query: Query) -> bool:
        """Whether Unix code runs on the Windows stack: that which is about to call back.

        It has made its frame, and given up its frame pointer since 9.0.
        """
        unix, sp = self.wine.ntdll_so, query.above
        if unix is None or not query.exact or not unix.base <= query.pc < unix.end or sp is None:
            return False
        thread = self.wine.thread_of(query.thread, sp)
        if thread is None or not on_windows_stack(self.space, thread, sp):
            return False
        above = thread.level_above(self.space, sp)
        return above is not None and above[0] == 1

    def answer(self, query: Query) -> Found | Missed:
        sp = query.above
        thread = self.wine.thread_of(query.thread, sp)
        above = thread.level_above(self.space, sp) if thread and sp is not None else None
        if thread is None or above is None:
            return self._past_unix(query, "no system call frame belongs to this callback")
        found = cross(self.wine, thread, above[0])
        return found or self._past_unix(query, "where the Unix code goes on is not known")

    def _past_unix(self, query: Query, why: str) -> Found | Missed:
        """The older Windows code by the machine frame of 9.0 and later, Unix code left out."""
        row = self.stepper.find_row(query, [], remember=False)
        answer = self.stepper.apply_row(row, query) if row is not None else None
        if isinstance(answer, Found) and answer.exact:
            answer.gap = f"Unix code that called back: {why}"
            return answer
        return Missed(why, final=True)


def cross(wine: WineProcess, thread: WineThread, level: int) -> Found | None:
    """To the Unix code that called back, within the thread's system call of that level."""
    newer, older = thread.frames[level - 1], thread.frames[level]
    for resume in _resumes(wine):
        registers = _resumed(wine.space, newer, older, resume)
        if registers is not None:
            words = f"Wine callback: Windows → Unix, frame at 0x{older.address:x}"
            switch = Switch("unix", words, found_by=f"the {resume.name}")
            return Found(registers, Trust.SEGMENT_SWITCH, switch=switch)
    return None


def resumes_here(wine: WineProcess, newer: SyscallFrame, query: Query) -> bool:
    """Whether a Unix frame is the one that called back with that frame among its variables.

    It is above its variables, but its stack pointer is not.
    """
    return any(
        (registers := _read(wine.space, newer, resume)) is not None
        and registers[wine.space.arch.pc] == query.pc
        and registers[wine.space.arch.sp] == query.above
        for resume in wine.resumes
        if resume.below
    )


def _resumes(wine: WineProcess) -> list[Resume]:
    """The layouts to try: those of the process's version first."""
    version = wine.version

    def is_other(resume: Resume) -> bool:
        return version is None or not resume.since <= version <= resume.until

    return sorted(wine.resumes, key=is_other)


def _resumed(
    space: AddressSpace, newer: SyscallFrame, older: SyscallFrame, resume: Resume
) -> list[int | None] | None:
    """The Unix code's registers by one layout, or None if they cannot be right."""
    registers = _read(space, newer, resume)
    if registers is None:
        return None
    pc, sp = registers[space.arch.pc], registers[space.arch.sp]
    assert pc is not None
    assert sp is not None
    # In between the two frames, in Unix code that has called something.
    lowest = newer.address - resume.below
    if not lowest < sp <= older.address or not space.is_code(pc - 1):
        return None
    module = space.module_at(pc - 1)
    if module is not None and module.kind != "elf":
        return None
    return None if space.after_call(pc) is False else registers


def _read(
    space: AddressSpace, newer: SyscallFrame, resume: Resume
) -> list[int | None] | None:
    """The registers by one layout, the stack pointer among them; None if there are none."""
    arch = space.arch
    registers: list[int | None] = [None] * len(arch.register_names)
    try:
        base = newer.address
        if resume.base_at is not None:
            base = newer.word(space, resume.base_at)
        if not resume.span[0] <= base - newer.address <= resume.span[1]:
            return None
        for number, offset in resume.registers:
            registers[number] = space.memory.read_uint(base + offset, arch.pointer_size)
    except Fault:
        return None
    saved = registers[arch.sp]
    registers[arch.sp] = (base if saved is None else saved) + resume.adjust
    return registers
