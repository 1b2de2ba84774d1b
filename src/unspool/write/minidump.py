"""Writes a target as a minidump: memory is chosen and laid out, then the streams that name it.

The file holds first what describes the process and then what is big, its memory. Layouts are
Microsoft's (minidumpapiset.h) and, for Linux, Breakpad's
(google_breakpad/common/minidump_format.h).
"""

from __future__ import annotations

import time as clock
from bisect import bisect_right
from importlib import import_module

from unspool.formats.minidump import streams as types
from unspool.generated.code import GENERATED_KINDS
from unspool.record import Record
from unspool.write.context import write_contexts
from unspool.write.draft import Block, Draft
from unspool.write.more import More
from unspool.write.output import Output
from unspool.write.save import save
from unspool.write.selection import generated_tables, select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from unspool.cursor import Buffer
    from unspool.memory import Memory
    from unspool.model import Stack, Thread
    from unspool.targets.base import Target
    from unspool.write.ranges import Range
    from unspool.write.sanitize import Sanitizer
    from unspool.write.selection import Selection

    Piece = tuple[Block, list[Buffer]]

# The stream's type and the module that writes it, in the order of the directory. Readers that
# stop at the first thing they do not know find the system's kind and the threads first.
_STREAMS = (
    (types.SYSTEM_INFO, "system_info"),
    (types.THREAD_LIST, "thread_list"),
    (types.MODULE_LIST, "module_list"),
    (types.MEMORY_LIST, "memory_list"),
    (types.EXCEPTION, "exception"),
    (types.THREAD_NAMES, "thread_names"),
    (types.MEMORY_INFO_LIST, "memory_info"),
    (types.MISC_INFO, "misc_info"),
    (types.LINUX_CPU_INFO, "cpu_info"),
    (types.LINUX_PROC_STATUS, "proc_status"),
    (types.LINUX_LSB_RELEASE, "lsb_release"),
    (types.LINUX_CMD_LINE, "cmd_line"),
    (types.LINUX_ENVIRON, "environ"),
    (types.LINUX_AUXV, "auxv"),
    (types.LINUX_MAPS, "maps"),
    (types.LINUX_DSO_DEBUG, "dso_debug"),
    (types.COMMENT_A, "comment"),
)

# Breakpad refuses longer lists of memory.
_MOST_BLOCKS = 4096

# These name places of memory in the file, which comes behind them.
_OF_MEMORY = (types.THREAD_LIST, types.MEMORY_LIST)


class Written(Record):
    """What a minidump holds: its size in bytes, how many threads, stacks, ranges of memory and
    their bytes, modules, and the streams' types. `cut` are the indexes of threads of whose
    frames a limit has left out some."""

    __slots__ = ("cut", "memory", "modules", "ranges", "size", "stacks", "streams", "threads")

    def __init__(
        self,
        *,
        size: int,
        threads: int,
        stacks: int,
        ranges: int,
        memory: int,
        modules: int,
        streams: list[int],
        cut: list[int],
    ) -> None:
        self.size = size
        self.threads = threads
        self.stacks = stacks
        self.ranges = ranges
        self.memory = memory
        self.modules = modules
        self.streams = streams
        self.cut = cut


def write_minidump(
    target: Target,
    stacks: Sequence[Stack],
    reads: Sequence[Range],
    path: str,
    *,
    stack_bytes: int = 0,
    sanitize: bool = False,
    environ: bool = False,
    tables: str = "missing",
    time: int | None = None,
    more: More | None = None,
) -> Written:
    """Writes a target's minidump to a file, whole or not at all.

    `stacks` are those of all threads, and `reads` what walking them has read. `stack_bytes` is
    the most that is saved of each stack, 0 for no limit. `sanitize` blanks all words that are no
    pointers into modules or stacks; `environ` keeps arguments and environment, `tables` unwind
    tables of these modules, see `selection.TABLES`. `time` is the
    header's, in seconds since 1970. `more` is to be saved beside. Raises `InputError` if the file
    cannot be written.
    """
    more = more or More()
    chosen = select(
        target, stacks, reads,
        most=stack_bytes, strings=environ and not sanitize, tables=tables,
    )  # fmt: skip
    sanitizer = _sanitizer(target, stacks, reads, more) if sanitize else None
    output = Output(len(_STREAMS))
    draft = Draft(
        target,
        {stack.index: stack for stack in stacks},
        target.facts(),
        keep_word=sanitizer.keeps if sanitizer else None,
        keep_registers=more.registers,
        own_ids=more.own_ids,
        with_environ=environ and not sanitize,
        time=int(clock.time()) if time is None else time,
    )
    pieces = _pieces(target.space.memory, chosen.ranges, sanitizer)
    pieces = _with_more(pieces, more.pieces, sanitizer)
    draft.blocks = [block for block, _ in pieces]
    streams = _lay_out(draft, pieces, chosen, output)
    size = save(path, output.finish(draft.time))
    return _written(draft, size, streams, is_cut=stack_bytes > 0)


def _written(draft: Draft, size: int, streams: list[int], *, is_cut: bool) -> Written:
    stacks, blocks = draft.stacks.values(), draft.blocks
    return Written(
        size=size,
        threads=len(draft.target.threads),
        # A thread under Wine goes from one to the other and back.
        stacks=len(
            {(stack.index, each.low, each.high) for stack in stacks for each in stack.segments}
        ),
        ranges=len(blocks),
        memory=sum(block.size for block in blocks),
        modules=len(draft.target.modules),
        streams=streams,
        cut=_cut(stacks, blocks) if is_cut else [],
    )


def _lay_out(draft: Draft, pieces: Sequence[Piece], chosen: Selection, output: Output) -> list[int]:
    """Puts everything into the output; gives the types of the streams there are.

    Memory comes last, the crashed thread's stack first of it: a file that is cut, as uploads and
    full disks do, still says of the process and its threads what it can. The streams that name
    places of memory get their room before and their content after it.
    """
    write_contexts(draft, output)
    late: list[tuple[bytearray, Callable[[Draft, Output], bytes | None]]] = []
    written = []
    for kind, name in _STREAMS:
        write: Callable[[Draft, Output], bytes | None]
        write = import_module(f"unspool.write.streams.{name}").write
        body: bytes | bytearray | None = write(draft, output)
        if body is None:
            continue
        if kind in _OF_MEMORY:
            body = bytearray(body)
            late.append((body, write))
        output.stream(kind, body)
        written.append(kind)
    _place(pieces, draft, output)
    draft.stack_blocks = _own_blocks(draft.blocks, chosen.own)
    for room, write in late:
        room[:] = write(draft, output) or b""
    return written


def _pieces(memory: Memory, ranges: Sequence[Range], sanitizer: Sanitizer | None) -> list[Piece]:
    """What there is of the ranges: blocks without gaps, with their bytes."""
    found: list[Piece] = []
    for low, high in ranges:
        for start, region, data in memory.pieces(low, high):
            # What nobody can write holds nothing of the process's own.
            if sanitizer is not None and region.writable:
                data = sanitizer.clean(start, bytes(data))
            last = found[-1] if found else None
            if last is not None and last[0].start + last[0].size == start:
                # One block of two regions: its bytes must follow each other in the file.
                last[0].size += len(data)
                last[1].append(data)
            else:
                found.append((Block(start, len(data), 0), [data]))
    return found


def _with_more(
    pieces: Sequence[Piece], more: Sequence[tuple[int, bytes]], sanitizer: Sanitizer | None
) -> list[Piece]:
    """The blocks with further memory, as far as they do not have it; the pieces may overlap."""
    found = list(pieces)
    starts = [block.start for block, _ in pieces]
    end = 0  # of what was added so far
    for start, data in sorted(more)[: max(_MOST_BLOCKS - len(found), 0)]:
        low, high = max(start, end), start + len(data)
        at = bisect_right(starts, low)
        if at:
            low = max(low, starts[at - 1] + pieces[at - 1][0].size)
        if at < len(starts):
            high = min(high, starts[at])
        if low >= high:
            continue
        part = data[low - start : high - start]
        if sanitizer is not None:
            part = sanitizer.clean(low, part)
        found.append((Block(low, len(part), 0), [part]))
        end = high
    found.sort(key=lambda piece: piece[0].start)
    return found


def _place(pieces: Sequence[Piece], draft: Draft, output: Output) -> None:
    """Puts memory into the output: the crashed thread's stacks, the other threads', the rest."""
    starts = [block.start for block, _ in pieces]
    order: dict[int, None] = {}
    for thread in sorted(draft.target.threads, key=_not_crashed):
        stack = draft.stacks.get(thread.index)
        segment = -1
        for frame in stack.frames if stack is not None else ():
            if frame.segment != segment and frame.sp is not None:
                segment = frame.segment
                at = bisect_right(starts, frame.sp) - 1
                if at >= 0:
                    order[at] = None
    order.update(dict.fromkeys(range(len(pieces))))
    for index in order:
        block, parts = pieces[index]
        block.rva = output.add(parts[0], 16)
        for part in parts[1:]:
            output.add(part, 1)


def _not_crashed(thread: Thread) -> bool:
    return not thread.crashed


def _own_blocks(blocks: Sequence[Block], own: dict[int, Range]) -> dict[int, Block]:
    """The parts of blocks that are threads' own stacks, by the threads' indexes."""
    starts = [block.start for block in blocks]
    found = {}
    for index, (low, high) in own.items():
        at = max(bisect_right(starts, low) - 1, 0)
        while at < len(blocks) and blocks[at].start + blocks[at].size <= low:
            at += 1
        if at < len(blocks) and blocks[at].start < high:
            block = blocks[at]
            start = max(low, block.start)
            end = min(high, block.start + block.size)
            found[index] = Block(start, end - start, block.rva + start - block.start)
    return found


def _cut(stacks: Iterable[Stack], blocks: Sequence[Block]) -> list[int]:
    """The threads with a frame whose stack pointer is in no block, nor at the end of one."""
    starts = [block.start for block in blocks]

    def holds(address: int) -> bool:
        at = bisect_right(starts, address) - 1
        return at >= 0 and address <= blocks[at].start + blocks[at].size

    return [
        stack.index
        for stack in stacks
        if not all(frame.sp is None or holds(frame.sp) for frame in stack.frames)
    ]


def _sanitizer(
    target: Target, stacks: Sequence[Stack], reads: Sequence[Range], more: More
) -> Sanitizer:
    from unspool.write import known_words
    from unspool.write.sanitize import Sanitizer

    word = target.arch.pointer_size
    known = [(module.base, module.end) for module in target.modules] + more.stacks
    for stack in stacks:
        for segment in stack.segments:
            if segment.low is not None and segment.high is not None:
                known.append((segment.low, segment.high))
    facts = [*known_words.of_signal_frames(reads, word), *more.facts]
    # What a runtime wrote of its code is of the program as its file is, and no data of it.
    for module in target.modules:
        if module.kind in GENERATED_KINDS:
            tables = generated_tables(target, module)
            facts += [(module.base, module.end), *tables]
            known += tables
    for namer in target.namers:
        tables = namer.tables()
        facts += tables
        known += tables
    wine = target.wine
    if wine is not None:
        known += known_words.structures(wine)
        facts += known_words.of_wine(wine, reads)
    return Sanitizer(known, word, facts)
