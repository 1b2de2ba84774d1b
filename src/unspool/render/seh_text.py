"""Exception chains as text for people: each thread's records, what is wrong, and who says so.

Thread 0  a.exe  tid 18196
  TEB 0x3ffe2000, stack 0x482000–0x680000
     0  0x0067fd40  → 0x0067ff8c  handler a.exe        frame 2 main
  refused by Wine: …
"""

from __future__ import annotations

from unspool.analyses.seh.records import BAD, END_MARKER, End, Verdict
from unspool.analyses.seh.words import BY, OPEN, SYSTEMS, WHY
from unspool.render import words
from unspool.render.escape import printable
from unspool.render.names import base_name, short_function
from unspool.render.style import Style
from unspool.render.text import around

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.seh.records import Chain, ChainRecord, Overwritten, Seh, Word
    from unspool.render.text import Facts

# Records with one handler and the same faults: so many at both ends of a row of them are shown.
_ENDS = 3
_PER_LINE = 16
_MOST_TEXT = 64


def lines(seh: Seh, *, style: Style | None = None, facts: Facts | None = None) -> Iterator[str]:
    """The answer's lines, without line ends."""
    style = style or Style()
    return map(style.fit, _lines(seh, style, facts))


def _lines(seh: Seh, style: Style, facts: Facts | None) -> Iterator[str]:
    text = around(seh.report, style=style, facts=facts)
    yield from text.header()
    stacks = {stack.index: stack for stack in seh.report.stacks}
    part = _Chains(seh, style)
    for chain in seh.chains:
        yield ""
        yield text.title([stacks[chain.thread]])
        yield from part.chain(chain)
    yield from text.findings()


class _Chains:
    def __init__(self, seh: Seh, style: Style) -> None:
        self.style = style
        self.locations = seh.report.locations
        self.modules = {module.index: module for module in seh.report.modules}
        self.stacks = {stack.index: stack for stack in seh.report.stacks}
        handlers = {each.handler for chain in seh.chains for each in chain.records}
        names = [len(self.handler(each)) for each in handlers if each is not None]
        self.width = min(max(names, default=0), 56)

    def chain(self, chain: Chain) -> Iterator[str]:
        if chain.head is None:
            where = f"TEB 0x{chain.teb:x}: " if chain.teb is not None else ""
            role = "warning" if chain.incomplete else "dim"
            yield "  " + self.style.paint(role, where + printable(chain.missing))
            return
        yield f"  TEB 0x{chain.teb:x}, stack 0x{chain.stack_limit:x}–0x{chain.stack_base:x}"
        if not chain.records:
            yield "  the chain is empty"
        at = 0
        while at < len(chain.records):
            end = _row_of(chain.records, at)
            if end - at > 2 * _ENDS + 1:
                yield from self.records(chain, at, at + _ENDS)
                number = f"{end - at - 2 * _ENDS:,}"
                note = f"… {number} more records with this handler"
                yield "        " + self.style.paint("dim", note)
                at = end - _ENDS
            yield from self.records(chain, at, end)
            at = end
        if chain.end == End.LIMIT:
            yield "  " + self.style.paint("warning", "stopped: the chain is too long")
        yield from self.judgements(chain)

    def records(self, chain: Chain, start: int, end: int) -> Iterator[str]:
        for index in range(start, end):
            record = chain.records[index]
            yield f"{index:6}  0x{record.address:08x}  {self.link(record)}  " + self.where(
                chain, record
            )
            for fault in record.faults:
                yield "        " + self.style.paint("bad", f"bad: {printable(fault)}")
            if record.overwritten is not None:
                yield from self.bytes(record.overwritten, record.address)

    def link(self, record: ChainRecord) -> str:
        if record.next is None:
            return f"{'→ ?':12}"
        return f"{'→ end':12}" if record.next == END_MARKER else f"→ 0x{record.next:08x}"

    def where(self, chain: Chain, record: ChainRecord) -> str:
        handler = self.handler(record.handler) if record.handler is not None else "?"
        line = f"{handler:{self.width}}"
        if record.frame is not None:
            frames = self.stacks[chain.thread].frames
            location = self.locations.get(frames[record.frame].lookup_pc)
            name = location.function if location is not None else None
            line += f"  frame {record.frame}"
            line += f" {short_function(printable(name))}" if name else ""
        if record.place:
            line += self.style.paint("dim", f"  ({record.place})")
        return line.rstrip()

    def handler(self, address: int) -> str:
        location = self.locations.get(address)
        module = None
        if location is not None and location.module is not None:
            module = self.modules.get(location.module)
        if module is None or location is None:
            return f"0x{address:08x}"
        name = printable(base_name(module.name))
        if location.function is None:
            return f"{name}+0x{address - module.base:x}"
        offset = f"+0x{location.function_offset:x}" if location.function_offset else ""
        return f"{name}!{short_function(printable(location.function))}{offset}"

    # --- bytes ------------------------------------------------------------------------

    def bytes(self, found: Overwritten, record: int) -> Iterator[str]:
        for at in range(0, len(found.data), _PER_LINE):
            start = found.start + at
            row = found.data[at : at + _PER_LINE]
            shown = " ".join(f"{byte:02x}" for byte in row)
            letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
            said = [
                _word(word, record)
                for word in found.words
                if start <= word.address < start + _PER_LINE
                and word.address in (record, record + 4)
            ]
            line = f"        0x{start:08x}  {shown:{3 * _PER_LINE - 1}}  {letters:{_PER_LINE}}"
            note = "  " + printable(", ".join(said)) if said else ""
            yield line + self.style.paint("dim", note) if note else line.rstrip()
        if found.text is not None:
            start, data = found.text
            cut = data[:_MOST_TEXT].decode("ascii")
            more = "…" if len(data) > _MOST_TEXT else ""
            size = words.count(len(data), "byte")
            note = f'it lies in {size} of text from 0x{start:x}: "{printable(cut)}{more}"'
            yield "        " + self.style.paint("warning", note)

    # --- verdicts ---------------------------------------------------------------------

    def judgements(self, chain: Chain) -> Iterator[str]:
        accepted = [SYSTEMS[e.system] for e in chain.judgements if e.verdict == Verdict.ACCEPTED]
        if accepted:
            yield "  " + self.style.paint("good", "accepted") + f" by {words.listing(accepted)}"
        for verdict, role, reasons in (
            *((bad, "bad", WHY) for bad in BAD),
            (Verdict.UNKNOWN, "warning", {**WHY, **OPEN}),
        ):
            said: dict[str, list[str]] = {}
            for each in chain.judgements:
                if each.verdict == verdict:
                    why = reasons[each.why]
                    if each.record is not None:
                        why = f"record {each.record}: {why}"
                    said.setdefault(why, []).append(SYSTEMS[each.system])
            for why, systems in said.items():
                by = self.style.paint(role, BY[verdict])
                yield f"  {by} {words.listing(systems)}, {why}"


def _row_of(records: Sequence[ChainRecord], start: int) -> int:
    """The end of the row of records that have the handler and the faults of the first one."""
    end, first = start + 1, records[start]
    if first.overwritten is not None:
        return end
    while end < len(records) and records[end].handler == first.handler:
        if records[end].faults != first.faults or records[end].overwritten is not None:
            break
        end += 1
    return end


def _word(word: Word, record: int) -> str:
    role = "Next" if word.address == record else "Handler"
    if word.kind == "text":
        return f'{role} "{word.words}"'
    lead = "→ " if word.kind == "pointer" else ""
    return f"{role} {lead}{word.words or word.kind}"
