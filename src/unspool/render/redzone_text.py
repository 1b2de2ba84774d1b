"""What `unspool redzone` found, as text: by function for a file, by thread for a target."""

from __future__ import annotations

from unspool.render.escape import printable
from unspool.render.style import Style
from unspool.render.words import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.redzone import FileUses, FunctionUses, ThreadZone
    from unspool.arch.x86_below import Below
    from unspool.model import Finding, TargetInfo

_WORDS = {
    "within": "within the red zone", "beyond": "BEYOND the red zone",
    "forbidden": "there is NO red zone", "possible": "if an index is 0",
}  # fmt: skip
_ROLES = {"within": "good", "beyond": "bad", "forbidden": "bad", "possible": "warning"}
_EVIDENCE = {
    "operand": "", "cfi": "call frame information", "cfi and code": "call frame information, code",
    "code": "the code before it", "indexed": "an operand with an index",
}  # fmt: skip
_SHOWN = 4


def file_lines(
    result: FileUses, *, style: Style | None = None, whole: bool = False
) -> Iterator[str]:
    """The functions that reach below the stack pointer; with `whole` every operand of each."""
    style = style or Style()
    for line in _file_lines(result, style, whole):
        yield style.fit(line)


def _file_lines(result: FileUses, style: Style, whole: bool) -> Iterator[str]:
    yield style.paint("title", f"{printable(result.path)}: {result.kind}, {result.arch}")
    yield result.zone.rule
    total = sum(len(each.uses) for each in result.functions)
    yield (
        f"{result.looked_at:,} bytes of code, {result.functions_seen:,} functions; "
        f"{len(result.functions):,} reach below the stack pointer, with {total:,} operands"
    )
    counts = [
        style.paint(_ROLES[verdict], f"{result.count(verdict):,} {words}")
        for verdict, words in _WORDS.items()
        if result.count(verdict)
    ]
    if counts:
        yield f"functions: {', '.join(counts)}"
    if result.skipped:
        yield f"{result.skipped:,} bytes between functions are no code and were not looked at"
    if result.barriers:
        yield f"{result.barriers:,} memory barriers and stack probes add 0 there, which is no use"
    for function in result.functions:
        yield ""
        rule = function.zone.rule if function.zone is not result.zone else ""
        yield from _function_lines(function, rule, style, whole)
    for problem in result.problems:
        yield style.paint("warning", f"missing: {printable(problem)}")
    for note in result.notes:
        yield style.paint("dim", f"note: {printable(note)}")


def _function_lines(
    function: FunctionUses, rule: str, style: Style, whole: bool
) -> Iterator[str]:
    name = function.name or ("a function without a name" if function.known else
                             "between functions: a function without a name, or data")  # fmt: skip
    where = f"0x{function.start:x}-0x{function.end:x}"
    if function.section:
        where = f"{printable(function.section)} {where}"
    verdict = style.paint(_ROLES[function.verdict], _WORDS[function.verdict])
    yield (
        f"{style.paint('name', printable(name))}  {where}: at most {function.depth:,} bytes below, "
        f"{verdict}{': ' + rule if rule else ''}"
    )
    shown = function.uses if whole else _chosen(function)
    for use in shown:
        yield _use_line(use, function)
    if len(shown) < len(function.uses):
        yield f"    … and {len(function.uses) - len(shown):,} more"


def _chosen(function: FunctionUses) -> Sequence[Below]:
    """The deepest operand and the first ones, by address."""
    deepest = max(function.uses, key=lambda use: use.depth)
    first = function.uses[:_SHOWN]
    return first if deepest in first else [*first[: _SHOWN - 1], deepest]


def _use_line(use: Below, function: FunctionUses) -> str:
    size = f"{use.size:,} bytes" if use.size else "memory"
    file, number = function.places.get(use.address, (None, None))
    place = f"  {printable(file)}:{number}" if file else ""
    evidence = f"  by {_EVIDENCE[use.evidence]}" if _EVIDENCE[use.evidence] else ""
    what = f"{use.access} of {size} at sp-{use.depth}: {printable(use.text)}"
    return f"  0x{use.address:x}  {what}{place}{evidence}"


def target_lines(
    info: TargetInfo,
    zones: Sequence[ThreadZone],
    findings: Sequence[Finding] = (),
    *,
    style: Style | None = None,
) -> Iterator[str]:
    """What lies beyond each thread's stack pointer, and what the target itself lacks."""
    style = style or Style()
    name = info.path or info.executable or f"process {info.pid}"
    title = f"{printable(name)}: {info.arch}, {count(len(zones), 'thread')}"
    yield style.fit(style.paint("title", title))
    yield "Nothing below a stack pointer is to be trusted, but a red zone that the code uses."
    for zone in zones:
        yield ""
        for line in _thread_lines(zone, style):
            yield style.fit(line)
    for finding in findings:
        if finding.incomplete:
            yield ""
            yield style.fit(style.paint("warning", f"note: {printable(finding.title)}"))
            for line in (finding.detail or "").splitlines():
                yield style.fit(f"      {printable(line)}")


def _thread_lines(zone: ThreadZone, style: Style) -> Iterator[str]:
    label = f"thread {zone.tid}" + (f" {printable(zone.name)}" if zone.name else "")
    if zone.beyond is None or zone.sp is None:
        yield f"{style.paint('name', label)}: {style.paint('warning', zone.unknown)}"
        return
    pc = f"0x{zone.pc:x}" if zone.pc is not None else "unknown"
    inside = f" in {printable(zone.function)}" if zone.function else ""
    yield f"{style.paint('name', label)}: sp 0x{zone.sp:x}, pc {pc}{inside}"
    low, high = zone.beyond
    yield (
        f"  0x{low:x}-0x{high:x}  not to be trusted: {high - low:,} bytes below the stack pointer, "
        f"of which the target holds {zone.held:,}"
    )
    if zone.red_zone is None:
        yield f"  no red zone: {zone.rule}"
        return
    low, high = zone.red_zone
    span = f"  0x{low:x}-0x{high:x}  red zone"
    if zone.uses is None:
        yield f"{span}; unknown whether the code at the pc uses it: {zone.unknown}"
    elif not zone.uses:
        yield f"{span}, not to be trusted either: the function at the pc does not use it"
    else:
        yield f"{span}, used by the function at the pc:"
        for use in zone.uses[:_SHOWN]:
            size = f"{use.size} bytes" if use.size else "memory"
            yield f"    0x{use.address:x}  {use.access} of {size} at sp-{use.depth}: {use.text}"
        if len(zone.uses) > _SHOWN:
            yield f"    … and {len(zone.uses) - _SHOWN:,} more"
