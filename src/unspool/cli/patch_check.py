"""`unspool patch-check TARGET FUNCTION…`: can these functions be replaced now?"""

from __future__ import annotations

from unspool.cli.options import COLOR, FORMAT, HELP, QUIET, Option, parse
from unspool.cli.target import TARGET_OPTIONS, open_target, source_of
from unspool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.patch import PatchCheck
    from unspool.cli.options import Arguments
    from unspool.targets.base import Target

OPTIONS = (
    FORMAT,
    Option(
        "--old",
        "a build of a module that the target runs, by its build id; with --new: check every "
        "function of it whose code is another one in the new build, or gone",
        value="FILE",
    ),
    Option("--new", "the build that is to replace --old", value="FILE"),
    Option("--all", "all evidence, not just the first pieces"),
    Option("--no-inlined", "do not search debug information for inlined copies: faster"),
    *TARGET_OPTIONS,
    COLOR,
    QUIET,
    HELP,
)

_COMMAND = "unspool patch-check"


def run(argv: list[str]) -> int:
    """Exit code 0 if every answer is `safe` or `unsafe`, 1 if one is `not proven`."""
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("patch-check")
    operands = arguments.operands
    source = source_of(operands[:1], _COMMAND)
    old, new = arguments.text("--old"), arguments.text("--new")
    if (old is None) != (new is None):
        raise UsageError("--old and --new go together", f"see {_COMMAND} --help")
    if len(operands) < 2 and old is None:
        raise UsageError("no FUNCTION", "give NAME, MODULE!NAME, 0x1000-0x1040, or --old and --new")
    from unspool import api
    from unspool.cli.progress import Progress

    with (
        Progress(not arguments.flag("--quiet")) as progress,
        open_target(source, arguments, progress) as target,
    ):
        inlined = not arguments.flag("--no-inlined")
        check = api.patch_check(target, operands[1:], old=old, new=new, inlined=inlined)
        _show(check, target, arguments)
        return 0 if check.complete else 1


def _show(check: PatchCheck, target: Target, arguments: Arguments) -> None:
    from unspool.cli import output

    if arguments.text("--format") == "json":
        from unspool.render.patch_json import text

        output.write([text(check, target.info, target.modules)])
        return
    from unspool.render.patch_text import lines

    style = output.style(arguments.text("--color") or "auto")
    output.write_lines(
        lines(check, target.info, target.modules, style=style, whole=arguments.flag("--all"))
    )
