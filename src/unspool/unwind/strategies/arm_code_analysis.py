"""Arm functions without unwind data, by what their first instructions did to the stack.

C code of devices has no unwind data unless somebody asked for it, and the exception index
leaves out what cannot throw. A prologue says where the return address is, and the call before
that address which function it called: where both fit, they prove each other.
"""

from __future__ import annotations

from struct import Struct

from unspool.arch import arm_stack
from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.arm_prologue import Prologue, called_function, read_prologue
from unspool.unwind.rows import Row
from unspool.unwind.step import DynamicStrategy, Found, Missed, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.space import AddressSpace
    from unspool.unwind.step import TableStrategy

_MAX_WORDS = 1024
# Functions are not larger; of a larger one just the start of another would be found.
_MAX_FUNCTION = 1 << 16
_PROLOGUE_BYTES = 160
# How far back a function's start is looked for, and how many are tried.
_REACH = 1 << 12
_MAX_STARTS = 4
# Searches in one target, at about a millisecond each at worst.
_MAX_SEARCHES = 20_000


class ArmCodeAnalysis(DynamicStrategy):
    """Finds the start of the function that a frame is in, and with its prologue the caller."""

    name = "arm_code_analysis"

    def __init__(self, space: AddressSpace, trampolines: TableStrategy) -> None:
        self.space = space
        self.trampolines = trampolines
        self.searches = 0
        # Where the function of a pc starts, of those that have been found.
        self._known: dict[int, int] = {}

    def answer(self, query: Query) -> Found | Missed:
        sp = query.registers[arm_stack.SP]
        if sp is None or sp % 4:
            return Missed("the stack pointer is not known")
        known = self._known.get(query.pc)
        if known is not None:
            found = self._caller(query, self._prologue(known, query.pc), known)
            if found is not None:
                return found
        self.searches += 1
        if self.searches > _MAX_SEARCHES:
            return Missed(f"more than {_MAX_SEARCHES} searches in one target")
        return (
            self._by_call(query, sp)
            or self._by_push(query)
            or Missed("no prologue leads to a return address")
        )

    def _by_call(self, query: Query, sp: int) -> Found | None:
        """The first word of the stack that is the return address of a call of this function."""
        data = self.space.memory.read_available(sp, 4 * _MAX_WORDS)
        for index, (word,) in enumerate(Struct("<I").iter_unpack(data[: len(data) & ~3])):
            if not self.space.is_code((word & ~1) - 1):
                continue
            start = called_function(self.space, word)
            if start is None or not 0 < query.pc - (start & ~1) < _MAX_FUNCTION:
                continue
            prologue = self._prologue(start, query.pc)
            found = self._caller(query, prologue, start)
            if found is not None and sp + 4 * index == self._link_at(query, prologue):
                self._known[query.pc] = start
                return found
        return None

    def _by_push(self, query: Query) -> Found | None:
        """By the nearest prologue before the pc: of functions that pointers led to."""
        for start in self._starts(query.pc):
            prologue = self._prologue(start, query.pc)
            found = self._caller(query, prologue, start)
            if found is not None:
                self._known[query.pc] = start
                return found
        return None

    def _prologue(self, start: int, pc: int) -> Prologue:
        at = start & ~1
        code = self.space.memory.read_available(at, min(pc - at, _PROLOGUE_BYTES))
        return read_prologue(code, is_thumb=bool(start & 1))

    def _caller(self, query: Query, prologue: Prologue, start: int) -> Found | None:
        """The caller, if the link register was saved and is a return address of a call of the
        function that starts there; or of a call through a pointer, which may be.
        """
        top = self._top(query, prologue)
        if top is None or arm_stack.LR not in prologue.saved:
            return None
        saved = {}
        try:
            for number, below in prologue.saved.items():
                saved[number] = self.space.memory.read_uint(top - below, 4)
        except Fault:
            return None
        link = saved[arm_stack.LR]
        address = link & self.space.arch.code_address_mask
        if not self._is_return_address(address, link):
            return None
        called = called_function(self.space, link)
        if called is not None and not 0 <= (start & ~1) - (called & ~1) < _PROLOGUE_BYTES:
            return None
        registers = list(query.registers)
        for number, value in saved.items():
            registers[number] = value
        registers[arm_stack.SP] = top
        registers[arm_stack.PC] = address
        return Found(registers, Trust.SCAN)

    def _is_return_address(self, address: int, link: int) -> bool:
        """Whether a call precedes an address, or the kernel left it for a signal handler."""
        if self.space.is_code(address - 1) and self.space.after_call(address, link):
            return True
        if not self.space.is_code(address):
            return False
        return isinstance(self.trampolines.row(address, address), Row)

    def _link_at(self, query: Query, prologue: Prologue) -> int | None:
        top = self._top(query, prologue)
        return None if top is None else top - prologue.saved[arm_stack.LR]

    def _top(self, query: Query, prologue: Prologue) -> int | None:
        """The caller's stack pointer."""
        if prologue.frame is not None:
            # The stack pointer may have moved since, for arrays whose size was not known.
            register, below = prologue.frame
            value = query.registers[register]
            return None if value is None else value + below
        sp = query.registers[arm_stack.SP]
        return None if sp is None else sp + prologue.size

    def _starts(self, pc: int) -> Iterator[int]:
        """Instructions before the pc that save the link register, the nearest first.

        What comes before in the same prologue (arguments that are pushed) is included. Bit 0
        is set for T32 code.
        """
        window = self.space.memory.window(pc)
        if window is None:
            return
        low = max(window.low, pc - _REACH)
        code = bytes(window.buffer[low - window.base : pc - window.base])
        around = self.space.memory.read_available(pc & ~31, 64)
        is_thumb = bool(pc & 2) or arm_stack.looks_like_thumb(around)
        step = 2 if is_thumb else 4
        found = 0
        for at in range(len(code) - step, -1, -step):
            if not _may_push_link(code, at, is_thumb=is_thumb):
                continue
            effect = arm_stack.effect(code, at, is_thumb=is_thumb)
            if effect is None or effect.kind != arm_stack.PUSH or not effect.mask >> 14 & 1:
                continue
            yield low + _with_arguments(code, at, is_thumb=is_thumb) | is_thumb
            found += 1
            if found >= _MAX_STARTS:
                return


def _may_push_link(code: bytes, at: int, *, is_thumb: bool) -> bool:
    """A quick look at an instruction's highest byte."""
    if is_thumb:
        return code[at + 1] in (0xB5, 0xE9, 0xF8)
    return code[at + 3] == 0xE9 or code[at + 3] == 0xE5


def _with_arguments(code: bytes, at: int, *, is_thumb: bool) -> int:
    """Where the prologue begins whose instruction at `at` saves the link register."""
    for length in (2, 4) if is_thumb else (4,):
        if at < length:
            break
        effect = arm_stack.effect(code, at - length, is_thumb=is_thumb)
        if effect is None or effect.length != length:
            continue
        pushes = effect.kind == arm_stack.PUSH and not effect.mask & ~0xF
        if pushes or (effect.kind == arm_stack.MOVE and effect.size < 0):
            return at - length
    return at
