"""What is not known: locks of runtimes that are not all words, and what a target lacks."""

from __future__ import annotations

from unspool.analyses.go import is_go
from unspool.model import Finding, StopReason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.analyses.locks.process import Examined
    from unspool.analyses.locks.records import Wait

# A module's name begins so: the runtime, what is not known, and who knows it.
_BY_MODULE = (
    ("libcoreclr.so", ".NET", "its monitors are not read", "dotnet-dump shows them"),
    ("libmonosgen", "Mono", "its monitors are not read", "its debugger shows them"),
)
_PYTHON = (
    "CPython", "its locks are semaphores, which do not note who holds them",
    "faulthandler and py-spy show where each thread is",
)  # fmt: skip
_GO = (
    "Go", "its goroutines wait without a thread, and its locks do not note who holds them",
    "it prints all goroutines when it gets SIGQUIT",
)  # fmt: skip
_JAVA_HELP = "jstack and jhsdb, which need the same JDK, know them"


def runtimes(processes: Sequence[Examined], waits: Sequence[Wait]) -> Iterator[Finding]:
    """One finding for each process whose runtime has locks that are not all seen here."""
    for process in processes:
        threads = [wait.thread for wait in waits if wait.party == process.index]
        if not threads:
            continue
        name = process.party.name
        if process.java.problem is not None:
            title = f"{name} runs a JVM: {process.java.problem}"
            yield Finding("runtime_locks", title, detail=_JAVA_HELP, incomplete=True)
        found = _runtime(process)
        if found is not None:
            runtime, unknown, help_ = found
            yield Finding("runtime_locks", f"{name} runs {runtime}: {unknown}", detail=help_)


def cut(process: Examined) -> Iterator[Finding]:
    """What is missing of a target, so that waits may be, too."""
    report, name = process.report, process.party.name
    for each in report.findings:
        if each.incomplete:
            title = f"{name}: {each.title}"
            yield Finding("incomplete", title, detail=each.detail, incomplete=True)
    broken = [
        stack.index
        for stack in report.stacks
        if stack.stop.reason != StopReason.ROOT or stack.gaps
    ]
    if broken:
        who = f"{len(broken)} of {len(report.stacks)} stacks"
        yield Finding(
            "incomplete",
            f"{name}: {who} {'are' if len(broken) > 1 else 'is'} not whole: which functions wait "
            "there may not be known",
            threads=broken,
            detail="unspool stack shows where they end, and why",
            incomplete=True,
        )


def _runtime(process: Examined) -> tuple[str, str, str] | None:
    modules = process.target.space.modules
    for start, *found in _BY_MODULE:
        if any(module.name.startswith(start) for module in modules):
            return found[0], found[1], found[2]
    if is_go(process.target):
        return _GO
    for module in modules:
        if module.name.startswith(("python3", "libpython3")):
            return _PYTHON
    return None
