"""Exception chains as JSON: the contract `unspool.seh/1` (docs/seh.md)."""

from __future__ import annotations

from unspool.render.json import (
    finding_record,
    hexadecimal,
    quote,
    record_text,
    records_array,
)  # fmt: skip
from unspool.render.modules_of import ModulesOf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.seh.records import Chain, ChainRecord, Overwritten, Seh
    from unspool.model import Stack

SCHEMA = "unspool.seh/1"


def chunks(seh: Seh) -> Iterator[str]:
    """The document in pieces, one record a line; they end with a line feed."""
    target = seh.report.target
    facts: dict[str, object] = {
        "kind": target.kind, "arch": target.arch, "os": target.os, "path": target.path,
        "pid": target.pid, "executable": target.executable, "wine": target.wine,
    }  # fmt: skip
    yield f'{{"schema":{quote(SCHEMA)},\n"target":{record_text(facts)},\n"complete":'
    yield "true" if seh.complete else "false"
    yield ',\n"threads":['
    stacks = {stack.index: stack for stack in seh.report.stacks}
    records = _Records(seh)
    comma = "\n"
    for chain in seh.chains:
        yield f"{comma}{record_text(_thread(chain, stacks[chain.thread]))[:-1]}"
        comma = ",\n"
        inner = ',"records":['
        for index, record in enumerate(chain.records):
            yield inner + ("\n" if not index else "") + records.line(chain, index, record)
            inner = ",\n"
        yield ("" if chain.records else inner) + "]}"
    yield "]"
    yield from records_array("findings", (finding_record(e) for e in seh.report.findings))
    yield "}\n"


class _Records:
    """Writes records; names handlers and frames."""

    def __init__(self, seh: Seh) -> None:
        self.locations = seh.report.locations
        self.modules = ModulesOf(seh.report)
        self.stacks = {stack.index: stack for stack in seh.report.stacks}

    def line(self, chain: Chain, index: int, record: ChainRecord) -> str:
        return record_text(
            {
                "index": index,
                "address": hex(record.address),
                "next": hexadecimal(record.next),
                "handler": self.code(record.handler, record.handler),
                "frame": self.frame(chain, record),
                "place": record.place or None,
                "checks": dict(record.checks),
                "image_handlers": record.table,
                "faults": list(record.faults) or None,
                "overwritten": _overwritten(record.overwritten),
            }
        )

    def frame(self, chain: Chain, record: ChainRecord) -> dict[str, object] | None:
        if record.frame is None:
            return None
        frame = self.stacks[chain.thread].frames[record.frame]
        return {"index": record.frame, **(self.code(frame.pc, frame.lookup_pc) or {})}

    def code(self, address: int | None, lookup: int | None) -> dict[str, object] | None:
        """An address of code, with its module and function if they are known."""
        if address is None or lookup is None:
            return None
        module = self.modules.at(lookup)
        location = self.locations.get(lookup)
        offset = location.function_offset if location is not None else None
        return {
            "address": hex(address),
            "module": module.name if module is not None else None,
            "module_offset": hex(address - module.base) if module is not None else None,
            "function": location.function if location is not None else None,
            "function_offset": None if offset is None else offset + address - lookup,
        }


def _thread(chain: Chain, stack: Stack) -> dict[str, object]:
    known = chain.head is not None
    return {
        "index": chain.thread,
        "tid": stack.tid,
        "windows_tid": stack.windows_tid,
        "name": stack.name,
        "teb": hexadecimal(chain.teb),
        "missing": chain.missing or None,
        "head": hexadecimal(chain.head),
        "stack_limit": hex(chain.stack_limit) if known else None,
        "stack_base": hex(chain.stack_base) if known else None,
        "end": chain.end,
        "verdict": chain.verdict,
        "rules": [
            {"system": e.system, "verdict": e.verdict, "record": e.record, "why": e.why or None}
            for e in chain.judgements
        ],
    }


def _overwritten(found: Overwritten | None) -> dict[str, object] | None:
    if found is None:
        return None
    text = None
    if found.text is not None:
        start, data = found.text
        text = {"address": hex(start), "size": len(data), "text": data.decode("ascii")}
    return {
        "address": hex(found.start),
        "bytes": found.data.hex(),
        "words": [
            {
                "address": hex(word.address), "value": hex(word.value), "kind": word.kind,
                "words": word.words or None,
            }
            for word in found.words
        ],
        "text": text,
    }  # fmt: skip
