"""What was written, in a few lines for people: the answer of `unspool dump`."""

from __future__ import annotations

from unspool.model import StopReason
from unspool.render import words
from unspool.render.escape import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.model import Report
    from unspool.write.minidump import Written


def lines(report: Report, written: Written, path: str) -> Iterator[str]:
    """The minidump's name and size, what it holds, and what of the stacks is missing."""
    program = report.target.executable or "a process"
    name = program.replace("\\", "/").rpartition("/")[2]
    yield printable(f"{path}: {words.size(written.size)}, minidump of {name}")
    stacks = words.count(written.segments, "stack")
    modules = words.count(written.modules, "module")
    memory = f"{words.size(written.memory)} of memory in {words.count(written.ranges, 'range')}"
    yield f"  {words.count(written.threads, 'thread')} with {stacks}, {modules}, {memory}"
    broken = [
        stack.index for stack in report.stacks if stack.stop.reason != StopReason.ROOT or stack.gaps
    ]
    if not report.stacks:
        yield "  no threads: the target holds none"
    elif broken:
        which = words.ranges(broken)
        noun = "thread" if len(broken) == 1 else "threads"
        yield f"  not whole: the stacks of {noun} {which}; unspool stack says why"
    else:
        yield "  every stack is whole"
    for finding in report.findings:
        if finding.incomplete:
            yield printable(f"  {finding.title}")
