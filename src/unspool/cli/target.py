"""What all commands with a TARGET share: its options, and how it is opened."""

from __future__ import annotations

import os

from unspool.cli.options import Option
from unspool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.cli.options import Arguments
    from unspool.targets.base import Target

TARGET_OPTIONS = (
    Option(
        "--executable",
        "the program that crashed, under Wine its EXE, if it is not where the target says or "
        "cannot be told by an id",
        value="FILE",
    ),
    Option(
        "--symbols",
        "a file, or a directory with files, to take programs, libraries and their debug "
        "information from, by id or name, a Microsoft symbol store, or perf maps and jitdumps "
        "of code that was made at run time; may be repeated",
        value="PATH",
        many=True,
    ),
    Option(
        "--sysroot",
        "a copy of the file system that the process ran on, to find its files under; of a "
        "container that still runs, /proc/PID/root",
        value="DIR",
    ),
)

THREAD = Option(
    "--thread",
    "only this thread: a number is a thread id or, if there is none such, an index; #3 is "
    "always the index; `crashed` is the one that the signal hit, or that handles a Windows "
    "exception",
    value="TID|#INDEX|crashed|all",
    default="all",
)

# Not --procfs: scripts call core2md with what is left of /proc/PID, maybe nothing.
_PATHS = ("--executable", "--symbols", "--sysroot")


def source_of(operands: Sequence[str], command: str) -> str | int:
    """The TARGET: a number is a process id, unless there is a file of that name."""
    from unspool.cli.commands import COMMANDS

    if not operands:
        name = command.rpartition(" ")[2]
        hint = f"a file of the name {name} is given as ./{name}" if os.path.lexists(name) else (
            f"give a core, or see {_help_of(command)}"
        )  # fmt: skip
        raise UsageError("no TARGET", hint)
    if len(operands) > 1:
        if operands[0] in COMMANDS:
            raise UsageError(f"{operands[0]}: the command comes first", "options come after it")
        raise UsageError("more than one TARGET", f"one at a time; see {command} --help")
    text = operands[0]
    if text.isascii() and text.isdecimal() and len(text) <= 10 and not os.path.lexists(text):
        return int(text)
    return text


def _help_of(command: str) -> str:
    return "unspool --help" if command == "unspool stack" else f"{command} --help"


def keep(source: str | int, output: str) -> None:
    """Refuses to write over the TARGET: what is in it cannot be had again.

    Links and other names of the same file are seen through. Raises `UsageError`.
    """
    if isinstance(source, int):
        return
    try:
        same = os.path.samestat(os.stat(0 if source == "-" else source), os.stat(output))
    except OSError:
        return
    if same:
        raise UsageError(f"{output} is what is read; it would be lost", "name another file")


def _is_program(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith((b"\x7fELF", b"MZ"))
    except OSError:
        return True  # whoever reads it says why it cannot


def check_network(arguments: Arguments, command: str) -> None:
    """Refuses a network that is wanted and not. Raises `UsageError`."""
    if arguments.flag("--online") and arguments.flag("--offline"):
        raise UsageError("--online and --offline exclude each other", f"see {command} --help")


def check_procfs(arguments: Arguments) -> None:
    """Refuses a --procfs that is no directory. Raises `UsageError`."""
    procfs = arguments.text("--procfs")
    if procfs is not None and not os.path.isdir(procfs):
        raise UsageError(f"--procfs {procfs}: there is no such directory")


def open_target(
    source: str | int,
    arguments: Arguments,
    progress: Callable[[int], None] | None,
    *,
    floating_point: bool = False,
) -> Target:
    """The TARGET, with the files that the options name. See `Options`.

    Raises `UsageError` if there is nothing where an option says: as a file that is not found it
    would cost names and frames in silence.
    """
    from unspool import api

    for name in _PATHS:
        for path in arguments.texts(name):
            if not os.path.exists(path):
                raise UsageError(f"{name} {path}: there is no such file or directory")
            if name == "--sysroot" and not os.path.isdir(path):
                raise UsageError(f"{name} {path}: it is no directory")
            if name == "--executable" and not _is_program(path):
                raise UsageError(f"{name} {path}: neither an ELF nor a Windows program")
    return api.open(
        source,
        executable=arguments.text("--executable"),
        symbols=arguments.texts("--symbols"),
        sysroot=arguments.text("--sysroot"),
        procfs=arguments.text("--procfs"),
        floating_point=floating_point,
        progress=progress,
    )
