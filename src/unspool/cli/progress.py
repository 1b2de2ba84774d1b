"""How far the reading of a large target is: one line on a terminal, after a second."""

from __future__ import annotations

import sys
from time import monotonic

from unspool.cli.output import complain, is_terminal
from unspool.render.escape import printable
from unspool.render.words import size

_PATIENCE = 1.0
_INTERVAL = 0.1
_ERASE = "\r\x1b[K"


class Progress:
    """Called with the number of bytes read so far. A context manager that cleans up."""

    def __init__(self, enabled: bool = True) -> None:
        self._next = monotonic() + _PATIENCE
        self._shown = False
        self._enabled = enabled and is_terminal(sys.stderr)

    def __call__(self, done: int) -> None:
        if self._is_due():
            self._show(f"{size(done)} read")

    def say(self, what: str) -> None:
        """Shows a sentence in place of the last one."""
        if self._is_due():
            self._show(printable(what))

    def log(self, message: str) -> None:
        """A line that stays, on any kind of standard error."""
        if self._shown:
            self._write(_ERASE)
        complain(message)

    def _is_due(self) -> bool:
        return self._enabled and monotonic() >= self._next

    def _show(self, text: str) -> None:
        self._next = monotonic() + _INTERVAL
        self._shown = True
        self._write(f"{_ERASE}unspool: {text}")

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._enabled = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._shown:
            self._write(_ERASE)
            self._shown = False
