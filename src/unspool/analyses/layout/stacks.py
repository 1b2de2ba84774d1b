"""Stacks with their threads, the guards below them, and what threads keep for themselves."""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.layout.mappings import is_held
from unspool.analyses.layout.paint import Label
from unspool.analyses.layout.records import Kind
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.memory import Memory
    from unspool.model import Stack, Thread
    from unspool.space import AddressSpace, KnownStack
    from unspool.targets.base import Target
    from unspool.targets.live.procfs import Mapping

# glibc's guard is a page by default, a program may ask for more. What is much larger was
# reserved for something else.
_MAX_GUARD = 1 << 20
# Threads that are named one by one where several share a mapping.
_NAMED = 4
# A main thread's storage is a mapping of its own, of some pages.
_MAX_THREAD_DATA, _MAX_SEARCHED = 256 << 10, 16 << 20

_WORDS = {"windows": "Windows stack", "unix": "Unix stack", "signal": "signal stack"}


class Finder:
    """Finds the mapping of an address."""

    def __init__(self, mappings: Sequence[Mapping]) -> None:
        self.mappings = mappings
        self._starts = [each.start for each in mappings]

    def index(self, address: int) -> int | None:
        at = bisect_right(self._starts, address) - 1
        return at if at >= 0 and address < self.mappings[at].end else None

    def at(self, address: int) -> Mapping | None:
        at = self.index(address)
        return None if at is None else self.mappings[at]

    def below(self, mapping: Mapping) -> Mapping | None:
        """The mapping that ends where this one begins."""
        return self.at(mapping.start - 1)


def thread_labels(target: Target, names: dict[int, str]) -> dict[int, str]:
    """What threads are called: "thread 1234 (name)", by index. Ids may repeat, and be 0."""
    labels = {}
    for thread in target.threads:
        name = thread.name or names.get(thread.tid)
        labels[thread.index] = f"thread {thread.tid}{f' ({name})' if name else ''}"
    return labels


def known_stacks(stacks: Iterable[KnownStack], labels: dict[int, str]) -> Iterator[Label]:
    """Stacks whose bounds Windows or Wine noted."""
    for stack in stacks:
        whose = labels.get(stack.thread, "a thread") if stack.thread is not None else "a thread"
        name = f"{_WORDS.get(stack.kind, f'{stack.kind} stack')} of {whose}"
        kind = Kind.WINDOWS_STACK if stack.kind == "windows" else Kind.WINE_STACK
        threads = () if stack.thread is None else (stack.thread,)
        evidence = f"the thread's TEB says 0x{stack.low:x} to 0x{stack.high:x}"
        if stack.kind != "windows":
            evidence = f"Wine keeps it at 0x{stack.low:x} to 0x{stack.high:x}"
        yield Label(
            stack.low, stack.high, kind, name, evidence, threads=threads, decide=_guarded
        )


def signal_stacks(
    stacks: Iterable[Stack], finder: Finder, labels: dict[int, str]
) -> Iterator[Label]:
    """Alternate stacks that signal frames tell of.

    Where a frame does not, a segment has the bounds of its mapping, which may be a heap's.
    """
    for stack in stacks:
        for segment in stack.segments:
            low, high = segment.low, segment.high
            if segment.kind == "signal" and low is not None and high is not None:
                mapping = finder.at(low)
                if mapping is not None and (mapping.start, mapping.end) == (low, high):
                    continue
                yield Label(
                    low, high, Kind.STACK, f"signal stack of {labels[stack.index]}",
                    f"the signal frame of the thread says 0x{low:x} to 0x{high:x}",
                    threads=(stack.index,), decide=_anonymous,
                )  # fmt: skip


def mapped_stacks(
    stacks: Iterable[Stack], finder: Finder, labels: dict[int, str], space: AddressSpace
) -> Iterator[Label]:
    """Mappings that threads' stacks are in, by stack pointers of frames on no known stack."""
    users: dict[int, dict[int, tuple[int, int, int]]] = {}
    for stack in stacks:
        for frame in stack.frames:
            # The lowest frames may have a stack pointer at the very end of a known stack.
            if frame.sp is None or space.stack_at(frame.sp) or space.stack_at(frame.sp - 1):
                continue
            at = finder.index(frame.sp)
            if at is None:
                continue
            mine = users.setdefault(at, {})
            count, low, high = mine.get(stack.index, (0, frame.sp, frame.sp))
            mine[stack.index] = count + 1, min(low, frame.sp), max(high, frame.sp)
    for at, mine in users.items():
        mapping = finder.mappings[at]
        threads = sorted(mine)
        name = f"stack of {_list(threads, labels)}"
        parts = [
            f"{labels[index]}: {count:,} frame{'s' * (count != 1)} from 0x{low:x} to 0x{high:x}"
            for index, (count, low, high) in sorted(mine.items())[:_NAMED]
        ]
        yield Label(
            mapping.start, mapping.end, Kind.STACK, name, "; ".join(parts),
            threads=threads, decide=_anonymous,
        )  # fmt: skip


def guards(stacks: Iterable[Label], finder: Finder) -> Iterator[Label]:
    """Mappings without access right below stacks."""
    for stack in stacks:
        here = finder.at(stack.start)
        mapping = finder.at(stack.start - 1) if here and here.start == stack.start else None
        if mapping is None or not _is_held(mapping):
            continue
        if mapping.end - mapping.start > _MAX_GUARD:
            continue
        yield Label(
            mapping.start, stack.start, Kind.GUARD, f"guard of the {stack.name}",
            f"no access, right below the stack at 0x{stack.start:x}", threads=stack.threads,
        )  # fmt: skip


def thread_data(
    threads: Sequence[Thread], memory: Memory, finder: Finder, word: int, labels: dict[int, str]
) -> Iterator[Label]:
    """Mappings with a thread control block that is on no stack: a main thread's."""
    register = "fs_base" if word == 8 else "gs_base"
    if any(register not in thread.special for thread in threads):
        yield from _control_blocks(memory, finder, word)
    for thread in threads:
        base = thread.special.get(register)
        mapping = finder.at(base) if base else None
        if base is None or mapping is None or mapping.path:
            continue
        try:
            # glibc's and musl's control blocks begin with their own address.
            if memory.read_uint(base, word) != base:
                continue
        except Fault:
            continue
        yield Label(
            mapping.start, mapping.end, Kind.TLS, f"thread-local storage of {labels[thread.index]}",
            f"{register} leads to the thread control block at 0x{base:x}", threads=(thread.index,),
        )  # fmt: skip


def _control_blocks(memory: Memory, finder: Finder, word: int) -> Iterator[Label]:
    """Small mappings with a control block of glibc's: its first and third words lead to itself.

    gcore leaves out what an i386 thread's segment gs is.
    """
    left = _MAX_SEARCHED
    for mapping in finder.mappings:
        size = mapping.end - mapping.start
        if mapping.path or mapping.permissions[:2] != "rw" or size > _MAX_THREAD_DATA:
            continue
        left -= size
        if left < 0:
            return
        data = memory.read_available(mapping.start, size)
        words = memoryview(data)[: len(data) // word * word].cast("Q" if word == 8 else "I")
        for index in range(len(words) - 2):
            at = mapping.start + index * word
            if words[index] == at and words[index + 2] == at:
                yield Label(
                    mapping.start, mapping.end, Kind.TLS, "thread-local storage of a thread",
                    f"a thread control block at 0x{at:x} leads to itself twice",
                )  # fmt: skip
                break


def _list(threads: Sequence[int], labels: dict[int, str]) -> str:
    named = [labels[index] for index in threads[:_NAMED]]
    more = len(threads) - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")


def _guarded(mapping: Mapping, label: Label) -> tuple[str, str]:
    """A stack with bounds of its own: what is without access in it is guard or not used yet."""
    if not _is_held(mapping):
        return label.kind, label.name
    return Kind.GUARD, f"guard of the {label.name}"


def _anonymous(mapping: Mapping, label: Label) -> tuple[str, str] | None:
    """Stacks are in memory without a file; a coroutine's may be in a heap, which stays one."""
    if mapping.path == "[stack]":
        return label.kind, f"first {label.name}"
    return (label.kind, label.name) if not mapping.path else None


def _is_held(mapping: Mapping) -> bool:
    return is_held(mapping.permissions) and not mapping.path
