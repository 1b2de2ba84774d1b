"""The command line: chooses the command, and turns whatever goes wrong into one line.

The only layer that prints. Each command is a module of its own, imported when it is asked
for; a command is a function from its arguments to an exit code.
"""

from __future__ import annotations

import gc
import os
import sys

from unspool.cli.commands import COMMANDS, DEFAULT
from unspool.errors import FormatError, InputError, UnspoolError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

COMPLETE, INCOMPLETE, UNREADABLE, USAGE, INTERRUPTED = 0, 1, 2, 64, 130


def run() -> NoReturn:
    """The process `unspool`: `main`, and then its end.

    Taking the interpreter down, object by object, takes 3 ms, a tenth of what a small core
    takes. The kernel does it at once.
    """
    os._exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (`sys.argv` without the program) and gives its exit code."""
    from unspool.cli import output

    if argv is None:
        # This process does one thing and ends. Frames hold no cycles, and looking for some
        # in half a million of them, again and again, takes a fifth of the time.
        gc.disable()
        argv = sys.argv[1:]
    try:
        code = dispatch(list(argv))
        output.flush()
        return code
    except KeyboardInterrupt:
        output.discard()
        return INTERRUPTED
    except UnspoolError as error:
        output.complain(str(error))
        return error.exit_code
    except FormatError as error:
        output.complain(f"broken input: {error}")
    except MemoryError:
        output.complain("out of memory; --thread crashed or --max-frames need less")
    except OSError as error:
        output.discard()
        output.complain(_os_words(error))
    except Exception as error:
        _report_bug(error)
    return UNREADABLE


def dispatch(argv: list[str]) -> int:
    """Runs the command that the arguments name; without a name they are those of `stack`."""
    first = argv[0] if argv else "--help"
    if first in ("-h", "--help"):
        from unspool.cli import output
        from unspool.cli.help import overview

        if not argv:
            raise UsageError("no TARGET", "give a core, or see unspool --help")
        output.write_lines(map(output.style().fit, overview()))
        return COMPLETE
    if first in ("-V", "--version"):
        from unspool import __version__
        from unspool.cli import output

        output.write_lines([f"unspool {__version__}"])
        return COMPLETE
    if first in COMMANDS:
        return COMMANDS[first].load().run(argv[1:])
    _refuse_unknown_command(argv)
    return COMMANDS[DEFAULT].load().run(argv)


def _refuse_unknown_command(argv: list[str]) -> None:
    """A bare word that is no file was meant as a command, of another version or by mistake."""
    word = argv[0]
    if not (word.isascii() and word.replace("-", "").isalpha()) or word.startswith("-"):
        return
    if os.path.lexists(word):
        return
    message = f"{word} is neither a file nor a command"
    hint = f"commands: {', '.join(COMMANDS)}; see unspool --help"
    if len(argv) > 1 and not argv[1].startswith("-"):
        raise UsageError(message, hint)
    raise InputError(message, hint)


def _os_words(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {what}" if error.filename is not None else what


def _report_bug(error: Exception) -> None:
    """A bug of ours: one line for the user, everything for whoever asks for it."""
    from unspool.cli import output

    if os.environ.get("UNSPOOL_TRACEBACK"):
        raise error
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        where = f" in {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
    output.complain(
        f"internal error{where}: {type(error).__name__}: {error}; please report it, with what "
        "UNSPOOL_TRACEBACK=1 shows"
    )
