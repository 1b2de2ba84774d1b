"""`unspool locks TARGET…`: who waits for whom."""

from __future__ import annotations

from unspool.cli.options import COLOR, HELP, QUIET, Option, parse
from unspool.cli.target import TARGET_OPTIONS, open_target, source_of
from unspool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.analyses.locks.records import LockReport
    from unspool.cli.options import Arguments
    from unspool.cli.progress import Progress
    from unspool.model import Report
    from unspool.targets.base import Target

OPTIONS = (
    Option(
        "--format",
        "what to print: text, JSON, a graph for Graphviz, or a picture of it",
        value="FORMAT",
        choices=("text", "json", "dot", "svg"),
        default="text",
    ),
    *TARGET_OPTIONS,
    COLOR,
    QUIET,
    Option("--verbose", "every wait, with the words and registers that say so", short="-v"),
    HELP,
)

_COMMAND = "unspool locks"
# Each is opened, walked and kept until all are compared.
_MOST_TARGETS = 256


def run(argv: list[str]) -> int:
    """Exit code 0 if every stack and lock could be read, 1 if a part is missing."""
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("locks")
    if len(arguments.operands) > _MOST_TARGETS:
        raise UsageError(f"more than {_MOST_TARGETS} TARGETs", f"see {_COMMAND} --help")
    sources = [source_of([each], _COMMAND) for each in arguments.operands]
    if not sources:
        source_of([], _COMMAND)
    from unspool.cli import output
    from unspool.cli.progress import Progress

    opened: list[tuple[Target, Report]] = []
    try:
        with Progress(not arguments.flag("--quiet")) as progress:
            for source in dict.fromkeys(sources):
                _open(source, arguments, progress, opened)
            from unspool import api

            report = api.locks(opened)
    finally:
        for target, _ in opened:
            target.close()
    write = output.write_document if arguments.text("--format") in ("dot", "svg") else output.write
    write(_pieces(report, arguments))
    complete = report.complete and all(each.complete for _, each in opened)
    return 0 if complete else 1


def _open(
    source: str | int,
    arguments: Arguments,
    progress: Progress,
    opened: list[tuple[Target, Report]],
) -> None:
    from unspool import api

    target = open_target(source, arguments, progress)
    try:
        opened.append((target, api.unwind(target)))
    except BaseException:
        target.close()
        raise


def _pieces(report: LockReport, arguments: Arguments) -> Iterator[str]:
    form = arguments.text("--format") or "text"
    if form == "json":
        from unspool.render import locks_json

        return locks_json.chunks(report)
    if form == "dot":
        from unspool.render import locks_graph

        return locks_graph.dot(report)
    if form == "svg":
        from unspool.render import locks_graph

        return locks_graph.svg(report)
    from unspool.cli import output
    from unspool.render import locks_text

    style = output.style(arguments.text("--color") or "auto")
    made = locks_text.lines(report, style, verbose=arguments.flag("--verbose"))
    return (f"{line}\n" for line in made)
