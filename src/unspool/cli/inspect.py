"""`unspool inspect DUMP`: what a minidump is made of, field by field."""

from __future__ import annotations

from unspool.cli.options import COLOR, HELP, QUIET, Option, parse
from unspool.cli.target import keep
from unspool.errors import FormatError, InputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.anatomy import Anatomy, Node
    from unspool.cli.options import Arguments
    from unspool.render.style import Style
    from unspool.targets.input.source import Source

OPTIONS = (
    Option(
        "--format",
        "what to print; `html` is one self-contained page to look at the dump with: a map of "
        "its bytes, its fields, and the way from each to the other",
        value="FORMAT",
        choices=("text", "json", "html"),
        default="text",
    ),
    Option(
        "--stream",
        "only this stream and what it points to, by its name (ThreadList), its type (3, "
        "0x47670009) or its place in the directory (#0); `header`, `directory` and `gaps` are "
        "known as well; may be repeated; text and json alone",
        value="NAME|TYPE|#INDEX",
        many=True,
    ),
    Option(
        "--hex",
        "an annotated hex view: every byte of the file by offset, with the fields' names and "
        "values beside their bytes",
    ),
    Option("--all", "memory and text whole; without it, the first lines of each"),
    Option("--summary", "the table of streams and the problems alone"),
    Option("--output", "write to FILE instead of standard output", short="-o", value="FILE"),
    COLOR,
    QUIET,
    HELP,
)

_COMMAND = "unspool inspect"
_NOT_FOR_HTML = ("--stream", "--hex", "--all", "--summary")
_NOT_FOR_JSON = ("--hex", "--all", "--summary")

_TRY = "give a minidump; of a core, `unspool dump` makes one"
_KINDS = {
    "elf": (
        "an ELF file, not a minidump",
        "of a core, `unspool stack` shows the stacks and `unspool dump` makes a minidump",
    ),
    "json": ("JSON text, not a minidump", "`unspool stack` shows saved reports"),
    "text": ("a text file, not a minidump", _TRY),
}


def run(argv: list[str]) -> int:
    """Exit code 0 if the dump is whole, 1 if a part of it is missing or lies."""
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("inspect")
    path = _path(arguments)
    place = arguments.text("--output")
    if place is not None:
        keep(path, place)
    from unspool.cli.progress import Progress
    from unspool.targets.input.source import open_source

    with Progress(not arguments.flag("--quiet")) as progress:
        source = open_source(path, progress)
    with source:
        anatomy = _dissected(source)
        _write(_pieces(anatomy, source, arguments), place)
        return 0 if anatomy.complete else 1


def _path(arguments: Arguments) -> str:
    """The DUMP. Raises `UsageError` for options that do not go together as well."""
    if len(arguments.operands) != 1:
        what = "more than one DUMP" if arguments.operands else "no DUMP"
        raise UsageError(what, f"give one minidump; see {_COMMAND} --help")
    form = arguments.text("--format") or "text"
    barred = {"html": _NOT_FOR_HTML, "json": _NOT_FOR_JSON}.get(form, ())
    for name in barred:
        if arguments.flag(name):
            raise UsageError(f"{name} does nothing for --format {form}", "leave one of them out")
    return arguments.operands[0]


def _dissected(source: Source) -> Anatomy:
    from unspool.analyses.anatomy import Problem, dissect

    if source.kind != "minidump":
        what, hint = _KINDS.get(source.kind, ("no minidump: those begin with MDMP", _TRY))
        raise InputError(f"{source.name}: {what}", hint)
    try:
        anatomy = dissect(source.buffer)
    except FormatError as error:
        raise InputError(f"{source.name}: {error}", "is the file whole? copy it again") from None
    if source.truncated:
        anatomy.problems.insert(0, Problem("the compressed file", source.truncated))
    return anatomy


def _pieces(anatomy: Anatomy, source: Source, arguments: Arguments) -> Iterator[str]:
    nodes = _selected(anatomy, arguments.texts("--stream"))
    form = arguments.text("--format")
    if nodes is not None and (form == "json" or arguments.flag("--hex")):
        from unspool.analyses.anatomy import reach

        nodes = reach(anatomy, nodes)
    if form == "json":
        from unspool.render import inspect_json

        return inspect_json.chunks(anatomy, name=source.name, nodes=nodes)
    if form == "html":
        from unspool.render import inspect_html

        return inspect_html.chunks(anatomy, source.buffer, name=source.name)
    from unspool.render import inspect_text

    lines = inspect_text.lines(
        anatomy,
        source.buffer,
        name=source.name,
        nodes=nodes,
        style=_style(arguments),
        hexadecimal=arguments.flag("--hex"),
        whole=arguments.flag("--all"),
        summary=arguments.flag("--summary"),
    )
    return (f"{line}\n" for line in lines)


def _selected(anatomy: Anatomy, wanted: Sequence[str]) -> list[Node] | None:
    """What `--stream` names; None for everything."""
    if not wanted:
        return None
    from unspool.analyses.anatomy import select

    found = []
    for text in wanted:
        nodes = select(anatomy, text)
        if nodes is None:
            names = dict.fromkeys(entry.name for entry in anatomy.streams if entry.size)
            raise UsageError(
                f"--stream {text}: no such stream in this dump", f"it has {', '.join(names)}"
            )
        found += nodes
    return found


def _style(arguments: Arguments) -> Style:
    from unspool.cli import output
    from unspool.render.style import Style

    color = arguments.text("--color") or "auto"
    if arguments.flag("--output"):
        return Style(color=color == "always")
    return output.style(color)


def _write(pieces: Iterator[str], path: str | None) -> None:
    from unspool.cli import output

    if path is None:
        output.write(pieces)
        return
    from unspool.write.save import save

    save(path, (piece.encode("utf-8", "backslashreplace") for piece in pieces))
