"""`unspool layout TARGET`: what is where in the address space, and which rules that keeps."""

from __future__ import annotations

from unspool.cli.options import COLOR, HELP, QUIET, Option, parse
from unspool.cli.target import TARGET_OPTIONS, check_procfs, open_target, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.layout import Layout
    from unspool.cli.options import Arguments
    from unspool.model import Module

OPTIONS = (
    Option(
        "--format",
        "what to print: text, JSON, or a picture",
        value="FORMAT",
        choices=("text", "json", "svg"),
        default="text",
    ),
    *TARGET_OPTIONS,
    Option(
        "--all",
        "every area by itself, with how its name is known, every hole, and all evidence of rules",
    ),
    Option(
        "--reserve-plan",
        "which reservations would keep foreign mappings out of the ranges of Windows code, found "
        "as Wine finds its own; what is there already and does not belong",
    ),
    Option(
        "--procfs",
        "a directory with files as in /proc/PID, kept when the process crashed: maps, limits and "
        "personality say what a core does not",
        value="DIR",
    ),
    COLOR,
    QUIET,
    HELP,
)

_COMMAND = "unspool layout"


def run(argv: list[str]) -> int:
    """Exit code 0 if all mappings are listed, whatever the verdicts; 1 if a part is missing."""
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("layout")
    source = source_of(arguments.operands, _COMMAND)
    check_procfs(arguments)
    from unspool import api
    from unspool.cli.progress import Progress

    with (
        Progress(not arguments.flag("--quiet")) as progress,
        open_target(source, arguments, progress) as target,
    ):
        found = api.layout(target)
        modules = list(target.modules)
    _show(found, modules, arguments)
    return 0 if found.complete else 1


def _show(found: Layout, modules: list[Module], arguments: Arguments) -> None:
    from unspool.cli import output

    plan = arguments.flag("--reserve-plan")
    form = arguments.text("--format")
    if form == "json":
        from unspool.render.layout_json import chunks

        output.write(chunks(found, plan=plan))
        return
    if form == "svg":
        from unspool.render.layout_svg import picture

        output.write_document(picture(found, modules))
        return
    from unspool.render.layout_text import lines

    style = output.style(arguments.text("--color") or "auto")
    output.write_lines(lines(found, modules, style=style, whole=arguments.flag("--all"), plan=plan))
