"""`unspool dump TARGET -o OUT.dmp`: a minidump that holds every stack of every thread."""

from __future__ import annotations

from unspool.cli.options import HELP, Option, parse
from unspool.cli.target import TARGET_OPTIONS, check_procfs, keep, open_target, source_of
from unspool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.cli.options import Arguments

OPTIONS = (
    Option("--output", "the minidump to write, - for standard output", short="-o", value="OUT"),
    *TARGET_OPTIONS,
    Option(
        "--procfs",
        "a directory with files as in /proc/PID, kept when the process crashed: what a core does "
        "not say is taken from there (maps, status, cmdline, environ, cpuinfo)",
        value="DIR",
    ),
    Option(
        "--stack-bytes",
        "save at most so many bytes of each stack, from its stack pointer on; 0 is all that is "
        "used",
        value="N",
        number=True,
        default="0",
    ),
    Option(
        "--sanitize",
        "blank every word of data that is no pointer into a module or a stack, and leave out "
        "vector registers: stacks can still be walked, but hold no strings, keys or numbers",
    ),
    Option(
        "--memory-free",
        "write no minidump but the report of `unspool stack --format json`, which holds nothing of "
        "the process's memory",
    ),
    Option(
        "--unwind-tables",
        "of which modules in the stacks to save unwind tables: of those whose files are missing "
        "here, of all, so that stacks can be walked where no file is, or of none",
        value="WHICH",
        choices=("missing", "all", "none"),
        default="missing",
    ),
    Option("--environ", "keep environment variables too, which can hold secrets"),
    Option("--quiet", "say nothing of what was written, and show no progress", short="-q"),
    HELP,
)

_COMMAND = "unspool dump"
_EXCLUSIVE = ("--memory-free", "--sanitize", "--environ")


def run(argv: list[str]) -> int:
    """Exit code 0 if every stack was whole, 1 if a part of any is missing."""
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("dump")
    source = source_of(arguments.operands, _COMMAND)
    path = arguments.text("--output")
    if path is None:
        raise UsageError("no output file", "name it with -o, as in -o crash.dmp")
    chosen = [name for name in _EXCLUSIVE if arguments.flag(name)]
    if len(chosen) > 1:
        both = f"{chosen[0]} and {chosen[1]}"
        raise UsageError(f"{both} exclude each other", f"see {_COMMAND} --help")
    check_procfs(arguments)
    if arguments.flag("--memory-free"):
        return write_report(source, arguments, path)
    return write(source, arguments, path)


def write_report(source: str | int, arguments: Arguments, path: str) -> int:
    """Writes the report in place of a minidump; gives the exit code."""
    from unspool import api
    from unspool.cli.progress import Progress
    from unspool.render.json import chunks
    from unspool.write.save import save

    quiet, place = arguments.flag("--quiet"), _place(source, path)
    with Progress(not quiet) as progress, open_target(source, arguments, progress) as target:
        report = api.unwind(target)
        size = save(place, (chunk.encode() for chunk in chunks(report)))
    if not quiet:
        from unspool.render.dump_words import report_lines

        _tell(report_lines(report, size, path), path)
    return 0 if report.complete else 1


def write(source: str | int, arguments: Arguments, path: str) -> int:
    """Writes the minidump and says what it holds; gives the exit code."""
    from unspool import api
    from unspool.cli.progress import Progress

    quiet, place = arguments.flag("--quiet"), _place(source, path)
    with (
        Progress(not quiet) as progress,
        open_target(source, arguments, progress, floating_point=True) as target,
    ):
        report, written = api.dump(
            target,
            place,
            stack_bytes=arguments.number("--stack-bytes", 0),
            sanitize=arguments.flag("--sanitize"),
            environ=arguments.flag("--environ"),
            tables=arguments.text("--unwind-tables") or "missing",
        )
    if not quiet:
        from unspool.render.dump_words import lines

        _tell(lines(report, written, path), path)
    return 0 if report.complete else 1


def _place(source: str | int, path: str) -> str:
    if path == "-":
        return "/dev/stdout"
    keep(source, path)
    return path


def _tell(lines: Iterable[str], path: str) -> None:
    """Says what was written, on standard error if that went to standard output."""
    import sys

    from unspool.cli import output

    style = output.style()
    shown = [style.fit(line) for line in lines]
    if path == "-":
        print("\n".join(shown), file=sys.stderr)
    else:
        output.write_lines(shown)
