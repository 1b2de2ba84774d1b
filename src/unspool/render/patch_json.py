"""The answers of `unspool patch-check` as JSON: the contract `unspool.patch-check/1`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.patch import Answer, Checked, Hit, PatchCheck
    from unspool.model import Module, TargetInfo

SCHEMA = "unspool.patch-check/1"


def text(check: PatchCheck, info: TargetInfo, modules: Sequence[Module]) -> str:
    """The document, which ends with a line feed."""
    from json import dumps

    document = {
        "schema": SCHEMA,
        "target": {"kind": info.kind, "arch": info.arch, "path": info.path, "pid": info.pid},
        "threads": check.threads,
        "held_seconds": check.held_seconds,
        "conservative": check.conservative,
        "unwinding": check.unwinding,
        "functions": [_function(each, modules) for each in check.functions],
        "stacks": [
            {"thread": each.thread, "kind": each.kind, "low": _hex(each.low),
             "high": _hex(each.high), "held_bytes": each.held}
            for each in check.stacks
        ],
        "notes": check.notes,
        "findings": [
            {"kind": each.kind, "title": each.title, "detail": each.detail,
             "threads": list(each.threads), "incomplete": each.incomplete}
            for each in check.findings()
        ],
        "complete": check.complete,
    }  # fmt: skip
    return dumps(document, indent=1) + "\n"


def _function(checked: Checked, modules: Sequence[Module]) -> dict[str, object]:
    return {
        "wanted": checked.wanted,
        "ranges": [
            {"name": each.name, "start": _hex(each.start), "end": _hex(each.end),
             "module": None if each.module is None else modules[each.module].name,
             "sized": each.sized}
            for each in checked.ranges
        ],
        "unknown": checked.unknown,
        "notes": checked.notes,
        "conservative": _answer(checked.conservative),
        "unwinding": _answer(checked.unwinding),
    }  # fmt: skip


def _answer(answer: Answer) -> dict[str, object]:
    return {
        "verdict": answer.verdict,
        "evidence": [_hit(each) for each in answer.hits],
        "guessed": [_hit(each) for each in answer.maybe],
        "reasons": list(answer.reasons),
    }


def _hit(hit: Hit) -> dict[str, object]:
    return {
        "kind": hit.kind, "thread": hit.thread, "tid": hit.tid, "value": _hex(hit.value),
        "function": hit.name, "offset": hit.offset, "frame": hit.frame,
        "address": _hex(hit.address), "register": hit.register, "trust": hit.trust,
        "after_call": hit.after_call,
    }  # fmt: skip


def _hex(value: int | None) -> str | None:
    return None if value is None else f"0x{value:x}"
