"""The rules that systems check before they call a handler, and what they make of a chain.

None of them is documented by Microsoft. Sources: "Fun with low level SEH" (the diary of a
Windows developer: a record has to lie on the stack, Windows Server 2003 compares with both
limits, Vista with the upper one alone, and the handler must not lie on the stack); Sotirov and
Dowd 2008 for handlers; Le Berre and Cauquil, "Bypassing SEHOP", 2009, for the chain's last
record; Wine's dlls/ntdll/signal_i386.c (`is_valid_frame`), which has no rule for handlers.
"""

from __future__ import annotations

from unspool.analyses.seh.handlers import Table
from unspool.analyses.seh.records import Check, End, Judgement, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.analyses.seh.handlers import Handlers
    from unspool.analyses.seh.records import Chain, ChainRecord

SERVER_2003, VISTA, SEHOP, WINE = "server_2003", "vista", "sehop", "wine"

# A record's place is looked at before the record is.
_RECORD = (Check.ALIGNED, Check.BELOW_STACK_BASE, Check.READABLE)
_BOTH_LIMITS = (Check.ALIGNED, Check.BELOW_STACK_BASE, Check.ABOVE_STACK_LIMIT, *_RECORD[2:])
_HANDLER = (Check.HANDLER_NOT_IN_STACK, Check.HANDLER_ALLOWED)
# Nobody compares a record with the one before while a handler is searched for: Wine 8.0 and 10.0
# call that of a record below the last one, and go round in a circle. But RtlUnwind does not go
# back to such a record (STATUS_INVALID_UNWIND_TARGET).
ASKED = {
    SERVER_2003: (*_BOTH_LIMITS, *_HANDLER),
    VISTA: (*_RECORD, *_HANDLER, Check.HANDLER_IN_IMAGE, Check.HANDLER_EXECUTABLE),
    SEHOP: (*_BOTH_LIMITS, Check.HANDLER_NOT_IN_STACK),
    WINE: _BOTH_LIMITS,
}
_FINAL_HANDLER = "FinalExceptionHandler"
# Whose handler is the last one. Of a fiber under Wine it is kernelbase's (`start_fiber`), and
# so is all that its chain has: the TEB's head changes with the fiber's stack.
WINDOWS_LAST, WINE_LAST = ("ntdll.dll",), ("ntdll.dll", "kernelbase.dll")
_TABLE_FAULTS = {
    Table.NOT_LISTED: "is not in the SafeSEH table of {}",
    Table.NO_SEH: "lies in {}, which says that it has no handlers (NO_SEH)",
    Table.IL_ONLY: "lies in {}, which has managed code alone",
    Table.NOT_X86: "lies in {}, which is no image of 32-bit x86",
}


def check_link(chain: Chain, record: ChainRecord, previous: int | None, *, maybe: bool) -> None:
    """Where the record lies. A record is two words, and both have to be on the stack.

    `maybe` says of a record that cannot be read that the process may have had memory there.
    """
    address, checks, faults = record.address, record.checks, record.faults
    checks[Check.ALIGNED] = address % 4 == 0
    if address % 4:
        faults.append("it is not aligned to 4")
    checks[Check.BELOW_STACK_BASE] = address + 8 <= chain.stack_base
    if address + 8 > chain.stack_base:
        faults.append(f"it is not below the stack's base 0x{chain.stack_base:x}")
    checks[Check.ABOVE_STACK_LIMIT] = address >= chain.stack_limit
    if address < chain.stack_limit:
        faults.append(f"it is below the stack's limit 0x{chain.stack_limit:x}")
    checks[Check.READABLE] = True if record.next is not None else None if maybe else False
    if record.next is None and not maybe:
        faults.append("there is no memory")
    checks[Check.ASCENDING] = previous is None or address > previous
    if previous is not None and address <= previous:
        faults.append(f"it does not lie above the record before it, 0x{previous:x}")


def check_handler(chain: Chain, record: ChainRecord, handlers: Handlers) -> None:
    """Whether the handler is one."""
    handler, checks, faults = record.handler, record.checks, record.faults
    if handler is None:
        return
    on_stack = chain.stack_limit <= handler < chain.stack_base
    checks[Check.HANDLER_NOT_IN_STACK] = not on_stack
    if on_stack:
        faults.append(f"its handler 0x{handler:x} lies on the stack")
    module = handlers.module_of(handler)
    checks[Check.HANDLER_IN_IMAGE] = module is not None
    if module is None and not on_stack:
        faults.append(f"its handler 0x{handler:x} lies in no Windows image")
    executable = checks[Check.HANDLER_EXECUTABLE] = handlers.executable(module, handler)
    if executable is False and not on_stack:
        faults.append(f"its handler 0x{handler:x} lies in memory that is not executable")
    if module is None:
        checks[Check.HANDLER_ALLOWED] = True  # no image, no table
        return
    table = record.table = handlers.table(module, handler)
    checks[Check.HANDLER_ALLOWED] = None if table == Table.UNKNOWN else table in Table.ALLOWED
    if table in _TABLE_FAULTS:
        words = _TABLE_FAULTS[table].format(module.name)
        faults.append(f"its handler 0x{handler:x} {words}")


def leads_on(record: ChainRecord) -> bool:
    """Whether a record may be a link of a chain: as the most lenient system has it."""
    return all(record.checks[name] is not False for name in _RECORD)


def leads_down(record: ChainRecord) -> bool:
    """Whether the record does not lie above the one that leads to it."""
    return record.checks[Check.ASCENDING] is False


def judge(chain: Chain, *, is_wine: bool, final: str | None, module: str) -> list[Judgement]:
    """What the systems make of a chain.

    `final` is the last handler's name if it has one, and `module` that of the image it is in.
    """
    systems = [SERVER_2003, VISTA, SEHOP] + [WINE] * is_wine
    found = [_judge(chain, system, ASKED[system]) for system in systems]
    if found[2].verdict == Verdict.ACCEPTED and chain.records:
        found[2] = _judge_last(chain, is_wine, final, module)
    down = next((i for i, each in enumerate(chain.records) if leads_down(each)), None)
    if down is None:
        return found
    return [
        Judgement(each.system, Verdict.NOT_UNWOUND, down, Check.ASCENDING)
        if each.verdict == Verdict.ACCEPTED
        else each
        for each in found
    ]


def _judge(chain: Chain, system: str, asked: Sequence[str]) -> Judgement:
    unknown = None
    for index, record in enumerate(chain.records):
        answers = {name: record.checks.get(name) for name in asked}
        wrong = [name for name, answer in answers.items() if answer is False]
        if wrong:
            return Judgement(system, Verdict.REFUSED, index, wrong[0])
        if unknown is None:
            open_ = [name for name, answer in answers.items() if answer is None]
            unknown = (index, open_[0]) if open_ else None
    if unknown is not None:
        return Judgement(system, Verdict.UNKNOWN, *unknown)
    last = len(chain.records) - 1
    if chain.end == End.CIRCLE:
        return Judgement(system, Verdict.ENDLESS, last, "circle")
    if chain.end != End.MARKER:
        return Judgement(system, Verdict.UNKNOWN, last if last >= 0 else None, "end")
    return Judgement(system, Verdict.ACCEPTED)


def _judge_last(chain: Chain, is_wine: bool, final: str | None, module: str) -> Judgement:
    """SEHOP: the chain has to end with the system's own handler, before any handler is called.

    Wine's last handler has another name (`__wine_exception_handler` and others).
    """
    last = len(chain.records) - 1
    if module.lower() not in (WINE_LAST if is_wine else WINDOWS_LAST):
        return Judgement(SEHOP, Verdict.REFUSED, last, "last_handler")
    if is_wine or (final or "").startswith(_FINAL_HANDLER):
        return Judgement(SEHOP, Verdict.ACCEPTED)
    # Windows has other functions there before Vista SP1; without a PDB file it has no name.
    return Judgement(SEHOP, Verdict.UNKNOWN, last, "last_handler")
