"""What unwind tables beside made code must lead to: a caller that has called.

Where such a table was found, nothing says that it is still of the code that is there
(`generated.near_cfi`). One of other code leads to some word of the stack, and few are addresses
behind a call.
"""

from __future__ import annotations

from unspool.generated.near_cfi import NearTables
from unspool.unwind.step import Ended, Found, Missed, Reviewer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace
    from unspool.unwind.step import Query, Stepper


def add_near_cfi(stepper: Stepper) -> None:
    """Registers the review if there are any such tables."""
    if any(
        isinstance(stepper.space.image(module), NearTables)
        for module in stepper.space.modules
        if module.kind == "jit"
    ):
        stepper.reviewers.append(CallersOfMadeCode(stepper.space))


class CallersOfMadeCode(Reviewer):
    """Refuses callers that have not called."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        if not isinstance(answer, Found) or answer.row is None or answer.row.signal:
            return answer
        module = self.space.module_at(query.lookup_pc)
        if module is None or module.kind != "jit":
            return answer
        pc = answer.registers[self.space.arch.pc]
        if (
            pc is not None
            and isinstance(self.space.image(module), NearTables)
            and self.space.after_call(pc) is False
        ):
            return Missed(f"the table beside the code leads to 0x{pc:x}, where no call is")
        return answer
