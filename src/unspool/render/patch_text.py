"""The answers of `unspool patch-check` as text: both verdicts side by side, then the evidence."""

from __future__ import annotations

from unspool.render.escape import printable
from unspool.render.style import Style
from unspool.render.words import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.patch import Answer, Checked, PatchCheck
    from unspool.model import Module, TargetInfo

_ROLES = {"safe": "good", "not proven": "warning", "unsafe": "bad"}
_WIDTH = 12
_MOST_SHOWN = 8


def lines(
    check: PatchCheck,
    info: TargetInfo,
    modules: Sequence[Module],
    *,
    style: Style | None = None,
    whole: bool = False,
) -> Iterator[str]:
    """The report; with `whole` all evidence, not just the first pieces."""
    style = style or Style()
    for line in _lines(check, info, modules, style, whole):
        yield style.fit(line)


def _lines(
    check: PatchCheck, info: TargetInfo, modules: Sequence[Module], style: Style, whole: bool
) -> Iterator[str]:
    name = info.path or info.executable or f"process {info.pid}"
    yield style.paint("title", f"{printable(name)}: {info.arch}, {count(check.threads, 'thread')}")
    held = sum(each.held for each in check.stacks)
    waited = f", held for {check.held_seconds * 1000:.1f} ms" if check.held_seconds else ""
    yield f"{count(len(check.stacks), 'stack')}, {held:,} bytes of them scanned{waited}"
    for note in check.notes:
        yield printable(note)
    yield ""
    yield f"{'by scanning':{_WIDTH}}  {'by unwinding':{_WIDTH}}  function"
    yield f"{_verdict(check.conservative, style)}  {_verdict(check.unwinding, style)}  all of them"
    for each in check.functions:
        scanned, unwound = each.conservative.verdict, each.unwinding.verdict
        what = style.paint("name", printable(each.wanted))
        yield f"{_verdict(scanned, style)}  {_verdict(unwound, style)}  {what}"
    for each in check.functions:
        yield ""
        yield from _function(each, modules, style, whole)
    yield from _reasons(check, style, whole)


def _verdict(verdict: str, style: Style) -> str:
    return style.paint(_ROLES[verdict], f"{verdict:{_WIDTH}}")


def _function(
    checked: Checked, modules: Sequence[Module], style: Style, whole: bool
) -> Iterator[str]:
    yield style.paint("name", printable(checked.wanted))
    for code in checked.ranges:
        module = "" if code.module is None else f"{modules[code.module].name}!"
        yield f"  0x{code.start:x}-0x{code.end:x}  {printable(module + code.name)}"
    for text in checked.unknown:
        yield style.paint("warning", f"  not proven: {printable(text)}")
    for note in checked.notes:
        yield f"  note: {printable(note)}"
    yield from _hits("  by unwinding", checked.unwinding, whole)
    yield from _hits("  by scanning", checked.conservative, whole)


def _hits(label: str, answer: Answer, whole: bool) -> Iterator[str]:
    everything = [(hit, "") for hit in answer.hits] + [(hit, ", guessed") for hit in answer.maybe]
    shown = everything if whole else everything[:_MOST_SHOWN]
    for hit, guessed in shown:
        yield f"{label}: {printable(hit.words())}{guessed}"
    if len(shown) < len(everything):
        yield f"{label}: … and {len(everything) - len(shown):,} more"


def _reasons(check: PatchCheck, style: Style, whole: bool) -> Iterator[str]:
    """What keeps all answers from being safe, once."""
    own = {text for each in check.functions for text in each.unknown}
    for method, answers in (
        ("scanning", [each.conservative for each in check.functions]),
        ("unwinding", [each.unwinding for each in check.functions]),
    ):
        found = dict.fromkeys(text for each in answers for text in each.reasons if text not in own)
        texts = list(found) if whole else list(found)[:_MOST_SHOWN]
        for number, text in enumerate(texts):
            if not number:
                yield ""
                yield f"why {method} proves nothing safe:"
            yield style.paint("warning", f"  {printable(text)}")
        if len(texts) < len(found):
            yield f"  … and {len(found) - len(texts):,} more"
