"""The analyses of a target, in one list: what `--analyses` and `api.analyse` know.

Each is a function `findings(target, report)` in a module of its own, imported when it is asked
for. `report` holds all threads, walked to their ends and named; it is not changed. What comes
back stands alone in a report: titles are sentences, details the evidence, one fact a line.
"""

from __future__ import annotations

from unspool.errors import FormatError, MissingDependency, UsageError
from unspool.memory import Fault
from unspool.model import Finding, StopReason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unspool.model import Report
    from unspool.targets.base import Target

ALL = "all"
# A stack that ends after so many frames was not cut by who asked for fewer.
_MANY = 1 << 16


class Analysis:
    """One analysis. `argument` is what it asks for behind `=`, "" if it needs nothing."""

    __slots__ = ("argument", "meaning", "module", "name")

    def __init__(self, name: str, module: str, meaning: str, argument: str = "") -> None:
        self.name = name
        self.module = module
        self.meaning = meaning
        self.argument = argument

    def findings(self, target: Target, report: Report, argument: str = "") -> list[Finding]:
        """What it finds; a part that cannot be read costs its answer, and no other's."""
        from importlib import import_module

        code = import_module(f"unspool.analyses.{self.module}.findings")
        try:
            words = (argument,) if self.argument else ()
            found: list[Finding] = code.findings(target, report, *words)
        except (Fault, FormatError, MissingDependency) as error:
            found = [Finding("analysis_failed", f"{self.name}: {error}", incomplete=True)]
        return found

    def concerns(self, target: Target) -> bool:
        """Whether there is something to find in such a target."""
        from importlib import import_module

        code = import_module(f"unspool.analyses.{self.module}.findings")
        return bool(code.concerns(target))


ANALYSES = (
    Analysis("locks", "locks", "deadlocks, and who waits for whom"),
    Analysis("seh", "seh", "exception chains of 32-bit Windows threads that are broken"),
    Analysis("layout", "layout", "rules that the address space breaks"),
    Analysis("redzone", "redzone", "what below each stack pointer is not to be trusted"),
    Analysis("fibers", "fibers", "calls of WebAssembly that wait on stacks no thread is on"),
    Analysis("patch-check", "patch", "whether a function can be replaced now", "FUNCTION"),
)


def chosen(names: Iterable[str]) -> list[tuple[Analysis, str]]:
    """The analyses of these names, each once, with their arguments, in the order of the list.

    A name is "locks", "patch-check=FUNCTION", "all" for those that need no argument, or several
    with commas between them. Everything behind `=` is the argument: commas too. Raises
    `UsageError` for a name that there is not.
    """
    by_name = {each.name: each for each in ANALYSES}
    wanted: dict[tuple[str, str], None] = {}
    for text in names:
        head, equals, argument = text.partition("=")
        *before, last = (word.strip() for word in head.split(","))
        words = [(word, "", "") for word in before] + [(last, equals, argument)]
        for word, sign, value in words:
            if word == ALL and not sign:
                wanted |= {(each.name, ""): None for each in ANALYSES if not each.argument}
                continue
            known = by_name.get(word)
            if known is None:
                raise UsageError(f"{word or text!r}: no analysis", _there_are())
            if bool(known.argument) != bool(value) or (sign and not known.argument):
                how = f"={known.argument}" if known.argument else ""
                raise UsageError(f"{word}{sign}{value}: it is written {known.name}{how}")
            wanted[word, value] = None
    order = {each.name: number for number, each in enumerate(ANALYSES)}
    return [(by_name[name], value) for name, value in sorted(wanted, key=lambda e: order[e[0]])]


def _there_are() -> str:
    return f"there are {', '.join(map(spelling, ANALYSES))} and {ALL}"


def spelling(analysis: Analysis) -> str:
    """How it is asked for: `locks`, `patch-check=FUNCTION`."""
    return f"{analysis.name}={analysis.argument}" if analysis.argument else analysis.name


def is_whole(target: Target, report: Report) -> bool:
    """Whether a report has all threads to their ends, with names, so that analyses can do."""
    if [each.index for each in report.stacks] != [each.index for each in target.threads]:
        return False
    cut = any(
        each.stop.reason == StopReason.DEPTH and len(each.frames) < _MANY
        for each in report.stacks
    )
    return not cut and any(each.function for each in report.locations.values())


def analyse(target: Target, report: Report, names: Sequence[str]) -> list[Finding]:
    """The findings of these analyses. Raises `UsageError` as `chosen` does.

    With "all" an analysis that has nothing to look for in such a target says nothing.
    """
    asked = {word.strip() for text in names for word in text.partition("=")[0].split(",")}
    found = []
    for analysis, argument in chosen(names):
        if analysis.name in asked or analysis.concerns(target):
            found += analysis.findings(target, report, argument)
    return found
