"""What a minidump is made of: the target, its walked stacks, and the memory that was chosen."""

from __future__ import annotations

from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from unspool.model import Stack
    from unspool.targets.base import Target
    from unspool.targets.facts import Facts


class Block(Record):
    """Memory that the dump holds: `size` bytes from the address `start`, in the file at `rva`."""

    __slots__ = ("rva", "size", "start")

    def __init__(self, start: int, size: int, rva: int) -> None:
        self.start = start
        self.size = size
        self.rva = rva


class Draft:
    """A minidump in the making, as its streams see it.

    `stacks` are the walked ones by thread index. `blocks` are by address, and none overlaps
    another; `stack_blocks` are, by thread index, the parts of them that MINIDUMP_THREAD names
    as the thread's stack: the one that its stack pointer is in. `keep_word` tells whether the
    value of a register may leave the machine, None if all may; `keep_registers` are the numbers
    of those of a thread that may in any case. `time` is in seconds since 1970.
    `own_ids` are the threads' ids in their own pid namespace, if they are others than the target's.
    `contexts` are location descriptors of threads' registers by thread index, which the list of
    threads puts there for the exception.
    """

    __slots__ = (
        "blocks", "contexts", "facts", "keep_registers", "keep_word", "own_ids", "stack_blocks",
        "stacks", "target", "time", "with_environ",
    )  # fmt: skip

    def __init__(
        self,
        target: Target,
        stacks: dict[int, Stack],
        facts: Facts,
        *,
        blocks: Sequence[Block] = (),
        stack_blocks: dict[int, Block] | None = None,
        keep_word: Callable[[int], bool] | None = None,
        keep_registers: Mapping[int, Sequence[int]] | None = None,
        own_ids: Sequence[int] = (),
        with_environ: bool = False,
        time: int = 0,
    ) -> None:
        self.target = target
        self.stacks = stacks
        self.facts = facts
        self.blocks = blocks
        self.stack_blocks = stack_blocks or {}
        self.keep_word = keep_word
        self.keep_registers = keep_registers or {}
        self.own_ids = own_ids
        self.with_environ = with_environ
        self.time = time
        self.contexts: dict[int, bytes] = {}
