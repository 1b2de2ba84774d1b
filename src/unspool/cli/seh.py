"""`unspool seh TARGET`: the exception chains of 32-bit Windows threads, and what is wrong."""

from __future__ import annotations

from unspool.cli.options import COLOR, FORMAT, HELP, QUIET, parse
from unspool.cli.target import TARGET_OPTIONS, THREAD, open_target, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.seh.records import Seh
    from unspool.cli.options import Arguments
    from unspool.render.text import Facts

OPTIONS = (
    FORMAT,
    *TARGET_OPTIONS,
    THREAD,
    COLOR,
    QUIET,
    HELP,
)

_COMMAND = "unspool seh"


def run(argv: list[str]) -> int:
    """Exit code 0 if every chain and verdict is known, whatever it is; 1 if a part is not."""
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("seh")
    source = source_of(arguments.operands, _COMMAND)
    found, facts = _chains(source, arguments)
    _show(found, facts, arguments)
    return 0 if found.complete else 1


def _chains(source: str | int, arguments: Arguments) -> tuple[Seh, Facts]:
    from unspool import api
    from unspool.cli.progress import Progress
    from unspool.render.text import Facts

    with (
        Progress(not arguments.flag("--quiet")) as progress,
        open_target(source, arguments, progress) as target,
    ):
        found = api.seh(target, threads=arguments.text("--thread") or "all")
        return found, Facts(threads=len(target.threads))


def _show(found: Seh, facts: Facts, arguments: Arguments) -> None:
    from unspool.cli import output

    if arguments.text("--format") == "json":
        from unspool.render.seh_json import chunks

        output.write(chunks(found))
        return
    from unspool.render.seh_text import lines

    style = output.style(arguments.text("--color") or "auto")
    output.write_lines(lines(found, style=style, facts=facts))
