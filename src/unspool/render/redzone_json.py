"""What `unspool redzone` found as JSON: the contract `unspool.redzone/1` (docs/redzone.md)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.redzone import FileUses, FunctionUses, ThreadZone
    from unspool.arch.x86_below import Below
    from unspool.model import Finding, TargetInfo

SCHEMA = "unspool.redzone/1"


def file_text(result: FileUses) -> str:
    """The document of a file."""
    return _text(
        {
            "schema": SCHEMA,
            "file": {
                "path": result.path, "kind": result.kind, "arch": result.arch,
                "red_zone": result.zone.size, "rule": result.zone.rule,
                "code_bytes": result.looked_at, "skipped_bytes": result.skipped,
                "functions": result.functions_seen, "barriers": result.barriers,
            },
            "functions": [_function(each, result) for each in result.functions],
            "missing": result.problems,
            "notes": result.notes,
            "complete": not result.problems,
        }
    )  # fmt: skip


def target_text(info: TargetInfo, zones: Sequence[ThreadZone], findings: Sequence[Finding]) -> str:
    """The document of a target."""
    return _text(
        {
            "schema": SCHEMA,
            "target": {"kind": info.kind, "arch": info.arch, "path": info.path, "pid": info.pid},
            "threads": [_thread(each) for each in zones],
            "findings": [
                {"kind": each.kind, "title": each.title, "detail": each.detail,
                 "threads": list(each.threads), "incomplete": each.incomplete}
                for each in findings
            ],
            "complete": not any(each.incomplete for each in findings),
        }
    )  # fmt: skip


def _text(document: dict[str, object]) -> str:
    from json import dumps

    return dumps(document, indent=1) + "\n"


def _function(function: FunctionUses, result: FileUses) -> dict[str, object]:
    own_rule = function.zone is not result.zone
    return {
        "name": function.name, "section": function.section or None,
        "start": _hex(function.start), "end": _hex(function.end), "known": function.known,
        "depth": function.depth, "verdict": function.verdict,
        **({"rule": function.zone.rule} if own_rule else {}),
        "operands": [
            {**_use(each), "file": function.places.get(each.address, (None, None))[0],
             "line": function.places.get(each.address, (None, None))[1]}
            for each in function.uses
        ],
    }  # fmt: skip


def _use(use: Below) -> dict[str, object]:
    return {
        "address": _hex(use.address), "depth": use.depth, "size": use.size or None,
        "access": use.access, "evidence": use.evidence, "instruction": use.text,
    }  # fmt: skip


def _thread(zone: ThreadZone) -> dict[str, object]:
    return {
        "index": zone.index, "tid": zone.tid, "name": zone.name,
        "pc": _hex(zone.pc), "sp": _hex(zone.sp),
        "beyond": _range(zone.beyond), "held_bytes": zone.held,
        "red_zone": _range(zone.red_zone), "rule": zone.rule or None, "function": zone.function,
        "operands": None if zone.uses is None else [_use(each) for each in zone.uses],
        "unknown": zone.unknown or None,
    }  # fmt: skip


def _range(bounds: tuple[int, int] | None) -> dict[str, object] | None:
    return None if bounds is None else {"low": _hex(bounds[0]), "high": _hex(bounds[1])}


def _hex(value: int | None) -> str | None:
    return None if value is None else f"0x{value:x}"
