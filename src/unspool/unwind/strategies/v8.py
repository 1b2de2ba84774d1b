"""JavaScript frames of V8: how they are walked is left as it is, what they work on is noted.

A frame of JavaScript begins with a frame record, and below it lie its context and its function
(`StandardFrameConstants` of V8), in the interpreter and in compiled code alike. A frame whose
caller was found by that record is looked at; what the pc is in decides nothing.
"""

from __future__ import annotations

from unspool.unwind.step import Found, Reviewer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.code import GeneratedCode
    from unspool.generated.v8.runtime import V8
    from unspool.unwind.step import Ended, Missed, Query, Stepper

_RECORD = 16


def add_v8(stepper: Stepper, code: GeneratedCode) -> None:
    """Registers a reviewer for each V8."""
    from unspool.generated.v8.runtime import V8

    for namer in code.namers:
        if isinstance(namer, V8):
            stepper.reviewers.append(JavaScriptFrames(namer, stepper.space.arch.fp))


class JavaScriptFrames(Reviewer):
    """Has no objections: adds what a frame works on to the answer who called it."""

    def __init__(self, v8: V8, fp_number: int) -> None:
        self.v8 = v8
        self.fp_number = fp_number
        # The frame pointer and thread of code that had no frame of its own when it was stopped.
        self._borrowed: tuple[int | None, int | None] = None, None

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        if not isinstance(answer, Found) or answer.subject is not None:
            return answer
        fp = query.registers[self.fp_number]
        above = answer.registers[self.v8.space.arch.sp] or answer.above
        if fp is None or above != fp + _RECORD:
            if query.exact and fp == answer.registers[self.fp_number]:
                # A bytecode that is being executed: its place is in a register only.
                self._borrowed = query.thread, fp
            return answer
        at_call = not query.exact and self._borrowed != (query.thread, fp)
        answer.subject = self.v8.subject(fp, query.pc, at_call)
        return answer
