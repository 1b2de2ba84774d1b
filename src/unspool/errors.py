"""What can go wrong with an input, as exceptions that carry the user's next step.

A bad *input* raises one of these. A bad *stack* is data (a stop reason), and a
bug stays a bug: nothing here is ever used to hide one.
"""

from __future__ import annotations


class UnspoolError(Exception):
    """An input that cannot be used. `hint` says what to try; `exit_code` is the command's."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InputError(UnspoolError):
    """The target cannot be opened or is of no kind that we read."""


class UsageError(UnspoolError):
    """The command line makes no sense."""

    exit_code = 64


class MissingDependency(UnspoolError):
    """An optional library is needed for this input and is not installed."""


class FormatError(ValueError):
    """Bytes that break their format's rules: `where` (offset or structure) and `what`.

    Raised by `formats` and `cursor`; targets turn it into an `InputError` or a note,
    strategies into a `Missed`.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what
