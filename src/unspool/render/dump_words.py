"""What was written, in a few lines for people: the answer of `unspool dump`."""

from __future__ import annotations

from unspool.model import StopReason
from unspool.render import words
from unspool.render.escape import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.model import Report
    from unspool.write.minidump import Written


def lines(report: Report, written: Written, path: str) -> Iterator[str]:
    """The minidump's name and size, what it holds, and what of the stacks is missing."""
    program = report.target.executable or "a process"
    name = program.replace("\\", "/").rpartition("/")[2]
    yield printable(f"{path}: {words.size(written.size)}, minidump of {name}")
    stacks = words.count(written.stacks, "stack")
    modules = words.count(written.modules, "module")
    memory = f"{words.size(written.memory)} of memory in {words.count(written.ranges, 'range')}"
    yield f"  {words.count(written.threads, 'thread')} with {stacks}, {modules}, {memory}"
    if written.cut:
        yield f"  cut at --stack-bytes: {_of_threads(written.cut)}"
    yield from _losses(report, is_cut=bool(written.cut))


def report_lines(report: Report, size: int, path: str) -> Iterator[str]:
    """The same of a report that was written in place of a minidump."""
    yield printable(f"{path}: {words.size(size)}, report without memory")
    frames = sum(len(stack.frames) for stack in report.stacks)
    yield f"  {words.count(len(report.stacks), 'thread')} with {words.count(frames, 'frame')}"
    yield from _losses(report)


def _of_threads(indexes: Sequence[int]) -> str:
    noun = "thread" if len(indexes) == 1 else "threads"
    return f"the stacks of {noun} {words.ranges(indexes)}"


def _losses(report: Report, is_cut: bool = False) -> Iterator[str]:
    broken = [
        stack.index for stack in report.stacks if stack.stop.reason != StopReason.ROOT or stack.gaps
    ]
    if not report.stacks:
        yield "  no threads: the target holds none"
    elif broken:
        yield f"  not whole: {_of_threads(broken)}; unspool stack says why"
    elif not is_cut:
        yield "  every stack is whole"
    for finding in report.findings:
        if finding.incomplete:
            yield printable(f"  {finding.title}")
