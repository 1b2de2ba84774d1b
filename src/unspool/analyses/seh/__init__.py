"""The i386 exception chains of a target: every record, and what the system's rules say of it.

A thread of 32-bit Windows code has a list of exception handlers on its stack. The TEB's first
word (fs:0) leads to the newest record, each record to an older one, which lies higher. This is
what an overflown buffer on the stack writes over first, and why systems have rules for it.
"""

from __future__ import annotations

from unspool.analyses.seh.frames import FramesByAddress
from unspool.analyses.seh.handlers import Handlers
from unspool.analyses.seh.overwritten import overwritten
from unspool.analyses.seh.records import END_MARKER, Chain, ChainRecord, End, Seh
from unspool.analyses.seh.rules import check_handler, check_link, judge, leads_down, leads_on
from unspool.analyses.seh.tebs import NoTib, no_chains, tib_of
from unspool.analyses.seh.words import chain_findings
from unspool.memory import Fault
from unspool.model import Finding, Frame, Report, Stack, Stop, StopReason, Trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.model import Thread
    from unspool.targets.base import Target

# Frames with a record have 32 bytes and more: a stack of 1 MB has room for 32 Ki of them.
MAX_RECORDS = 50_000
MAX_ALL_RECORDS = 200_000
# Bad records of a chain whose bytes are shown.
_MOST_SHOWN = 8


def seh(target: Target, report: Report, *, threads: Iterable[Thread] | None = None) -> Seh:
    """The chains of the target's threads. `report` has their walked stacks, with names."""
    why = no_chains(target)
    if why is not None:
        note = Finding("no_seh_chain", why)
        return Seh(_with(report, [note]), [], [note], note)
    handlers = Handlers(target)
    stacks = {stack.index: stack for stack in report.stacks}
    room = MAX_ALL_RECORDS
    chains = []
    for thread in target.threads if threads is None else threads:
        chain = _chain(target, thread, handlers, min(room, MAX_RECORDS))
        _place(chain, stacks.get(thread.index))
        room -= len(chain.records)
        chains.append(chain)
    named = _named(target, report, chains)
    for chain in chains:
        if chain.head is not None:
            _judge(target, named, chain)
            _show(target, chain)
    found = chain_findings(chains)
    return Seh(_with(named, found), chains, found)


def _chain(target: Target, thread: Thread, handlers: Handlers, most: int) -> Chain:
    try:
        tib = tib_of(target, thread)
    except NoTib as missing:
        chain = Chain(thread.index, missing.address)
        chain.missing, chain.incomplete = str(missing), missing.lost
        return chain
    chain = Chain(thread.index, tib.address)
    chain.head, chain.stack_base, chain.stack_limit = tib.head, tib.stack_base, tib.stack_limit
    address, previous = tib.head, None
    seen: dict[int, int] = {}
    while address != END_MARKER:
        if len(chain.records) >= most:
            chain.end, chain.incomplete = End.LIMIT, True
            return chain
        record = _read(target, address)
        chain.records.append(record)
        check_link(chain, record, previous, maybe=_may_be_mapped(target, address))
        check_handler(chain, record, handlers)
        if record.next is None or not leads_on(record):
            chain.end = End.NOT_HELD if leads_on(record) else End.BROKEN
            return chain
        if address in seen:
            record.faults.append(f"it is record {seen[address]} again: the chain has no end")
            chain.end = End.CIRCLE
            return chain
        seen[address] = len(seen)
        address, previous = record.next, address
    chain.end = End.MARKER
    return chain


def _read(target: Target, address: int) -> ChainRecord:
    try:
        data = target.space.memory.read(address, 8)
    except Fault:
        return ChainRecord(address)
    return ChainRecord(
        address, int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")
    )


def _may_be_mapped(target: Target, address: int) -> bool:
    """Whether the process may have memory at an address that the target does not hold.

    Of a live process stacks alone are copied; minidumps need not say what is mapped.
    """
    memory = target.space.memory
    if target.info.kind == "minidump":
        return True
    return memory.region(address) is not None and memory.region(address + 7) is not None


def _place(chain: Chain, stack: Stack | None) -> None:
    """Says which frame each record lies in."""
    frames = FramesByAddress(stack, chain.stack_limit, chain.stack_base)
    for record in chain.records:
        if chain.stack_limit <= record.address < chain.stack_base:
            record.frame, record.place = frames.at(record.address)
        else:
            record.place = "not on the stack"


def _named(target: Target, report: Report, chains: Iterable[Chain]) -> Report:
    """The report with the handlers' names as well: each is named as a frame that is there."""
    from unspool.symbols.symbolicate import symbolicate

    known = {record.handler for chain in chains for record in chain.records}
    frames = [
        Frame(handler, None, Trust.CONTEXT, exact=True)
        for handler in sorted(each for each in known if each is not None)
    ]
    stack = Stack(0, 0, frames, [], Stop(StopReason.ROOT))
    alone = Report(report.target, report.modules, [stack], locations=report.locations)
    named = symbolicate(alone, target.elf, target.options, pe_of=target.pe)
    return Report(
        report.target, report.modules, report.stacks,
        crash=report.crash, locations=named.locations, findings=report.findings,
    )  # fmt: skip


def _judge(target: Target, report: Report, chain: Chain) -> None:
    last = chain.records[-1].handler if chain.records else None
    module = target.space.module_at(last) if last is not None else None
    location = report.locations.get(last) if last is not None else None
    chain.judgements = judge(
        chain,
        is_wine=target.wine is not None,
        final=location.function if location is not None else None,
        module=module.name if module is not None else "",
    )


def _show(target: Target, chain: Chain) -> None:
    """Keeps the bytes of bad records, and of the one whose link leads to a bad one."""
    wanted = []
    for index, record in enumerate(chain.records):
        if record.faults:
            before = chain.records[index - 1] if index else None
            if before is not None and (leads_down(record) or not leads_on(record)):
                wanted.append(before)
            wanted.append(record)
    seen: set[int] = set()
    for record in wanted[:_MOST_SHOWN]:
        if record.address not in seen:
            seen.add(record.address)
            record.overwritten = overwritten(target, chain, record.address)


def _with(report: Report, findings: list[Finding]) -> Report:
    return Report(
        report.target, report.modules, report.stacks,
        crash=report.crash, locations=report.locations, findings=[*report.findings, *findings],
    )  # fmt: skip
