"""What Wasmtime keeps of where Wasm code was last left and entered: a third witness.

Every instance has a VMContext, known by its first bytes, "core". Behind them is a pointer to what
all instances of a store share, `VMStoreContext` (`VMRuntimeLimits` up to version 29). There exit
trampolines write the pc and the frame pointer of the Wasm code that they leave, and entry
trampolines where they are. It is of the newest activation alone: the runtime keeps those of older
ones elsewhere.
"""

from __future__ import annotations

from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Protocol

    from unspool.memory import Memory

    class Traits(Protocol):
        """Where a frame has what links it, see `unwind.wasm_frames`."""

        older_fp: int
        older_sp: int
        return_address: int
        word: int
        code_mask: int

VMCONTEXT_MAGIC = b"core"
# The pointer to the store's part follows the magic and its padding, in every version.
_STORE_AT = 8
STATE_SIZE = 80


class StateLayout:
    """Where in the store's part the words are, in bytes, for versions `[since, until)`.

    `exit_fp` is the frame pointer of the exit trampoline where `by_trampoline`, else of the
    newest Wasm frame. Of the entry trampoline there is its stack pointer, its frame pointer, or
    both.
    """

    __slots__ = ("by_trampoline", "entry_fp", "entry_sp", "exit_fp", "exit_pc", "since", "until")

    def __init__(
        self,
        since: int,
        until: int,
        exit_fp: int,
        *,
        entry_sp: int | None = None,
        entry_fp: int | None = None,
        by_trampoline: bool = False,
    ) -> None:
        self.since = since
        self.until = until
        self.exit_fp = exit_fp
        self.exit_pc = exit_fp + 8
        self.entry_sp = entry_sp
        self.entry_fp = entry_fp
        self.by_trampoline = by_trampoline


# crates/environ/src/vmoffsets.rs of v8.0.0 to v47.0.0, every version; in later ones the same is
# in crates/environ/src/vmtypes.rs.
LAYOUTS = (
    StateLayout(43, 1 << 16, 48, entry_sp=64, entry_fp=72, by_trampoline=True),
    StateLayout(38, 43, 40, entry_sp=56, entry_fp=64, by_trampoline=True),
    StateLayout(37, 38, 40, entry_fp=56, by_trampoline=True),
    StateLayout(33, 37, 40, entry_fp=56),
    StateLayout(27, 33, 24, entry_fp=40),
    StateLayout(8, 27, 24, entry_sp=40),
)


class State:
    """The stored words: pc and frame pointer of the newest Wasm frame, stack pointer and frame
    pointer of the entry trampoline, each None if it is not stored. `exit_sp` is the newest Wasm
    frame's stack pointer. `address` is where the store's part is, and `pointer` what led there."""

    __slots__ = (
        "address", "entry_fp", "entry_sp", "exit_fp", "exit_pc", "exit_sp", "pointer",
    )  # fmt: skip

    def __init__(
        self,
        pointer: int,
        address: int,
        exit_pc: int,
        exit_fp: int,
        exit_sp: int | None,
        entry_sp: int | None,
        entry_fp: int | None,
    ) -> None:
        self.pointer = pointer
        self.address = address
        self.exit_pc = exit_pc
        self.exit_fp = exit_fp
        self.exit_sp = exit_sp
        self.entry_sp = entry_sp
        self.entry_fp = entry_fp


def layouts_of(version: Sequence[int] | None) -> list[StateLayout]:
    """The layouts of a version of the runtime; all if it is not known."""
    if not version:
        return list(LAYOUTS)
    return [each for each in LAYOUTS if each.since <= version[0] < each.until]


def find_state(
    memory: Memory,
    words: Iterable[int],
    layouts: Sequence[StateLayout],
    traits: Traits,
    stack: tuple[int, int],
    is_return: Callable[[int], bool],
) -> State | None:
    """The state of the newest activation in a stack, if one of the words leads to it.

    The words may be pointers to a VMContext or to the store's part. What is found there must fit:
    the exit's pc is a return address in Wasm code, both frames are in the stack, the entry's
    is the older one.
    """
    found: State | None = None
    for word in sorted(set(words)):
        for layout in layouts:
            state = _state_at(memory, word, layout, traits)
            if state is None or not _fits(state, stack, is_return):
                continue
            if found is None or state.exit_fp < found.exit_fp:
                found = state
    return found


def _state_at(memory: Memory, word: int, layout: StateLayout, traits: Traits) -> State | None:
    pointer = word
    try:
        if memory.read_available(word, 4) == VMCONTEXT_MAGIC:
            word = memory.read_uint(word + _STORE_AT, 8)
        data = memory.read_available(word, STATE_SIZE)
        if len(data) < STATE_SIZE:
            return None

        def at(offset: int | None) -> int | None:
            return None if offset is None else int.from_bytes(data[offset : offset + 8], "little")

        pc, fp, sp = at(layout.exit_pc), at(layout.exit_fp), None
        if not pc or not fp:
            return None
        if layout.by_trampoline:
            address = memory.read_uint(fp + traits.return_address, traits.word)
            if address & traits.code_mask != pc:
                return None
            fp, sp = memory.read_uint(fp + traits.older_fp, traits.word), fp + traits.older_sp
        return State(pointer, word, pc, fp, sp, at(layout.entry_sp), at(layout.entry_fp))
    except Fault:
        return None


def _fits(state: State, stack: tuple[int, int], is_return: Callable[[int], bool]) -> bool:
    low, high = stack
    entry = state.entry_fp or state.entry_sp or 0
    return low <= state.exit_fp < entry < high and is_return(state.exit_pc)
