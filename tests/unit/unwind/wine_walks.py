"""Walks the threads of made-up Wine processes, and compares with what they did."""

from __future__ import annotations

import tempfile
from difflib import unified_diff

from tests.build.wine import WineProcess
from tests.build.wine_eras import Era
from tests.build.wine_thread import WineThread
from unspool import api
from unspool.model import Report, Stack, StopReason


def made(version: str, bits: int = 64, **keywords: object) -> WineProcess:
    return WineProcess(Era(version, bits), **keywords)  # type: ignore[arg-type]


def report(process: WineProcess, data: bytes | None = None, *, explain: bool = False) -> Report:
    with tempfile.NamedTemporaryFile(prefix="core.") as file:
        file.write(data or process.core().build())
        file.flush()
        with api.open(file.name) as target:
            return api.unwind(target, symbols=False, explain=explain)


def stacks(process: WineProcess, data: bytes | None = None) -> list[Stack]:
    return report(process, data).stacks


def frames(stack: Stack) -> list[tuple[int, int | None]]:
    return [(frame.pc, frame.sp) for frame in stack.frames]


def check(process: WineProcess) -> list[Stack]:
    """Every thread's frames are the expected ones, all of them and nothing else."""
    data = process.core().build()
    found = stacks(process, data)
    # Rows are remembered: explaining takes another way to the same answers.
    explained = report(process, data, explain=True).stacks
    for thread, stack, other in zip(process.threads, found, explained, strict=True):
        check_stack(thread, stack)
        check_stack(thread, other)
    return found


def check_stack(thread: WineThread, stack: Stack) -> None:
    found, wanted = words(thread, frames(stack)), words(thread, list(thread.expected()))
    assert found == wanted, "\n".join(unified_diff(wanted, found, "wanted", "found", lineterm=""))
    assert stack.stop.reason == StopReason.ROOT, stack.stop
    assert not stack.gaps, stack.gaps
    kinds = [segment.kind for segment in stack.segments]
    assert kinds == thread.segments(), f"{kinds}, not {thread.segments()}"


def words(thread: WineThread, found: list[tuple[int, int | None]]) -> list[str]:
    """Frames in a form that a failed comparison can be read in."""
    return [f"{_name(thread, pc)} sp {sp or 0:x}" for pc, sp in found]


def _name(thread: WineThread, pc: int) -> str:
    try:
        function = thread.process.function_at(pc)
    except LookupError:
        return f"{pc:x}"
    return f"{function.name}+{pc - function.address:x}"
