"""WebAssembly: all frames of an activation at once, from the trampoline by which Wasm code was
left to the one by which it was entered.

Frame pointers are trusted between the two and nowhere else (`wasm_frames`). Where the activation
begins and ends is known in three ways that check each other: the symbols of the trampolines, the
image's unwind tables, and what the runtime itself has stored of its last exit and entry.

    native code     ── segment "unix"
    exit trampoline    (code of the image that saves where Wasm code was left)
    Wasm frames     ── segment "wasm": what `wasm_frames.frames` gives
    entry trampoline ─ segment "unix"
    native code
"""

from __future__ import annotations

from unspool.formats.wasmtime import ENTRY, EXIT, OTHER, WASM
from unspool.generated.wasmtime import WasmCode
from unspool.model import Trust
from unspool.unwind.step import EarlyStrategy, Found, Missed, Query, Switch
from unspool.unwind.strategies.wasm_edges import caller_at_edge
from unspool.unwind.strategies.wasm_exit import ExitReviewer
from unspool.unwind.strategies.wasm_stack import StackReader, Tables
from unspool.unwind.strategies.wasm_stored import StoredState, WasmReviewer
from unspool.unwind.wasm_frames import TRAITS, End, frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.wasmtime import Function
    from unspool.generated.code import GeneratedCode
    from unspool.generated.wasmtime_state import State
    from unspool.unwind.step import Stepper
    from unspool.unwind.wasm_frames import Traits

    Registers = list[int | None]


class Wasm(EarlyStrategy):
    """Walks Wasm code, whether it has called something or was stopped itself."""

    name = "wasm"

    def __init__(self, stepper: Stepper, code: GeneratedCode, traits: Traits) -> None:
        self.stepper = stepper
        self.space = stepper.space
        self.code = code
        self.traits = traits.with_code_mask(self.space.arch.code_address_mask)
        self.tables = Tables(stepper, self.traits)
        self._returns: dict[int, bool] = {}
        self.stored = StoredState(self.space, code, self.traits, self.is_return)
        # Threads of which an activation has been walked: the stored state is of the newest one.
        self.met: set[int | None] = set()
        # What comes after the last frame of an activation, by its pc and stack pointer.
        self._ends: dict[tuple[int, int], Found | Missed] = {}

    def function_at(self, address: int) -> tuple[str, Function | None] | None:
        """What is at an address of an image, and its function; None for all other addresses."""
        found = self.code.at(address)
        code = found.runtime if found is not None else None
        if not isinstance(code, WasmCode) or not code.text_start <= address < code.text_end:
            return None
        function = code.function_at(address)
        if function is not None:
            return function.kind, function
        # Without any symbols all code of the image is as good as Wasm code.
        return (OTHER if code.functions.all else WASM), None

    def start_of(self, address: int, function: Function) -> int:
        """Where a function begins that has code at an address of the process."""
        found = self.code.at(address)
        assert found is not None
        assert isinstance(found.runtime, WasmCode)
        return found.runtime.text_start + function.start

    def claims(self, query: Query) -> bool:
        found = self.function_at(query.lookup_pc)
        if found is None or found[0] == OTHER:
            return False
        return found[0] != ENTRY or query.exact or self.tables.row(query.pc, exact=False) is None

    def answer(self, query: Query) -> Found | Missed:
        above = query.above
        found = self.function_at(query.lookup_pc)
        if above is None or found is None:
            return Missed("the stack pointer is not known")
        end = self._ends.pop((query.pc, above), None)
        if end is not None:
            return end
        kind, function = found
        if kind == WASM and not query.exact:
            return self._activation(query, query.registers, [(query.pc, above)], None)
        caller = self._caller(query, function)
        if isinstance(caller, Missed) or kind == ENTRY:
            return caller if isinstance(caller, Missed) else Found(caller, Trust.WASM)
        return self._activation(
            query, caller, [(query.pc, above)] if kind == WASM else [], function
        )

    def _caller(self, query: Query, function: Function | None) -> Registers | Missed:
        """The registers of who called one function: by the place in it, by tables, by its frame.

        Cranelift describes prologues and no epilogues: in these its tables skip a frame.
        """
        registers = None
        if query.exact and function is not None:
            found = self.code.at(query.lookup_pc)
            assert found is not None
            assert isinstance(found.runtime, WasmCode)
            start = found.runtime.text_start + function.start
            registers = caller_at_edge(self.space, query, start)
        if registers is None:
            registers = self.tables.caller(query)
        arch = self.space.arch
        fp = query.registers[arch.fp]
        if registers is None and fp is not None:
            registers = self._by_frame(query, fp)
        if registers is None:
            return Missed("the frame pointer is not one of Wasm code")
        sp, above = registers[arch.sp], query.above
        if sp is None or above is None or sp < above or (sp == above and arch.link is None):
            return Missed("the caller's frame is not above")
        return registers

    def _by_frame(self, query: Query, fp: int) -> Registers | None:
        """By a function's own frame. What native code has in the register may be anything."""
        arch, traits, memory = self.space.arch, self.traits, self.space.memory
        low, high = self.bounds(query)
        if fp % traits.alignment or not low <= fp < high:
            return None
        pc = memory.read_uint(fp + traits.return_address, traits.word) & traits.code_mask
        if self.space.after_call(pc) is False:
            return None
        registers: Registers = [None] * len(query.registers)
        registers[arch.pc], registers[arch.sp] = pc, fp + traits.older_sp
        registers[arch.fp] = memory.read_uint(fp + traits.older_fp, traits.word)
        return registers

    def bounds(self, query: Query) -> tuple[int, int]:
        """The stack from the frame's stack pointer up."""
        low = query.above or 0
        known = self.space.stack_at(low)
        region = self.space.memory.region(low)
        if known is not None:
            return low, known.high
        return low, region.mapping[1] if region is not None else low

    def _activation(
        self,
        query: Query,
        registers: Registers,
        begun: list[tuple[int, int]],
        exit_: Function | None,
    ) -> Found | Missed:
        """All frames from `registers` on; `begun` is the Wasm frame asked about, if it is one.

        A frame asked about that has called another one is itself the first of the list.
        """
        arch, traits = self.space.arch, self.traits
        pc, fp, sp = registers[arch.pc], registers[arch.fp], registers[arch.sp]
        itself = registers is query.registers
        if pc is None or fp is None or sp is None:
            return Missed("the frame pointer of Wasm code is not known")
        walk = frames(
            traits, StackReader(self.space).read, pc, fp, None,
            is_code=self.is_return, stack=self.bounds(query),
        )  # fmt: skip
        seen, at = list(begun), sp
        last: dict[int, int] = {}
        pairs = walk.pairs()
        if itself:
            next(pairs, None)
            last[pc] = fp
            at = fp + traits.older_sp
        for pc, fp in pairs:
            seen.append((pc, at))
            last[pc] = fp
            at = fp + traits.older_sp
        assert walk.end is not None
        return self._answer(query, registers, seen, last, walk.end, at, begun, exit_)

    def _answer(
        self,
        query: Query,
        registers: Registers,
        seen: list[tuple[int, int]],
        last: dict[int, int],
        end: End,
        sp: int,
        begun: list[tuple[int, int]],
        exit_: Function | None,
    ) -> Found | Missed:
        after = self._after(query, registers, last, end, sp)
        if not seen:
            if isinstance(after, Found) and after.switch is not None:
                after.switch.words = f"{_HOW}: no frames, a tail call has taken their place"
            return after
        low = seen[0][1] if not begun else query.above or 0
        switch = Switch("wasm", self._words(exit_, query), self._evidence(last), (low, sp))
        if len(seen) == len(begun):
            if isinstance(after, Found):
                after.begins = switch
            return after
        pc, at = seen[-1]
        self._ends[pc, at] = after
        arch = self.space.arch
        newest: Registers = [None] * len(registers)
        newest[arch.pc], newest[arch.sp], newest[arch.fp] = pc, at, last[pc]
        run = seen[len(begun) : -1]
        if begun:
            return Found(newest, Trust.WASM, run=run, begins=switch)
        return Found(newest, Trust.WASM, run=run, switch=switch)

    def _after(
        self, query: Query, registers: Registers, last: dict[int, int], end: End, sp: int
    ) -> Found | Missed:
        """What comes after the activation's last frame: the entry trampoline, or native code."""
        state = None
        if query.thread not in self.met:
            self.met.add(query.thread)
            state = self.stored.find(query, self.bounds(query))
        why = self._objection(end, query, sp)
        if why is not None and not last and self._without_file(end):
            return Missed(f"Wasm frames: {why}")
        if why is not None:
            past = self._past_entry(query, state, sp, why)
            fault = end.reason == End.UNREADABLE
            return past or Missed(f"Wasm frames: {why}", fault=fault, final=True)
        arch = self.space.arch
        older = self.tables.restored(registers, last)
        older[arch.pc], older[arch.sp], older[arch.fp] = end.pc, sp, end.fp
        words = f"{_HOW}: Wasm → native"
        if self.function_at(end.pc - 1) is not None:
            words += f", frame at 0x{end.fp:x}"
        evidence = self._evidence(last)
        if state is not None and state.exit_fp in (*last.values(), end.fp):
            if _same_entry(state, end.fp, sp, self.traits):
                evidence += f", and the runtime's state at 0x{state.address:x}"
            else:
                entry = state.entry_fp or state.entry_sp or 0
                words += f"; the runtime has stored its entry as 0x{entry:x}"
        return Found(older, Trust.WASM, switch=Switch("unix", words, evidence))

    def _past_entry(self, query: Query, state: State | None, sp: int, why: str) -> Found | None:
        """To native code by what the runtime has stored of its entry, over frames that are lost."""
        registers = self.stored.past_entry(query, state) if state is not None else None
        if state is None or registers is None:
            return None
        pc, older = registers[self.space.arch.pc], registers[self.space.arch.sp]
        if pc is None or older is None or older <= sp or not self.space.is_code(pc - 1):
            return None
        if self.space.after_call(pc) is False:
            return None
        words = f"{_HOW}: Wasm → native, by what the runtime has stored at 0x{state.address:x}"
        return Found(registers, Trust.WASM, switch=Switch("unix", words), gap=f"Wasm frames: {why}")

    def _objection(self, end: End, query: Query, sp: int) -> str | None:
        """Why where the frames ended is no place where they do; None if it is one."""
        if end.reason != End.LEFT:
            return end.detail
        if not self.space.is_code(end.pc - 1):
            return f"the return address 0x{end.pc:x} is not in executable memory"
        is_called = self.space.after_call(end.pc)
        if is_called is False:
            return f"no call before 0x{end.pc:x}"
        found = self.function_at(end.pc - 1)
        if found is None:
            # Who calls Wasm code without a trampoline need not keep frame pointers. But the frame
            # that this began at may be a guess: then it may be any word of an older call.
            return None if is_called else f"0x{end.pc:x} is no trampoline, and its code not at hand"
        _, high = self.bounds(query)
        if found[0] not in (ENTRY, OTHER):
            return f"0x{end.pc:x} is in {found[1].symbol if found[1] else 'no function'}"
        if end.fp % self.traits.alignment or not sp <= end.fp < high:
            return f"the entry trampoline's frame 0x{end.fp:x} is not above in the stack"
        return None

    def _without_file(self, end: End) -> bool:
        """Whether frames end where code of a file is that is not at hand, see
        `generated.wasmtime.Lost`."""
        region = self.space.memory.region(end.pc - 1)
        if end.reason != End.LEFT or region is None or not region.executable:
            return False
        return self.space.module_at(end.pc - 1) is None and self.space.after_call(end.pc) is None

    def is_return(self, pc: int) -> bool:
        """Whether a pc is a return address in Wasm code."""
        known = self._returns.get(pc)
        if known is None:
            found = self.function_at(pc - 1)
            known = found is not None and found[0] == WASM
            # Dumps without code are believed: the symbols say that it is a function.
            known = known and self.space.after_call(pc) is not False
            self._returns[pc] = known
        return known

    def _words(self, exit_: Function | None, query: Query) -> str:
        fp = query.registers[self.space.arch.fp]
        if exit_ is None or exit_.kind != EXIT or fp is None:
            return f"{_HOW}: native → Wasm"
        return f"{_HOW}: native → Wasm, frame at 0x{fp:x}"

    def _evidence(self, last: dict[int, int]) -> str:
        agree = all(self.tables.agrees(pc) for pc in last)
        return "frame pointers and symbols" + (", unwind tables agree" if agree else "")


_HOW = "WebAssembly"


def _same_entry(state: State, fp: int, sp: int, traits: Traits) -> bool:
    """Whether the stored entry is the one with that frame.

    Up to version 8 it was native code right above the trampoline in the image that stored its
    stack pointer.
    """
    if state.entry_fp is not None:
        return state.entry_fp == fp
    return state.entry_sp is not None and sp <= state.entry_sp <= fp + traits.older_sp


def add_wasm(stepper: Stepper, code: GeneratedCode) -> None:
    """Registers the strategy if any of the code is WebAssembly of a CPU that is known."""
    traits = TRAITS.get(stepper.space.arch.name)
    if traits is not None and any(isinstance(each.runtime, WasmCode) for each in code.modules):
        wasm = Wasm(stepper, code, traits)
        stepper.early.insert(0, wasm)
        stepper.reviewers += [
            ExitReviewer(stepper.space, wasm.function_at, wasm.start_of),
            WasmReviewer(wasm.stored, wasm.bounds, wasm.met),
        ]
