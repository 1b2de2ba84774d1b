"""Waits and deadlocks of one target, as findings of its report."""

from __future__ import annotations

from unspool.analyses.locks.survey import survey
from unspool.analyses.locks.verdicts import ENDS, WORDS, key_name, lock_name, place
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.locks.records import Lock, LockReport, Wait
    from unspool.model import Report
    from unspool.targets.base import Target

_MOST = 100
_MOST_LINES = 20


def findings(target: Target, report: Report) -> list[Finding]:
    """Who waits for whom in this process alone; `unspool locks` takes several.

    Deadlocks come first, then a finding for each other lock that is waited for; where locks have
    no holders, one for all that are waited for at the same place: the idle threads of a pool.
    """
    found = survey([(target, report)])
    for each in found.findings:
        # A report is of one process: that its server is not looked at, is nothing amiss in it.
        each.incomplete = each.incomplete and each.kind != "server_missing"
    found.findings[:] = [each for each in found.findings if each.kind != "incomplete"]
    waits = list(_waits(found))
    if len(waits) > _MOST:
        title = f"threads wait for {len(waits) - _MOST:,} more locks: unspool locks shows all"
        waits[_MOST:] = [Finding("lock_wait", title)]
    return [*found.findings, *waits]


def concerns(target: Target) -> bool:
    """Locks are looked for in every process."""
    return True


def _waits(found: LockReport) -> Iterator[Finding]:
    """The waits of threads that are in no deadlock and behind none."""
    stuck = {
        found.waits[index].key
        for each in found.deadlocks
        for index in (*each.chain, *each.behind)
    }  # fmt: skip
    groups: dict[tuple[object, ...], list[Wait]] = {}
    for wait in found.waits:
        if wait.key not in stuck:
            lock = found.locks[wait.lock]
            own = any(holder.certain for holder in lock.holders)
            key = (wait.lock,) if own else (lock.kind, place(found, *wait.key, wait.frame))
            groups.setdefault(key, []).append(wait)
    for waits in sorted(groups.values(), key=lambda each: -len(each)):
        yield _group(found, waits)


def _group(found: LockReport, waits: list[Wait]) -> Finding:
    lock = found.locks[waits[0].lock]
    several = len({wait.lock for wait in waits}) > 1
    what = _plural(lock) if several else lock_name(found, waits[0].lock)
    keys = dict.fromkeys(wait.key for wait in waits)
    who = f"{key_name(found, *waits[0].key)} waits"
    if len(keys) > 1:
        who = f"{len(keys):,} threads wait"
    where = {place(found, *wait.key, wait.frame) for wait in waits}
    title = f"{who} for {what}" + (f", {next(iter(where))}" if len(where) == 1 else "")
    holder = next((each for each in lock.holders if each.certain), None)
    lines = []
    if holder is not None and lock.kind not in ENDS:
        doing = place(found, *holder.key, 0)
        title += f"; held by {key_name(found, *holder.key)}, which is {doing}"
        lines.append(holder.evidence)
    if lock.unknown:
        lines.append(lock.unknown)
    if lock.state and not several and lock.kind not in ENDS:
        lines.append(lock.state)
    for wait in waits[:_MOST_LINES]:
        name = f"{lock_name(found, wait.lock)} in " if several else ""
        lines.append(f"{key_name(found, *wait.key)}: {name}#{wait.frame}; {wait.evidence}")
    if len(waits) > _MOST_LINES:
        lines.append(f"and {len(waits) - _MOST_LINES:,} more")
    threads = [thread for _, thread in keys]
    return Finding("lock_wait", title, threads=threads, detail="\n".join(lines))


def _plural(lock: Lock) -> str:
    if lock.kind == "join":
        return "the ends of threads"
    return f"{WORDS.get(lock.kind, lock.kind)}s"
