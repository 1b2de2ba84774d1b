"""`unspool symbolicate REPORT`: names a report that was made elsewhere."""

from __future__ import annotations

import os
from time import perf_counter

from unspool.cli.options import COLOR, HELP, REPORT_FORMAT, Option, parse
from unspool.cli.target import check_network
from unspool.errors import InputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.cli.options import Arguments
    from unspool.model import Report
    from unspool.render.style import Style
    from unspool.symbols.missing import MissingFile

OPTIONS = (
    REPORT_FORMAT,
    Option(
        "--output",
        "write to this file, which appears whole or not at all; it may be REPORT itself",
        short="-o",
        value="FILE",
    ),
    Option(
        "--symbols",
        "a file, or a directory with files, to take programs, libraries and their debug "
        "information from, by their ids: a build-id tree, a Microsoft symbol store, a tree of "
        "Breakpad's symbol files, or no order at all; may be repeated",
        value="PATH",
        many=True,
    ),
    Option(
        "--sysroot",
        "a copy of the file system that the process ran on, to find its files under",
        value="DIR",
    ),
    Option(
        "--missing",
        "print what is lacking in place of the report: the id and name of each file and what it "
        "is for; as text or JSON",
    ),
    Option("--no-lines", "functions alone: no files, lines and inlined calls"),
    Option("--offline", "use no network (the default)"),
    Option(
        "--online",
        "download what is missing, from the servers that DEBUGINFOD_URLS, _NT_SYMBOL_PATH and "
        "UNSPOOL_BREAKPAD_URLS name",
    ),
    COLOR,
    Option("--quiet", "the stacks alone, and no progress", short="-q"),
    Option("--verbose", "addresses, whole names and paths, and the modules as well", short="-v"),
    HELP,
)

_COMMAND = "unspool symbolicate"


def run(argv: list[str]) -> int:
    """Exit code 0 if all is named, 1 if a file for that is missing, or a part of a stack."""
    begun = perf_counter()
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("symbolicate")
    if len(arguments.operands) != 1:
        what = "more than one REPORT" if arguments.operands else "no REPORT"
        raise UsageError(what, f"give one, of unspool stack --format json; see {_COMMAND} --help")
    check_network(arguments, _COMMAND)
    if arguments.flag("--missing") and arguments.text("--format") not in (None, "text", "json"):
        raise UsageError("--missing is printed as text or json", f"see {_COMMAND} --help")
    _check_output(arguments.operands[0], arguments)
    report, missing = _named(arguments.operands[0], arguments)
    seconds = perf_counter() - begun
    if arguments.flag("--missing"):
        _show(_missing_text(missing, arguments), arguments)
        return 1 if missing else 0
    _show(_report_text(report, seconds, arguments), arguments)
    return 0 if report.complete else 1


def _named(source: str, arguments: Arguments) -> tuple[Report, list[MissingFile]]:
    from unspool import api
    from unspool.cli.progress import Progress
    from unspool.targets.report import ReportTarget

    with Progress(not arguments.flag("--quiet")) as progress:
        with api.open(source, progress=progress) as target:
            if not isinstance(target, ReportTarget):
                raise InputError(
                    f"{source} is no report but a {target.info.kind}",
                    "unspool stack names it; --format json makes a report of it",
                )
            report = target.report
        return api.symbolicate(
            report,
            symbols=arguments.texts("--symbols"),
            sysroot=arguments.text("--sysroot"),
            lines=not arguments.flag("--no-lines"),
            online=arguments.flag("--online"),
            progress=progress.say,
            log=progress.log,
        )


def _missing_text(missing: list[MissingFile], arguments: Arguments) -> Iterator[str]:
    from unspool.render.missing import document, lines

    if (arguments.text("--format") or "text") != "text":
        yield document(missing)
        return
    fit = _style(arguments).fit
    yield from (f"{fit(line)}\n" for line in lines(missing))


def _report_text(report: Report, seconds: float, arguments: Arguments) -> Iterator[str]:
    form = arguments.text("--format") or "text"
    if form != "text":
        from unspool.render.formats import chunks

        yield from chunks(form, report)
        return
    from unspool.render.text import Facts, lines

    facts = Facts(None, threads=len(report.stacks), is_report=True)
    facts.seconds = seconds
    shown = lines(
        report,
        style=_style(arguments),
        facts=facts,
        explain=False,
        quiet=arguments.flag("--quiet"),
        verbose=arguments.flag("--verbose"),
    )
    yield from (f"{line}\n" for line in shown)


def _style(arguments: Arguments) -> Style:
    from unspool.cli import output
    from unspool.render.style import Style

    color = arguments.text("--color") or "auto"
    if arguments.text("--output") is None:
        return output.style(color)
    return Style(color=color == "always")


def _show(text: Iterator[str], arguments: Arguments) -> None:
    path = arguments.text("--output")
    if path is None or path == "-":
        from unspool.cli import output

        output.write(text)
        return
    from unspool.write.save import save

    save(path, (piece.encode() for piece in text))


def _check_output(source: str, arguments: Arguments) -> None:
    """A report that is lost because its names were asked for as text would be a pity."""
    path = arguments.text("--output")
    if path is None or source == "-" or os.path.realpath(path) != os.path.realpath(source):
        return
    if (arguments.text("--format") != "json" or arguments.flag("--missing")):
        raise UsageError(f"{source} would be replaced by what is no report", "add --format json")
