"""ThreadListStream: threads with their registers, their own stack, and under Wine their TEB."""

from __future__ import annotations

from unspool.formats.minidump.structures import THREAD, THREAD_LIST
from unspool.write.context import write_contexts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.model import Thread
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes:
    """MINIDUMP_THREAD_LIST. Threads' registers go into the output, if they are not there yet.

    A thread's record has room for one stack, that of its stack pointer; what other stacks it
    has is in the list of memory.
    """
    entry = THREAD.struct.pack
    write_contexts(draft, output)
    parts = [THREAD_LIST.pack(NumberOfThreads=len(draft.target.threads))]
    for thread in draft.target.threads:
        location = draft.contexts[thread.index]
        size, rva = int.from_bytes(location[:4], "little"), int.from_bytes(location[4:], "little")
        parts.append(
            entry(
                thread.tid & 0xFFFFFFFF, 0, 0, 0, _teb(draft, thread),
                *_stack(draft, thread), size, rva,
            )
        )  # fmt: skip
    return b"".join(parts)


def _teb(draft: Draft, thread: Thread) -> int:
    wine = draft.target.wine
    known = wine.threads.get(thread.index) if wine is not None else None
    return known.teb.address if known is not None else 0


def _stack(draft: Draft, thread: Thread) -> tuple[int, int, int]:
    """Address, size, RVA. Without a stack its pointer says at least where it was."""
    block = draft.stack_blocks.get(thread.index)
    if block is not None:
        return block.start, block.size, block.rva
    registers = thread.registers
    return (registers[draft.target.arch.sp] or 0) if registers else 0, 0, 0
