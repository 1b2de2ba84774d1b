"""Who waits for whom, as text: each deadlock as a closed chain, then what else waits."""

from __future__ import annotations

from unspool.analyses.locks.verdicts import (
    ENDS,
    held_by,
    key_name,
    lock_name,
    place,
    unknown_holders,
)
from unspool.render.escape import printable
from unspool.render.names import short_function
from unspool.render.style import Style
from unspool.render.words import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.locks.records import Deadlock, Lock, LockReport, ThreadKey, Wait

_MOST_WAITS = 8


def lines(
    report: LockReport, style: Style | None = None, *, verbose: bool = False
) -> Iterator[str]:
    """The report as lines of text. `verbose` shows every wait, and the evidence for it."""
    style = style or Style()
    text = _Text(report, style, verbose)
    for line in text.lines():
        yield style.fit(printable(line) if not style.color else line)


class _Text:
    def __init__(self, report: LockReport, style: Style, verbose: bool) -> None:
        self.report = report
        self.style = style
        self.verbose = verbose
        self.waiting: dict[ThreadKey, list[Wait]] = {}
        for wait in report.waits:
            self.waiting.setdefault(wait.key, []).append(wait)

    def lines(self) -> Iterator[str]:
        report = self.report
        yield from self.summary()
        for number, deadlock in enumerate(report.deadlocks, 1):
            yield ""
            yield from self.deadlock(number, deadlock)
        stuck = {
            report.waits[index].key
            for each in report.deadlocks
            for index in (*each.chain, *each.behind)
        }
        free: dict[int, list[Wait]] = {}
        for wait in report.waits:
            if wait.key not in stuck:
                free.setdefault(wait.lock, []).append(wait)
        if free:
            yield ""
            yield self.style.paint("title", "Waits that are in no deadlock")
        for lock, waits in sorted(free.items(), key=lambda each: -len(each[1])):
            yield from self.waits_for(lock, waits)
        notes = [each for each in report.findings if not each.kind.endswith("deadlock")]
        if notes:
            yield ""
        for finding in notes:
            yield self.style.paint("warning", f"note: {printable(finding.title)}")
            if finding.detail:
                yield f"      {printable(finding.detail)}"

    def summary(self) -> Iterator[str]:
        report = self.report
        for party in report.parties:
            target = party.report.target
            pid = f", pid {target.pid}" if target.pid is not None else ""
            threads = count(len(party.report.stacks), "thread")
            yield f"{printable(party.name)}{pid}, {target.kind}, {target.arch}: {threads}"
        certain = sum(each.certain for each in report.deadlocks)
        possible = len(report.deadlocks) - certain
        verdict = count(certain, "deadlock") if certain or possible else "no deadlock"
        if possible:
            verdict = f"{verdict if certain else ''}{', ' if certain else ''}" + count(
                possible, "possible deadlock"
            )
        kinds = {each.kind for each in report.findings}
        unknown = unknown_holders(report)
        if not report.deadlocks and (unknown or kinds & {"runtime_locks", "incomplete"}):
            verdict += " is known"
        if not report.deadlocks and unknown:
            verdict += f"; who holds {unknown} of the locks is not known"
        stuck = not kinds.isdisjoint(("holder_gone", "all_wait"))
        if not report.deadlocks and stuck:
            verdict += ", but see the notes"
        waits, locks = len(self.waiting), len(report.locks)
        role = "bad" if certain else "warning" if possible or stuck else "good"
        yield (
            f"{count(waits, 'thread')} {'waits' if waits == 1 else 'wait'} for "
            f"{count(locks, 'lock')}: {self.style.paint(role, verdict)}"
        )

    def deadlock(self, number: int, deadlock: Deadlock) -> Iterator[str]:
        report = self.report
        threads = count(len(deadlock.chain), "thread")
        word = "Deadlock" if deadlock.certain else "Possible deadlock"
        title = f"{word} {number}: {threads} in a circle"
        if len(deadlock.chain) == 1:
            verb = "holds" if deadlock.certain else "may hold"
            title = f"{word} {number}: a thread waits for what it {verb} itself"
        yield self.style.paint("bad" if deadlock.certain else "warning", title)
        for index in deadlock.chain:
            yield from self.wait(report.waits[index], deadlock)
        if deadlock.timed:
            yield "  one of the waits has a timeout, and ends by itself"
        if deadlock.behind:
            behind = [report.waits[index] for index in deadlock.behind]
            yield f"  {count(len(behind), 'more thread')} behind it, in no circle:"
            for wait in behind if self.verbose else behind[:_MOST_WAITS]:
                yield (
                    f"    {self.name(wait)} waits for {printable(lock_name(report, wait.lock))}, "
                    f"{self.place(wait)}"
                )
            yield from self.rest(behind)

    def wait(self, wait: Wait, deadlock: Deadlock) -> Iterator[str]:
        report = self.report
        lock = report.locks[wait.lock]
        yield f"  {self.style.paint('name', self.name(wait))}  {self.place(wait)}"
        what = printable(lock_name(report, wait.lock))
        yield f"    waits for {what}" + (f" by {wait.operation}" if wait.operation else "")
        members = {report.waits[index].key for index in deadlock.chain}
        yield from self.held(lock, members)
        if lock.unknown:
            yield f"      {printable(lock.unknown)}"
        yield from self.details(wait, lock)
        others = [each for each in self.waiting[wait.key] if each is not wait]
        for other in others[:_MOST_WAITS]:
            word = "or" if other.any else "and"
            yield f"    {word} for {printable(lock_name(report, other.lock))}"
            yield from self.held(report.locks[other.lock], None)
        if len(others) > _MOST_WAITS:
            yield f"    and {len(others) - _MOST_WAITS} more"

    def held(self, lock: Lock, members: set[ThreadKey] | None) -> Iterator[str]:
        """By whom a lock is held, of these threads."""
        for holder in lock.holders:
            if members is None or holder.key in members:
                verb = held_by(lock, certain=holder.certain)
                name = printable(key_name(self.report, *holder.key))
                yield f"    → {verb} {name}: {printable(holder.evidence)}"
                return

    def details(self, wait: Wait, lock: Lock) -> Iterator[str]:
        if self.verbose:
            yield f"      {wait.evidence}"
            if lock.state:
                yield f"      {lock.state}"
            if wait.loader:
                yield f"      in {printable(wait.loader)}"

    def waits_for(self, number: int, waits: Sequence[Wait]) -> Iterator[str]:
        report = self.report
        lock = report.locks[number]
        yield f"  {printable(lock_name(report, number))}"
        for holder in lock.holders[:_MOST_WAITS] if lock.kind not in ENDS else ():
            if holder.certain or holder.guess == 1:
                doing = self.doing(*holder.key)
                name = printable(key_name(report, *holder.key))
                verb = held_by(lock, certain=holder.certain)
                yield f"    {verb} {name}: {holder.evidence}; {doing}"
        if lock.unknown:
            yield f"    {printable(lock.unknown)}"
        if lock.state and lock.kind not in ENDS:
            yield f"    {printable(lock.state)}"
        for wait in waits if self.verbose else waits[:_MOST_WAITS]:
            timed = ", for a limited time" if wait.timed else ""
            timed += self.choice(wait)
            yield f"    waited for by {self.name(wait)}, {self.place(wait)}{timed}"
            if self.verbose:
                yield f"      {wait.evidence}"
        yield from self.rest(waits)

    def rest(self, waits: Sequence[Wait]) -> Iterator[str]:
        if len(waits) > _MOST_WAITS and not self.verbose:
            yield f"    and {count(len(waits) - _MOST_WAITS, 'more thread')}; --verbose shows all"

    def choice(self, wait: Wait) -> str:
        """In words, whether the thread waits for other things as well."""
        count = len(self.waiting[wait.key])
        if count == 1:
            return ""
        return f", as any of {count}" if wait.any else f", with all of {count}"

    def name(self, wait: Wait) -> str:
        return printable(key_name(self.report, *wait.key))

    def doing(self, party: int, thread: int) -> str:
        """What the holder of a lock does itself."""
        own = self.waiting.get((party, thread))
        if own:
            more = f" and {len(own) - 1} more" if own[1:] else ""
            return f"it waits itself for {printable(lock_name(self.report, own[0].lock))}{more}"
        if not self.report.parties[party].stack(thread).frames:
            return "its stack is not known"
        return f"it is {self.frame(party, thread, 0)}"

    def place(self, wait: Wait) -> str:
        return self.frame(wait.party, wait.thread, wait.frame)

    def frame(self, party: int, thread: int, index: int) -> str:
        """A frame in words: `in worker, ring.c:12`."""
        return printable(place(self.report, party, thread, index, short_function))
