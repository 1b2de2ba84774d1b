"""Plain data of `unspool patch-check`."""

from __future__ import annotations

from unspool.model import Finding, Trust
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SAFE, NOT_PROVEN, UNSAFE = "safe", "not proven", "unsafe"
# From the best to the worst.
VERDICTS = (SAFE, NOT_PROVEN, UNSAFE)

# How a frame must have been found to be sure, and all that are between it and the one before.
# Frame pointers skip callers that have none, a leaf's return address is the word that is
# there: good enough to show, not to prove something by.
SURE = (Trust.CONTEXT, Trust.CFI, Trust.UNWIND_INFO, Trust.SIGNAL, Trust.SEGMENT_SWITCH)

_CALL = {True: "a call precedes it", False: "no call precedes it", None: "code not at hand"}
# Of a finding's details.
_MOST_LINES = 30


class CodeRange(Record):
    """Code `[start, end)` in addresses of the process; `module` is an index, None if in none.

    `sized` is false where only the next function says where this one ends.
    """

    __slots__ = ("end", "module", "name", "sized", "start")

    def __init__(
        self, name: str, start: int, end: int, module: int | None = None, *, sized: bool = True
    ) -> None:
        self.name = name
        self.start = start
        self.end = end
        self.module = module
        self.sized = sized


class Hit(Record):
    """One piece of evidence that a thread is in a function, or will return to it.

    `kind` is "pc" (executing there), "return address" (of frame number `frame`), "word" (of the
    stack, at `address`), "register" (named `register`) or "kernel" (of its kernel stack). `value`
    is the code address, `offset` how far behind the function's start it is. `trust` is the
    frame's; `after_call` says of a word whether a call ends right before its value, None if that
    code is not at hand.
    """

    __slots__ = (
        "address", "after_call", "frame", "kind", "name", "offset", "register", "thread", "tid",
        "trust", "value",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        thread: int,
        tid: int,
        value: int,
        code: CodeRange,
        *,
        frame: int | None = None,
        address: int | None = None,
        register: str | None = None,
        trust: str | None = None,
        after_call: bool | None = None,
    ) -> None:
        self.kind = kind
        self.thread = thread
        self.tid = tid
        self.value = value
        self.name = code.name
        self.offset = value - code.start
        self.frame = frame
        self.address = address
        self.register = register
        self.trust = trust
        self.after_call = after_call

    def words(self) -> str:
        """Thread, where, and value, in a line."""
        place = f"{self.name}+0x{self.offset:x}"
        if self.kind == "kernel":
            return f"thread {self.tid} is in {place}, frame #{self.frame} of its kernel stack"
        if self.frame is not None:
            at = f", sp 0x{self.address:x}" if self.address is not None else ""
            what = "executes" if self.kind == "pc" else "returns to"
            return f"thread {self.tid} {what} 0x{self.value:x} ({place}), frame #{self.frame}{at}"
        found = f"thread {self.tid} has 0x{self.value:x} ({place})"
        if self.kind == "word":
            return f"{found} at 0x{self.address:x}, {_CALL[self.after_call]}"
        return f"{found} as its pc" if self.kind == "pc" else f"{found} in {self.register}"


class Answer(Record):
    """A verdict by one method, what it rests on, and why it is not more than that.

    `hits` prove `unsafe`; `maybe` are frames that were guessed. Without `unsafe`, each of
    `reasons` is one that the function may be on a stack all the same.
    """

    __slots__ = ("hits", "maybe", "reasons", "verdict")

    def __init__(
        self, hits: Sequence[Hit], maybe: Sequence[Hit] = (), reasons: Sequence[str] = ()
    ) -> None:
        self.hits = hits
        self.maybe = maybe
        self.reasons = reasons
        self.verdict = UNSAFE if hits else NOT_PROVEN if maybe or reasons else SAFE


class Checked(Record):
    """A function as it was asked for, the code that it has in the process, and both answers.

    `unknown` says why that code, or a part of it, could not be told: it is never `safe` then.
    `notes` are what a person should know of it: inlined copies, names that stand for several.
    `kernel_hits` are those of a function of the kernel, on the kernel stacks of threads.
    """

    __slots__ = (
        "conservative", "kernel_hits", "notes", "ranges", "unknown", "unwinding", "wanted",
    )  # fmt: skip

    conservative: Answer
    unwinding: Answer

    def __init__(self, wanted: str, ranges: list[CodeRange]) -> None:
        self.wanted = wanted
        self.ranges = ranges
        self.notes: list[str] = []
        self.unknown: list[str] = []
        self.kernel_hits: list[Hit] = []


class UsedStack(Record):
    """The used part `[low, high)` of a stack, of which `held` bytes were looked at."""

    __slots__ = ("held", "high", "kind", "low", "thread")

    def __init__(self, thread: int, kind: str, low: int, high: int) -> None:
        self.thread = thread
        self.kind = kind
        self.low = low
        self.high = high
        self.held = 0


class PatchCheck(Record):
    """The whole answer. `stacks` were scanned; `held_seconds` is how long a process waited."""

    __slots__ = ("functions", "held_seconds", "notes", "stacks", "threads")

    def __init__(self, functions: list[Checked], stacks: list[UsedStack], threads: int) -> None:
        self.functions = functions
        self.stacks = stacks
        self.threads = threads
        self.notes: list[str] = []
        self.held_seconds: float | None = None

    @property
    def conservative(self) -> str:
        """The worst verdict of all functions, by scanning."""
        return worst(each.conservative.verdict for each in self.functions)

    @property
    def unwinding(self) -> str:
        """The worst verdict of all functions, by unwinding."""
        return worst(each.unwinding.verdict for each in self.functions)

    @property
    def complete(self) -> bool:
        """Whether no answer is `not proven`."""
        return not any(
            NOT_PROVEN in (each.conservative.verdict, each.unwinding.verdict)
            for each in self.functions
        )

    def findings(self, *, safe: bool = False) -> list[Finding]:
        """A finding for each function that is not safe by both methods; with `safe`, for all."""
        return [
            _finding(each)
            for each in self.functions
            if safe or (each.conservative.verdict, each.unwinding.verdict) != (SAFE, SAFE)
        ]


def worst(verdicts: Iterable[str]) -> str:
    return max(verdicts, key=VERDICTS.index, default=SAFE)


def _finding(checked: Checked) -> Finding:
    scanned, unwound = checked.conservative, checked.unwinding
    if (scanned.verdict, unwound.verdict) == (SAFE, SAFE):
        title = f"{checked.wanted}: safe to replace, by scanning all stacks and by unwinding them"
    else:
        title = (
            f"{checked.wanted}: {scanned.verdict} by scanning all stacks, "
            f"{unwound.verdict} by unwinding them"
        )
    hits = (*unwound.hits, *unwound.maybe, *scanned.hits)
    lines = [f"0x{code.start:x}-0x{code.end:x} {code.name}" for code in checked.ranges]
    lines += [*checked.notes, *(hit.words() for hit in hits)]
    lines += dict.fromkeys((*scanned.reasons, *unwound.reasons))
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES - 1 :] = [f"and {len(lines) - _MOST_LINES + 1:,} more"]
    return Finding(
        "patch_check", title,
        detail="\n".join(lines) or None,
        threads=sorted({hit.thread for hit in hits}),
        incomplete=NOT_PROVEN in (scanned.verdict, unwound.verdict),
    )  # fmt: skip
