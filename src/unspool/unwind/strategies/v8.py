"""JavaScript frames of V8: what they work on is noted, whoever has found their callers.

A frame of JavaScript begins with a frame record, and below it lie its context and its function
(`StandardFrameConstants` of V8), in the interpreter and in compiled code alike. A frame whose
caller was found by that record is looked at; what the pc is in decides nothing.
"""

from __future__ import annotations

from struct import unpack

from unspool.model import Trust
from unspool.unwind.step import EarlyStrategy, Found, Missed, Reviewer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.code import GeneratedCode
    from unspool.generated.v8.runtime import V8
    from unspool.unwind.step import Ended, Query, Stepper

_RECORD = 16


def add_v8(stepper: Stepper, code: GeneratedCode) -> None:
    """Registers what each V8 needs."""
    from unspool.generated.v8.runtime import V8

    for namer in code.namers:
        if isinstance(namer, V8):
            stepper.reviewers.append(JavaScriptFrames(namer))
            stepper.early.append(Deoptimized(namer))


class JavaScriptFrames(Reviewer):
    """Has no objections: adds what a frame works on to the answer who called it."""

    def __init__(self, v8: V8) -> None:
        self.v8 = v8
        self.arch = v8.space.arch
        # The thread and frame pointer of code that had no frame of its own when it was stopped.
        self._borrowed: tuple[int | None, int | None] = None, None

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        if not isinstance(answer, Found) or answer.subject is not None:
            return answer
        fp = query.registers[self.arch.fp]
        above = answer.registers[self.arch.sp] or answer.above
        if fp is None or above != fp + _RECORD:
            if query.exact and fp == answer.registers[self.arch.fp]:
                # A bytecode that is being executed: its place is in a register only.
                self._borrowed = query.thread, fp
            return answer
        at_call = not query.exact and self._borrowed != (query.thread, fp)
        answer.subject = self.v8.subject(fp, query.above, query.pc, at_call)
        return answer


class Deoptimized(EarlyStrategy):
    """Frames that V8 has rewritten, and what these have called.

    Optimised code that turns out to be wrong is given up while it is on the stack: its frame
    becomes that of the interpreter, or several, for calls that had been put in place. They go on
    at the beginning of a builtin (`InterpreterEnterAtNextBytecode`), which nothing has called: by
    their return addresses such frames are none. What they hold must be a function and its bytecode.
    """

    name = "v8"

    def __init__(self, v8: V8) -> None:
        self.v8 = v8
        self.space = v8.space

    def claims(self, query: Query) -> bool:
        if query.exact and not query.planted:
            return False
        record = self._record(query)
        if record is None:
            return False
        fp, link, address = record
        if query.exact:
            return self.v8.is_builtin(query.pc) and self.v8.is_interpreted(fp)
        return (
            self.v8.is_builtin(address)
            and self.space.after_call(address) is False
            and self.v8.is_interpreted(link)
        )

    def answer(self, query: Query) -> Found | Missed:
        record = self._record(query)
        if record is None:
            return Missed("no frame record")
        fp, link, address = record
        arch = self.space.arch
        exact = self.space.after_call(address) is False
        if exact and not self.v8.is_interpreted(link):
            return Missed(f"no call before 0x{address:x}, where the record leads")
        registers: list[int | None] = [None] * len(query.registers)
        registers[arch.pc], registers[arch.fp] = address, link
        registers[arch.sp] = fp + _RECORD if arch.link is None else None
        subject = self.v8.subject(fp, query.above, query.pc, at_call=True)
        return Found(registers, Trust.FRAME_POINTER, exact, above=fp + _RECORD, subject=subject)

    def _record(self, query: Query) -> tuple[int, int, int] | None:
        """The frame pointer, the saved one, and the return address."""
        fp, sp = query.registers[self.space.arch.fp], query.above
        memory = self.space.memory
        if fp is None or sp is None or fp % 8 or fp < sp:
            return None
        region = memory.region(fp)
        if region is None or region is not memory.region(sp):
            return None
        link, address = unpack("<2Q", memory.read(fp, _RECORD))
        return fp, link, address & self.space.arch.code_address_mask
