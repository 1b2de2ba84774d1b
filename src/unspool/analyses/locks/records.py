"""Plain data about waits and locks, of all targets together.

A thread is named by two numbers: its process's index in `LockReport.parties`, and its own index
there. A lock is named by its index in `LockReport.locks`, a wait by that in `waits`.
"""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.model import Finding, Report, Stack

    ThreadKey = tuple[int, int]


class Holder(Record):
    """A thread that holds a lock, or may: then `certain` is false. `evidence` says how known.

    `guess` orders those that may, the likelier ones first, from 1 on.
    """

    __slots__ = ("certain", "evidence", "guess", "party", "thread")

    def __init__(
        self, party: int, thread: int, evidence: str, certain: bool = True, guess: int = 1
    ) -> None:
        self.party = party
        self.thread = thread
        self.evidence = evidence
        self.certain = certain
        self.guess = guess

    @property
    def key(self) -> ThreadKey:
        return self.party, self.thread


class Lock(Record):
    """Something that threads wait for.

    `kind` is mutex, rwlock, condition, barrier, semaphore, join, futex, low_level_lock,
    file_lock, critical_section, srw_lock, wait_on_address, mutant, event, timer, process
    or handle. `address` is the lock's
    in process `party`; `shared` says in words which memory or file it is in if processes share
    it. `state` is what its words say; `unknown` why its holder is not known, if it is not;
    `gone` is the id of a holder that is no thread of the process any more.
    """

    __slots__ = (
        "address", "gone", "holders", "kind", "name", "party", "shared", "state", "unknown",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        party: int,
        address: int | None,
        *,
        name: str | None = None,
        shared: str | None = None,
        state: str = "",
        holders: Sequence[Holder] = (),
        unknown: str | None = None,
    ) -> None:
        self.kind = kind
        self.party = party
        self.address = address
        self.name = name
        self.shared = shared
        self.state = state
        self.holders = list(holders)
        self.unknown = unknown
        self.gone: int | None = None


class Wait(Record):
    """A thread that waits for a lock. `operation` is the function that waits.

    `frame` is the index of the thread's deciding frame, the program's own call that waits.
    `address` is the lock's in this thread's process. `timed`: the wait ends by itself.
    `loader` names the thread's call into the loader or into symbol loading that the wait is in.
    A thread may have several waits: it needs all of them, or one, then `any` is true of each.
    """

    __slots__ = (
        "address", "any", "evidence", "frame", "loader", "lock", "operation", "party", "thread",
        "timed",
    )  # fmt: skip

    def __init__(
        self,
        party: int,
        thread: int,
        lock: int,
        operation: str,
        *,
        address: int | None,
        evidence: str,
        frame: int,
        timed: bool = False,
        loader: str | None = None,
        any_: bool = False,
    ) -> None:
        self.party = party
        self.thread = thread
        self.any = any_
        self.lock = lock
        self.operation = operation
        self.address = address
        self.evidence = evidence
        self.frame = frame
        self.timed = timed
        self.loader = loader

    @property
    def key(self) -> ThreadKey:
        return self.party, self.thread


class Deadlock(Record):
    """A closed chain: each wait's lock is held by the thread of the next, the last's by the first.

    `certain` is false if one of the locks does not say who holds it, and that thread may.
    `timed`: one of the waits ends by itself. `behind` are waits that do not end before the
    chain is broken.
    """

    __slots__ = ("behind", "certain", "chain", "timed")

    def __init__(
        self, chain: Sequence[int], *, certain: bool, timed: bool, behind: Sequence[int] = ()
    ) -> None:
        self.chain = list(chain)
        self.certain = certain
        self.timed = timed
        self.behind = list(behind)


class Party(Record):
    """One of the targets: its walked stacks, and how it is called in texts."""

    __slots__ = ("index", "name", "report")

    def __init__(self, index: int, name: str, report: Report) -> None:
        self.index = index
        self.name = name
        self.report = report

    def stack(self, thread: int) -> Stack:
        return self.report.stacks[thread]


class LockReport(Record):
    """The answer: who waits, for which locks, and which of the waits never end."""

    __slots__ = ("deadlocks", "findings", "locks", "parties", "waits")

    def __init__(
        self,
        parties: list[Party],
        locks: list[Lock],
        waits: list[Wait],
        deadlocks: list[Deadlock],
        findings: list[Finding],
    ) -> None:
        self.parties = parties
        self.locks = locks
        self.waits = waits
        self.deadlocks = deadlocks
        self.findings = findings

    @property
    def complete(self) -> bool:
        return not any(finding.incomplete for finding in self.findings)
