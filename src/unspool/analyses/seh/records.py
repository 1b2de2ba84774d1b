"""What is found of exception chains, as plain data: records, checks, verdicts.

A check has three answers: True, False, and None for what cannot be known.
"""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.model import Finding, Report

END_MARKER = 0xFFFFFFFF


class Check:
    """The rules for one record, by name. What they say, and who asks: `rules.py`."""

    READABLE = "readable"
    ALIGNED = "aligned"
    BELOW_STACK_BASE = "below_stack_base"
    ABOVE_STACK_LIMIT = "above_stack_limit"
    ASCENDING = "ascending"
    HANDLER_NOT_IN_STACK = "handler_not_in_stack"
    HANDLER_IN_IMAGE = "handler_in_image"
    HANDLER_EXECUTABLE = "handler_executable"
    HANDLER_ALLOWED = "handler_allowed"


class Verdict:
    """What a system would do with a chain.

    One that does not ascend is searched like any other, but not unwound; a circle is searched
    for as long as no handler takes the exception.
    """

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_UNWOUND = "not_unwound"
    ENDLESS = "endless"
    UNKNOWN = "unknown"


# Verdicts on chains that something is wrong with, the worst first.
BAD = (Verdict.REFUSED, Verdict.ENDLESS, Verdict.NOT_UNWOUND)


class End:
    """How a chain ends: at its marker, at a link that leads nowhere or to a record that was there
    before, at memory that the target does not hold, or where it got too long."""

    MARKER = "marker"
    BROKEN = "broken"
    CIRCLE = "circle"
    NOT_HELD = "not_held"
    LIMIT = "limit"


class Word(Record):
    """A word of memory and what it looks like: "text", "pointer", "marker", "zero" or "value".

    `words` say more: what a pointer leads to.
    """

    __slots__ = ("address", "kind", "value", "words")

    def __init__(self, address: int, value: int, kind: str, words: str = "") -> None:
        self.address = address
        self.value = value
        self.kind = kind
        self.words = words


class Overwritten(Record):
    """The bytes around a bad record, as words, and the run of text over it if it is in one.

    `text` is (address, bytes) of the run, cut to what was looked at.
    """

    __slots__ = ("data", "start", "text", "words")

    def __init__(
        self, start: int, data: bytes, words: Sequence[Word], text: tuple[int, bytes] | None
    ) -> None:
        self.start = start
        self.data = data
        self.words = words
        self.text = text


class ChainRecord(Record):
    """An EXCEPTION_REGISTRATION_RECORD. `next` and `handler` are None if it cannot be read.

    `frame` is the number of the frame whose part of the stack it lies in; if that is not known,
    or not sure, `place` says why. `checks` are by the names in `Check`, `faults` what is wrong
    in words. `table` is what the image of the handler says of handlers, see `handlers.Table`.
    """

    __slots__ = (
        "address", "checks", "faults", "frame", "handler", "next", "overwritten", "place", "table",
    )  # fmt: skip

    def __init__(self, address: int, next_: int | None = None, handler: int | None = None) -> None:
        self.address = address
        self.next = next_
        self.handler = handler
        self.frame: int | None = None
        self.place = ""
        self.checks: dict[str, bool | None] = {}
        self.faults: list[str] = []
        self.table: str | None = None
        self.overwritten: Overwritten | None = None


class Judgement(Record):
    """What one system does with a chain: a `Verdict`, at which record, and why."""

    __slots__ = ("record", "system", "verdict", "why")

    def __init__(self, system: str, verdict: str, record: int | None = None, why: str = "") -> None:
        self.system = system
        self.verdict = verdict
        self.record = record
        self.why = why


class Chain(Record):
    """A thread's chain. `thread` is the thread's index, `teb` the 32-bit TEB's address.

    Without a `head` there is no chain at hand, and `missing` says why; `incomplete` whether
    that is a loss. The stack is `[stack_limit, stack_base)`.
    """

    __slots__ = (
        "end", "head", "incomplete", "judgements", "missing", "records", "stack_base",
        "stack_limit", "teb", "thread",
    )  # fmt: skip

    def __init__(self, thread: int, teb: int | None = None) -> None:
        self.thread = thread
        self.teb = teb
        self.head: int | None = None
        self.stack_limit = 0
        self.stack_base = 0
        self.records: list[ChainRecord] = []
        self.end: str | None = None
        self.judgements: list[Judgement] = []
        self.missing = ""
        self.incomplete = False

    def judgement(self, verdict: str) -> Judgement | None:
        """The first system's with this verdict."""
        return next((each for each in self.judgements if each.verdict == verdict), None)

    @property
    def verdict(self) -> str | None:
        """The worst of the systems' verdicts; None if there is no chain."""
        for worst in (*BAD, Verdict.UNKNOWN, Verdict.ACCEPTED):
            if self.judgement(worst) is not None:
                return worst
        return None


class Seh(Record):
    """The answer for a target: its chains, in the order of threads.

    `report` names handlers and frames; its findings are those of the target and of the chains,
    which are `own_findings` alone. `note` says why there are no chains, for targets that have none.
    """

    __slots__ = ("chains", "note", "own_findings", "report")

    def __init__(
        self,
        report: Report,
        chains: list[Chain],
        own_findings: list[Finding],
        note: Finding | None = None,
    ) -> None:
        self.report = report
        self.chains = chains
        self.own_findings = own_findings
        self.note = note

    @property
    def complete(self) -> bool:
        """Whether nothing of the chains and their verdicts is missing."""
        return not any(each.incomplete for each in self.report.findings)
