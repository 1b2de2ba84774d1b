"""The commands there are."""

from __future__ import annotations


class Command:
    """A command's module in this package, its operands, and what it does in a line."""

    __slots__ = ("module", "operands", "summary")

    def __init__(self, module: str, operands: str, summary: str) -> None:
        self.module = module
        self.operands = operands
        self.summary = summary


COMMANDS = {
    "stack": Command("stack", "TARGET", "every thread's call stack; `unspool TARGET` is the same"),
}
DEFAULT = "stack"
