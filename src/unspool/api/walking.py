"""Walks threads, chosen by the words of `--thread`, and names their frames."""

from __future__ import annotations

from unspool.errors import UsageError
from unspool.model import Report, Stack
from unspool.targets.report import ReportTarget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.model import Thread
    from unspool.symbols.files import SymbolPaths
    from unspool.targets.base import Target
    from unspool.unwind.step import Stepper

# All threads' frames together: some 500 MB of memory, and six full 8 MB stacks of the
# smallest frames there are.
MAX_TOTAL_FRAMES = 3_000_000


def unwind(
    target: Target,
    *,
    threads: str | int = "all",
    max_frames: int = 0,
    explain: bool = False,
    symbols: bool = True,
    lines: bool = True,
) -> Report:
    """Walks the target's threads and names their frames.

    `threads` is "all", "crashed", a thread id, or an index as "#3"; where no signal hit a Wine
    process, threads that handle a Windows exception have crashed. `max_frames` of 0 is all
    frames. `explain` keeps for every frame what was tried to find its caller. Without
    `symbols` frames have addresses and modules alone; without `lines` they have the names
    of symbol tables, but no files, lines and inlined calls.

    Raises `UsageError` if there is no such thread; never for what the target holds.
    """
    if isinstance(target, ReportTarget):
        wanted = {thread.index for thread in select_threads(target, threads)}
        return target.report.with_stacks(wanted)
    from unspool.unwind.strategies.order import default_stepper

    stepper = default_stepper(target.space, target.wine, lambda: target.generated)
    excepted = _excepted(target, stepper) if threads == "crashed" else []
    chosen = excepted or select_threads(target, threads)
    stacks = list(_walks(stepper, chosen, max_frames, explain))
    report = Report(
        target.info, target.modules, stacks, crash=target.crash, findings=list(target.findings)
    )
    if symbols:
        report = _named(target, stepper, report, lines)
    else:
        from unspool.symbols.symbolicate import locate

        report = locate(report)
    target.add_places(report)
    if symbols and lines and target.options.symbols.paths:
        _add_wasm_lines(report, target.options.symbols)
    return report


def _named(target: Target, stepper: Stepper, report: Report, lines: bool) -> Report:
    from unspool.symbols.symbolicate import symbolicate

    if target.wine is not None:
        from unspool.analyses.windows_exceptions import windows_exceptions
        from unspool.symbols.symbolicate import name_ranges

        known = [each for strategy in stepper.early for each in strategy.named_code()]
        report.locations.update(name_ranges(report, known))
        report.findings += windows_exceptions(report)
    if lines and target.crash is not None and target.crash.access is None:
        from unspool.targets.fault import access_of

        # Decoding one instruction costs the import of a decoder: it goes with the lines.
        target.crash.access = access_of(target.crash, target.threads, target.space)
    named = symbolicate(
        report, target.elf, target.options,
        pe_of=target.pe, code_names=target.code_names, lines=lines,
        subject_names=target.locate_subject,
    )  # fmt: skip
    if any(place.function is None for place in named.locations.values()):
        from unspool.symbols.missing import nameless, unfit

        named.findings += unfit(named, target.options.symbols.paths) + nameless(named)
    return named


def _add_wasm_lines(report: Report, symbols: SymbolPaths) -> None:
    """Runtimes keep names of WebAssembly, and most often no lines: these are in its file."""
    if any(module.wasm is not None for module in report.modules):
        from unspool.symbols.wasm.names import add_lines

        add_lines(report, symbols)


def stacks(
    target: Target, threads: Sequence[Thread] | None = None, *, max_frames: int = 0
) -> Iterator[Stack]:
    """Walks threads one by one, the crashed one first, for who may have to stop in between.

    Without `threads` all of the target's; `max_frames` counts for all of them together.
    """
    from unspool.unwind.strategies.order import default_stepper

    wanted = target.threads if threads is None else threads
    wanted = sorted(wanted, key=lambda thread: not thread.crashed)
    stepper = default_stepper(target.space, target.wine, lambda: target.generated)
    yield from _walks(stepper, wanted, max_frames, False)


def _walks(
    stepper: Stepper, threads: Iterable[Thread], max_frames: int, explain: bool
) -> Iterator[Stack]:
    from unspool.unwind.walk import walk

    room = MAX_TOTAL_FRAMES
    for thread in threads:
        limit = min(max_frames or room, room)
        stack = walk(stepper, thread, max(limit, 1), explain)
        room -= len(stack.frames)
        yield stack


def _excepted(target: Target, stepper: Stepper) -> list[Thread]:
    """Of a Wine process that no signal hit, the threads that a Windows exception holds.

    Wine handles SIGSEGV itself and tells the program: to the kernel such a thread only waits.
    """
    if target.wine is None or any(thread.crashed for thread in target.threads):
        return []
    from unspool.analyses.windows_exceptions import windows_exceptions

    stacks = list(_walks(stepper, target.threads, 0, False))
    found = windows_exceptions(Report(target.info, target.modules, stacks))
    indices = {index for finding in found for index in finding.threads}
    return [thread for thread in target.threads if thread.index in indices]


def select_threads(target: Target, wanted: str | int) -> list[Thread]:
    """The threads that `--thread` means; a number is a thread id if there is one, else an index."""
    text = str(wanted)
    if text == "all":
        return target.threads
    if text == "crashed":
        found = [thread for thread in target.threads if thread.crashed]
        if not found:
            raise UsageError("no thread of this target crashed", "try --thread all")
        return found
    number = text.removeprefix("#")
    if not number.isdecimal():
        raise UsageError(f"--thread {text}: no thread", "give a thread id, #INDEX, crashed or all")
    value = int(number)
    by_tid = [thread for thread in target.threads if thread.tid == value and text == number]
    found = by_tid or [thread for thread in target.threads if thread.index == value]
    if not found:
        raise UsageError(f"no thread {text} in this target", "unspool lists all without --thread")
    return found
