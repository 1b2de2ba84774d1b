"""The runtime's own record of where Wasm code was left and entered, as the walk uses it.

It confirms what frame pointers and symbols say, leads to Wasm code from native code that has no
unwind data, and past frames of Wasm code that are overwritten.
"""

from __future__ import annotations

from unspool.generated.wasmtime import WasmCode
from unspool.generated.wasmtime_state import find_state, layouts_of
from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.step import Found, Reviewer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.generated.code import GeneratedCode
    from unspool.generated.wasmtime_state import State
    from unspool.space import AddressSpace
    from unspool.unwind.step import Ended, Missed, Query
    from unspool.unwind.wasm_frames import Traits

# Words of stack that are taken for pointers, from the stack pointer up.
_WORDS = 2048


class StoredState:
    """Finds the stored state by pointers on a thread's stack and in its registers."""

    def __init__(
        self,
        space: AddressSpace,
        code: GeneratedCode,
        traits: Traits,
        is_return: Callable[[int], bool],
    ) -> None:
        self.space = space
        self.traits = traits
        self.is_return = is_return
        images = [each.runtime for each in code.modules if isinstance(each.runtime, WasmCode)]
        # A running process's memory beside its stacks is as it is now: what is found must fit.
        self.memory = images[0].memory if images else space.memory
        self.images = images
        versions = [version for version in (each.version for each in images) if version]
        self.layouts = layouts_of(max(versions) if versions else None)

    def find(self, query: Query, stack: tuple[int, int]) -> State | None:
        """The state of the newest activation above a frame."""
        words = [word for word in set(self._words(query, stack)) if self._is_data(word, stack)]
        found = find_state(self.memory, words, self.layouts, self.traits, stack, self.is_return)
        if found is not None and self.images:
            self.images[0].keep(found.pointer, found.address)
        return found

    def _words(self, query: Query, stack: tuple[int, int]) -> Iterator[int]:
        yield from (value for value in query.registers if value is not None)
        low = (stack[0] + 7) & ~7
        data = self.space.memory.read_available(low, min(8 * _WORDS, max(stack[1] - low, 0)))
        yield from memoryview(data[: len(data) & ~7]).cast("Q")

    def _is_data(self, word: int, stack: tuple[int, int]) -> bool:
        """Whether a word may be a pointer to the runtime's data, which is not on the stack."""
        if not word or word & 7 or stack[0] <= word < stack[1]:
            return False
        region = self.space.memory.region(word)
        return region is not None and region.writable

    def to_exit(self, query: Query, state: State) -> list[int | None] | None:
        """The registers of the newest Wasm frame, as far as they are stored."""
        above, sp = query.above, state.exit_sp
        if above is None:
            return None
        if sp is None:
            sp = self._behind_call(state, above)
        if sp is None or sp < above:
            return None
        arch = self.space.arch
        registers: list[int | None] = [None] * len(query.registers)
        registers[arch.pc], registers[arch.fp], registers[arch.sp] = (
            state.exit_pc,
            state.exit_fp,
            sp,
        )
        return registers

    def _behind_call(self, state: State, above: int) -> int | None:
        """The stack pointer before the call that left Wasm code: its return address is there."""
        size = state.exit_fp - above
        data = self.space.memory.read_available(above, min(max(size, 0), 8 * _WORDS))
        at = data.rfind(state.exit_pc.to_bytes(8, "little"))
        return above + at + 8 if at >= 0 and not (above + at) & 7 else None

    def past_entry(self, query: Query, state: State) -> list[int | None] | None:
        """The registers of the entry trampoline or its caller, as far as they are stored."""
        arch, traits = self.space.arch, self.traits
        registers: list[int | None] = [None] * len(query.registers)
        try:
            if state.entry_fp is not None:
                at, sp = state.entry_fp, state.entry_fp + traits.older_sp
            elif state.entry_sp is not None and arch.link is None:
                # What the trampoline has called begins with its return address and frame pointer.
                at, sp = state.entry_sp - traits.older_sp, state.entry_sp
            else:
                return None
            pc = self.space.memory.read_uint(at + traits.return_address, traits.word)
            registers[arch.fp] = self.space.memory.read_uint(at + traits.older_fp, traits.word)
        except Fault:
            return None
        registers[arch.pc], registers[arch.sp] = pc & traits.code_mask, sp
        return registers


class WasmReviewer(Reviewer):
    """Checks guesses that lead from native code into Wasm code.

    Functions of a runtime that have no unwind data need not keep frame pointers. Then the register
    still has the Wasm frame's, and what it leads to is the caller of the Wasm code that was left.

    `met` are threads of which an activation has been walked: what is stored is of the newest one.
    """

    def __init__(
        self,
        stored: StoredState,
        bounds: Callable[[Query], tuple[int, int]],
        met: set[int | None],
    ) -> None:
        self.stored = stored
        self.met = met
        self.bounds = bounds

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        if not isinstance(answer, Found) or answer.trust not in _GUESSES:
            return answer
        arch = self.stored.space.arch
        pc = answer.registers[arch.pc]
        if pc is None or not self._is_ours(pc - 1) or self._is_ours(query.lookup_pc):
            return answer
        state = (
            self.stored.find(query, self.bounds(query)) if query.thread not in self.met else None
        )
        # Of an older call there may be one as well, which nothing has overwritten.
        if state is None or state.exit_pc == pc or state.exit_fp != query.registers[arch.fp]:
            return answer
        registers = self.stored.to_exit(query, state)
        if registers is None:
            return answer
        why = f"native code without unwind data, passed by the state at 0x{state.address:x}"
        return Found(registers, Trust.WASM, gap=why)

    def _is_ours(self, address: int) -> bool:
        module = self.stored.space.module_at(address)
        return module is not None and module.kind == "wasm"


_GUESSES = (Trust.FRAME_POINTER, Trust.SCAN)
