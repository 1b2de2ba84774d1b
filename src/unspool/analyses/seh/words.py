"""What is found of exception chains in words: systems, reasons, and findings of a report."""

from __future__ import annotations

from unspool.analyses.seh.records import BAD, Check, End, Verdict
from unspool.analyses.seh.rules import leads_down, leads_on
from unspool.model import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from unspool.analyses.seh.records import Chain, ChainRecord

SYSTEMS = {
    "server_2003": "Windows Server 2003 SP1",
    "vista": "Windows Vista",
    "sehop": "SEHOP",
    "wine": "Wine",
}
WHY = {
    Check.READABLE: "there is no memory",
    Check.ALIGNED: "it is not aligned to 4",
    Check.BELOW_STACK_BASE: "it is not below the stack's base",
    Check.ABOVE_STACK_LIMIT: "it is below the stack's limit",
    Check.ASCENDING: "it is not above the record before it, and RtlUnwind does not go back",
    Check.HANDLER_NOT_IN_STACK: "its handler is on the stack",
    Check.HANDLER_IN_IMAGE: "its handler is in no image",
    Check.HANDLER_EXECUTABLE: "its handler is not executable",
    Check.HANDLER_ALLOWED: "its image does not allow its handler",
    "link": "the chain breaks there",
    "end": "what follows is not known",
    "last_handler": "the last handler is not the system's",
    "circle": "it was there before: handlers are called until one takes the exception",
}
# What a verdict is to the systems that are named behind it.
BY = {
    Verdict.REFUSED: "refused by", Verdict.ENDLESS: "never finished by",
    Verdict.NOT_UNWOUND: "searched, but not unwound by", Verdict.UNKNOWN: "not known of",
}  # fmt: skip
OPEN = {
    Check.READABLE: "the target does not hold it",
    Check.HANDLER_EXECUTABLE: "whether its handler is executable is not known",
    Check.HANDLER_ALLOWED: "its handler's image, or the table in it, is not at hand",
    "last_handler": "the last handler is ntdll's, and has no name",
}
_MOST_FINDINGS = 100


def chain_findings(chains: Iterable[Chain]) -> list[Finding]:
    """A finding for each bad chain; what is missing of several for the same reason is one."""
    found = []
    missing: dict[str, list[int]] = {}
    for chain in chains:
        thread = (chain.thread,)
        if chain.missing:
            if chain.incomplete:
                missing.setdefault(chain.missing, []).append(chain.thread)
        elif chain.end == End.LIMIT:
            title = f"the exception chain has more than {len(chain.records):,} records"
            found.append(Finding("seh_limit", title, threads=thread, incomplete=True))
        if chain.verdict in BAD:
            found.append(_refused(chain))
        unknown = chain.judgement(Verdict.UNKNOWN)
        if unknown is not None and chain.end != End.LIMIT:
            name, index = unknown.why, unknown.record
            why = f"record {index}: {OPEN.get(name, WHY[name])}"
            missing.setdefault(why, []).append(chain.thread)
    if len(found) > _MOST_FINDINGS:
        more = len(found) - _MOST_FINDINGS
        found[_MOST_FINDINGS:] = [Finding("seh_more", f"{more:,} more exception chains are bad")]
    lost = [
        Finding("seh_unknown", f"exception chain: {why}", threads=threads, incomplete=True)
        for why, threads in missing.items()
    ]
    return found + lost


def _refused(chain: Chain) -> Finding:
    """The first record with a fault; without any it is the chain's end that is wrong."""
    thread = (chain.thread,)
    index = next((at for at, each in enumerate(chain.records) if each.faults), None)
    if index is None:
        last = len(chain.records) - 1
        title = f"the exception chain ends with record {last}, whose handler is not the system's"
        lines = [*_evidence(chain.records[last]), *refusals(chain)]
        return Finding("seh_last_handler", title, detail="\n".join(lines), threads=thread)
    record = chain.records[index]
    broken = leads_down(record) or not leads_on(record)
    kind = "seh_chain_broken" if broken else "seh_handler"
    title = f"exception record {index} at 0x{record.address:x}: {record.faults[0]}"
    lines = [*record.faults[1:], *_evidence(record), *refusals(chain)]
    if broken and index:
        before = chain.records[index - 1]
        lines.insert(0, f"record {index - 1} at 0x{before.address:x} leads there")
    return Finding(kind, title, detail="\n".join(lines) or None, threads=thread)


def _evidence(record: ChainRecord) -> Iterator[str]:
    """The record's two words. A report holds no memory: `unspool seh` shows the bytes over it."""
    if record.next is not None and record.handler is not None:
        frame = f", in frame #{record.frame}" if record.frame is not None else ""
        yield f"Next 0x{record.next:08x}, Handler 0x{record.handler:08x}{frame}"


def refusals(chain: Chain) -> Iterator[str]:
    """Which systems refuse the chain, or do not finish it, and why."""
    for each in chain.judgements:
        if each.verdict in BAD:
            at = f"record {each.record}: " if each.record is not None else ""
            yield f"{BY[each.verdict]} {SYSTEMS[each.system]}, {at}{WHY[each.why]}"
