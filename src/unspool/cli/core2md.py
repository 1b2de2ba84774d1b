"""`unspool core2md CORE PROCFS OUT`: the arguments of Breakpad's program of that name."""

from __future__ import annotations

from unspool.cli.options import HELP, Option, parse
from unspool.cli.target import TARGET_OPTIONS
from unspool.errors import UsageError

OPTIONS = (
    *TARGET_OPTIONS,
    Option("--verbose", "say what was written", short="-v"),
    HELP,
)

_COMMAND = "unspool core2md"


def run(argv: list[str]) -> int:
    """Exit codes as of `unspool dump`."""
    from unspool.cli import dump

    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("core2md")
    if len(arguments.operands) != 3:
        raise UsageError(
            f"{len(arguments.operands)} arguments: core2md wants CORE PROCFS OUT",
            "PROCFS is a directory with files as in /proc/PID; unspool dump does without",
        )
    core, procfs, path = arguments.operands
    arguments.add("--procfs", procfs)
    if not arguments.flag("--verbose"):
        arguments.add("--quiet", "")
    return dump.write(core, arguments, path)
