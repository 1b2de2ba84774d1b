"""Standard output and standard error, with everything that can go wrong on them.

A reader that leaves early (`unspool core | head`) is no error: what is left to write is
dropped, in silence. A full disk is one.
"""

from __future__ import annotations

import os
import sys

from unspool.errors import UnspoolError
from unspool.render.style import Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_BATCH = 1 << 16


def write_lines(lines: Iterable[str]) -> None:
    """Writes lines to standard output."""
    write(f"{line}\n" for line in lines)


def write_document(pieces: Iterable[str]) -> None:
    """Writes what is UTF-8 by its own rules, whatever the locale is: SVG, Graphviz."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace")
    write(pieces)


def write(pieces: Iterable[str]) -> None:
    """Writes text to standard output, in large pieces."""
    stream = sys.stdout
    if stream is None:
        raise UnspoolError("standard output is closed")
    batch: list[str] = []
    size = 0
    try:
        for piece in pieces:
            batch.append(piece)
            size += len(piece)
            if size >= _BATCH:
                stream.write("".join(batch))
                batch.clear()
                size = 0
        stream.write("".join(batch))
    except BrokenPipeError:
        discard()
    except OSError as error:
        raise _not_written(error) from None


def flush() -> None:
    """Makes sure that everything has been written, while errors can still be told."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        discard()
    except OSError as error:
        raise _not_written(error) from None


def _not_written(error: OSError) -> UnspoolError:
    from unspool.write.save import FULL

    hint = "make room or write elsewhere" if error.errno in FULL else ""
    discard()
    return UnspoolError(f"standard output cannot be written: {error.strerror}", hint)


def discard() -> None:
    """Lets what is still in buffers go nowhere: the interpreter flushes them when it ends."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
    except (OSError, ValueError, AttributeError):
        return  # no devnull, or no real standard output: nothing more can be done


def complain(message: str) -> None:
    """One line on standard error."""
    from unspool.render.escape import printable

    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        discard()
    try:
        print(f"unspool: {printable(message)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return  # nobody is left to tell


def style(color: str = "auto") -> Style:
    """How standard output wants its text. `color` is auto, always or never."""
    if color == "auto":
        wanted = (
            is_terminal(sys.stdout)
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )
    else:
        wanted = color == "always"
    return Style(color=wanted, encoding=getattr(sys.stdout, "encoding", None) or "ascii")


def is_terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError, OSError):
        return False
