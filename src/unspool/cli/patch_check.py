"""`unspool patch-check TARGET FUNCTION…`: can these functions be replaced now?"""

from __future__ import annotations

from unspool.cli.options import COLOR, HELP, Option, parse
from unspool.cli.target import TARGET_OPTIONS, open_target, source_of
from unspool.errors import FormatError, InputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.patch import Checked, PatchCheck
    from unspool.cli.options import Arguments
    from unspool.targets.base import Target

OPTIONS = (
    Option(
        "--format",
        "what to print",
        value="FORMAT",
        choices=("text", "json"),
        default="text",
    ),
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
    Option("--quiet", "no progress", short="-q"),
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
    from unspool.cli.progress import Progress
    from unspool.targets.report import ReportTarget

    with (
        Progress(not arguments.flag("--quiet")) as progress,
        open_target(source, arguments, progress) as target,
    ):
        if isinstance(target, ReportTarget):
            raise InputError("a report holds no memory to scan", "give the core itself")
        check = _check(target, operands[1:], old, new, arguments)
        _show(check, target, arguments)
        return 0 if check.complete else 1


def _check(
    target: Target, wanted: list[str], old: str | None, new: str | None, arguments: Arguments
) -> PatchCheck:
    from unspool import api
    from unspool.analyses.patch import patch_check
    from unspool.analyses.patch.functions import resolve

    notes: list[str] = []
    functions = resolve(target, wanted, inlined=not arguments.flag("--no-inlined"))
    if old is not None and new is not None:
        functions += _of_builds(target, old, new, notes)
    check = patch_check(target, api.unwind(target, symbols=False), functions)
    check.notes += notes
    return check


def _of_builds(target: Target, old: str, new: str, notes: list[str]) -> list[Checked]:
    """The functions that differ, as code of the module that is the old build."""
    from unspool.analyses.patch.builds import compare, with_parts
    from unspool.analyses.patch.records import Checked, CodeRange
    from unspool.formats.elf import Elf
    from unspool.targets.source import open_source

    with open_source(old) as before, open_source(new) as after:
        try:
            compared = compare(Elf(before.buffer), Elf(after.buffer))
        except FormatError as error:
            raise InputError(f"{old}, {new}: {error}", "they must be ELF files") from None
    module = next((each for each in target.modules if each.code_id == compared.old_id), None)
    if module is None:
        raise InputError(
            f"{old}: the target runs no file of build id {compared.old_id}",
            "is it the build that runs there?",
        )
    counts = {
        how: sum(each.how == how for each in compared.differences)
        for how in ("changed", "added", "removed")
    }
    words = ", ".join(f"{count:,} {how}" for how, count in counts.items())
    notes.append(f"{module.name}: {words}, {compared.same:,} functions are the same")
    if not compared.exact:
        notes.append(
            "compared byte by byte: code that has only moved counts as changed, and a call of "
            "another library function in the place of one may not be seen"
        )
    image = target.space.image(module)
    bias = image.bias if image is not None else module.bias or 0
    found = []
    for each in compared.differences:
        if each.old is None:
            continue
        code = [
            CodeRange(part.name, part.start + bias, part.end + bias, module.index)
            for part in with_parts(compared, each)
        ]
        checked = Checked(f"{module.name}!{each.name}", code)
        checked.notes.append(f"{each.how} by the new build")
        found.append(checked)
    if not found:
        notes.append("no function has to be replaced")
    return found


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
