"""The commands there are. Their modules are imported when they are asked for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from unspool.cli.options import Option

    class Module(Protocol):
        """What a command's module has: its options, and a function that gives an exit code."""

        @property
        def OPTIONS(self) -> Sequence[Option]: ...  # noqa: N802

        def run(self, argv: list[str]) -> int: ...


class Command:
    """A command's operands, what it does in a line, and what imports its module."""

    __slots__ = ("load", "operands", "summary")

    def __init__(self, operands: str, summary: str, load: Callable[[], Module]) -> None:
        self.operands = operands
        self.summary = summary
        self.load = load


def _stack() -> Module:
    from unspool.cli import stack

    return stack


def _dump() -> Module:
    from unspool.cli import dump

    return dump


def _core2md() -> Module:
    from unspool.cli import core2md

    return core2md


def _inspect() -> Module:
    from unspool.cli import inspect

    return inspect


def _symbolicate() -> Module:
    from unspool.cli import symbolicate

    return symbolicate


def _capture() -> Module:
    from unspool.cli import capture

    return capture


def _seh() -> Module:
    from unspool.cli import seh

    return seh


def _redzone() -> Module:
    from unspool.cli import redzone

    return redzone


def _locks() -> Module:
    from unspool.cli import locks

    return locks


def _layout() -> Module:
    from unspool.cli import layout

    return layout


def _patch_check() -> Module:
    from unspool.cli import patch_check

    return patch_check


COMMANDS = {
    "stack": Command("TARGET", "every thread's call stack; `unspool TARGET` is the same", _stack),
    "dump": Command(
        "TARGET -o OUT.dmp", "a minidump that holds every stack of every thread", _dump
    ),
    "core2md": Command(
        "CORE PROCFS OUT.dmp", "`unspool dump` with the arguments of Breakpad's core2md", _core2md
    ),
    "inspect": Command("DUMP", "what a minidump is made of, field by field", _inspect),
    "capture": Command(
        "ACTION", "reports of crashes, made by the kernel's core handler", _capture
    ),
    "symbolicate": Command(
        "REPORT", "fills functions, files and lines into a report made elsewhere", _symbolicate
    ),
    "seh": Command("TARGET", "i386 exception chains, and a verdict on each record", _seh),
    "patch-check": Command(
        "TARGET FUNCTION…", "whether functions can be replaced while it runs", _patch_check
    ),
    "redzone": Command("FILE|TARGET", "memory beyond the stack pointer, and who uses it", _redzone),
    "locks": Command(
        "TARGET…", "who waits for whom, across threads and processes; deadlocks", _locks
    ),
    "layout": Command("TARGET", "what is where in the address space, and its rules", _layout),
}
DEFAULT = "stack"
