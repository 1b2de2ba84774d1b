"""MemoryListStream: every range of memory that the dump holds, stacks among them."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.write.draft import Draft
    from unspool.write.output import Output


def write(draft: Draft, output: Output) -> bytes:
    """MINIDUMP_MEMORY_LIST: a count and as many MINIDUMP_MEMORY_DESCRIPTORs, by address."""
    descriptor = Struct("<QII").pack
    parts = [Struct("<I").pack(len(draft.blocks))]
    parts += [descriptor(block.start, block.size, block.rva) for block in draft.blocks]
    return b"".join(parts)
