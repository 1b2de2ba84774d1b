"""`unspool stack TARGET`: every thread's call stack."""

from __future__ import annotations

import os
from time import perf_counter

from unspool.cli.options import COLOR, HELP, REPORT_FORMAT, Option, parse
from unspool.cli.target import TARGET_OPTIONS, THREAD, check_network, open_target, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.cli.options import Arguments
    from unspool.cli.progress import Progress
    from unspool.model import Report
    from unspool.render.text import Facts

OPTIONS = (
    REPORT_FORMAT,
    *TARGET_OPTIONS,
    THREAD,
    Option(
        "--max-frames",
        "stop each stack after so many frames; 0 is all",
        value="N",
        number=True,
        default="0",
    ),
    Option("--no-symbols", "addresses and modules alone: no functions, files and lines"),
    Option(
        "--no-lines",
        "functions by the symbol tables alone, which is fast: no files, lines and inlined calls",
    ),
    Option(
        "--analyses",
        "what to look for as well, with commas between or repeated: locks, seh, layout, redzone, "
        "fibers, patch-check=FUNCTION, or all that need no function; what is found stands behind "
        "the stacks, and among the report's findings",
        value="NAME,…",
        many=True,
    ),
    Option(
        "--explain",
        "under every frame, what was tried to find its caller, what answered, and why the "
        "others did not",
    ),
    Option("--offline", "use no network (the default)"),
    Option(
        "--online",
        "download what is missing for names, from the servers that DEBUGINFOD_URLS, "
        "_NT_SYMBOL_PATH and UNSPOOL_BREAKPAD_URLS name",
    ),
    COLOR,
    Option("--quiet", "the stacks alone, and no progress", short="-q"),
    Option("--verbose", "addresses, whole names and paths, and the modules as well", short="-v"),
    HELP,
)

_COMMAND = "unspool stack"


def run(argv: list[str]) -> int:
    """Exit code 0 if every stack is complete, 1 if a part of the answer is missing."""
    begun = perf_counter()
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("stack")
    source = source_of(arguments.operands, _COMMAND)
    check_network(arguments, _COMMAND)
    report, facts = _unwind(source, arguments)
    facts.seconds = perf_counter() - begun
    _show(report, facts, arguments)
    return 0 if report.complete else 1


def _unwind(source: str | int, arguments: Arguments) -> tuple[Report, Facts]:
    from unspool import api
    from unspool.cli.progress import Progress
    from unspool.render.text import Facts
    from unspool.targets.report import ReportTarget

    names = not arguments.flag("--no-symbols")
    analyses = arguments.texts("--analyses")
    if analyses:
        from unspool.analyses.registry import chosen

        chosen(analyses)
    with Progress(not arguments.flag("--quiet")) as progress:
        with open_target(source, arguments, progress) as target:
            report = api.unwind(
                target,
                threads=arguments.text("--thread") or "all",
                max_frames=arguments.number("--max-frames", 0),
                explain=arguments.flag("--explain"),
                symbols=names,
                lines=not arguments.flag("--no-lines"),
            )
            if analyses:
                api.analyse(target, report, analyses)
            is_report = isinstance(target, ReportTarget)
            facts = Facts(_size(source), threads=len(target.threads), is_report=is_report)
        if names and arguments.flag("--online"):
            # Nothing waits for a server but us: a process has been let go long ago.
            report = _with_downloads(report, arguments, progress)
    return report, facts


def _with_downloads(report: Report, arguments: Arguments, progress: Progress) -> Report:
    from unspool import api
    from unspool.symbols.missing import nameless

    named, _ = api.symbolicate(
        report,
        symbols=arguments.texts("--symbols"),
        sysroot=arguments.text("--sysroot"),
        lines=not arguments.flag("--no-lines"),
        online=True,
        progress=progress.say,
        log=progress.log,
    )
    # A stack is complete whatever its functions are called.
    named.findings = [each for each in named.findings if each.kind != "missing_files"]
    named.findings += nameless(named)
    return named


def _size(source: str | int) -> int | None:
    """The size of the file as it lies on the disk; None if it is none."""
    if isinstance(source, int) or source == "-":
        return None
    try:
        return os.stat(source).st_size
    except OSError:
        return None


def _show(report: Report, facts: Facts, arguments: Arguments) -> None:
    from unspool.cli import output

    form = arguments.text("--format") or "text"
    if form != "text":
        from unspool.render.formats import chunks

        output.write(chunks(form, report))
        return
    from unspool.render.text import lines

    output.write_lines(
        lines(
            report,
            style=output.style(arguments.text("--color") or "auto"),
            facts=facts,
            explain=arguments.flag("--explain"),
            quiet=arguments.flag("--quiet"),
            verbose=arguments.flag("--verbose"),
        )
    )
