"""Who waits for whom as JSON: the contract `unspool.locks/1` (docs/locks.md)."""

from __future__ import annotations

from unspool.render.json import (
    finding_record,
    frame_record,
    hexadecimal,
    record_text,
    records_array,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.locks.records import Deadlock, Lock, LockReport, Party, Wait

SCHEMA = "unspool.locks/1"


def chunks(report: LockReport) -> Iterator[str]:
    """The document in pieces, one record a line; they end with a line feed."""
    yield f'{{"schema":"{SCHEMA}"'
    yield from records_array("processes", (record_text(_party(each)) for each in report.parties))
    locks = (record_text(_lock(i, each)) for i, each in enumerate(report.locks))
    yield from records_array("locks", locks)
    waits = (record_text(_wait(report, i, each)) for i, each in enumerate(report.waits))
    yield from records_array("waits", waits)
    found = (record_text(_deadlock(each)) for each in report.deadlocks)
    yield from records_array("deadlocks", found)
    yield from records_array("findings", (finding_record(each) for each in report.findings))
    yield "}\n"


def _party(party: Party) -> dict[str, object]:
    target = party.report.target
    return {
        "index": party.index, "name": party.name, "kind": target.kind, "arch": target.arch,
        "pid": target.pid, "path": target.path, "threads": len(party.report.stacks),
    }  # fmt: skip


def _lock(index: int, lock: Lock) -> dict[str, object]:
    return {
        "index": index, "kind": lock.kind, "process": lock.party,
        "address": hexadecimal(lock.address), "name": lock.name, "shared": lock.shared,
        "state": lock.state or None, "unknown": lock.unknown,
        "holders": [
            {
                "process": each.party, "thread": each.thread, "certain": each.certain,
                "evidence": each.evidence,
            }
            for each in lock.holders
        ],
    }  # fmt: skip


def _wait(report: LockReport, index: int, wait: Wait) -> dict[str, object]:
    party = report.parties[wait.party]
    stack = party.stack(wait.thread)
    return {
        "index": index, "process": wait.party, "thread": wait.thread, "tid": stack.tid,
        "windows_tid": stack.windows_tid, "name": stack.name, "lock": wait.lock,
        "address": hexadecimal(wait.address), "operation": wait.operation or None,
        "timed": wait.timed or None, "any": wait.any or None, "loader": wait.loader,
        "evidence": wait.evidence,
        "frame": frame_record(party.report, stack, wait.frame),
    }  # fmt: skip


def _deadlock(deadlock: Deadlock) -> dict[str, object]:
    return {
        "chain": deadlock.chain, "behind": deadlock.behind, "certain": deadlock.certain,
        "timed": deadlock.timed or None,
    }  # fmt: skip

