"""Made-up answers of `unspool locks`, to be drawn: chains, queues, long names."""

from __future__ import annotations

from unspool.analyses.locks.graph import deadlocks
from unspool.analyses.locks.records import Holder, Lock, LockReport, Party, Wait
from unspool.model import Frame, Location, Report, Stack, Stop, TargetInfo, Trust

LONG = "ns::Registry<std::basic_string<char>, 4096>::take_the_lock_of_the_whole_registry(int)"


def ring(threads: int, behind: int = 0, queue: int = 0, *, certain: bool = True) -> LockReport:
    """A circle of threads, some that wait behind it, and a queue before a running thread."""
    count = threads + behind + queue + 1
    places = {0x1000 + index: Location(None, f"{LONG}{index}") for index in range(count)}
    stacks = [
        Stack(
            index, 4000 + index, [Frame(0x1000 + index, 0x8000, Trust.CONTEXT, exact=True)], [],
            Stop("root"), name=f"worker <{index}> & co",
        )
        for index in range(count)
    ]  # fmt: skip
    report = Report(TargetInfo("core", "x86_64"), [], stacks, locations=places)
    locks = [
        Lock(
            "mutex", 0, 0x55550000 + 64 * index, name=f"locks+0x{64 * index:x} of a-program",
            holders=[Holder(0, (index + 1) % threads, "made up", certain)],
        )
        for index in range(threads)
    ]  # fmt: skip
    locks.append(
        Lock(
            "mutant", 0, None, name="\\Sessions\\1\\BaseNamedObjects\\" + "name" * 12,
            holders=[Holder(0, count - 1, "made up")],
        )
    )  # fmt: skip
    waits = [
        Wait(0, index, min(index % threads, threads - 1), "lock", address=1, evidence="", frame=0)
        for index in range(threads + behind)
    ]
    waits += [
        Wait(0, index, threads, "lock", address=None, evidence="", frame=0)
        for index in range(threads + behind, count - 1)
    ]
    party = Party(0, "a-program", report)
    return LockReport([party], locks, waits, deadlocks(waits, locks), [])
