"""Code without unwind data: by what it does from where it was stopped until it returns.

A minidump has little more of a program than the code around the crash, and often the function's
end is there. Of the calls on the way it is believed that they come back, hence a guess.

Measured with 128 bytes of code on either side of 9,000 places in libc, libstdc++ and gdb, on
x86-64: from 2,848 a return was in reach, and it was the right one from each. On aarch64, of 28,000
places in libc, libstdc++ and Python: 16,600 and, with 2,048 bytes, 21,900; all right.
"""

from __future__ import annotations

from unspool.model import Trust
from unspool.unwind.step import DynamicStrategy, Found, Missed, Query
from unspool.unwind.strategies.frame_pointer import is_generated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.space import AddressSpace

    Registers = list[int | None]

# Code on both sides of the pc that ways may lead through.
_AROUND = 2048
_MOST_LOOKS = 1000
# The few instructions that end a function take 20 µs.
_MOST_ENDINGS = 100_000

# DWARF numbers by encoding, and the encodings of registers that a callee restores: by the
# System V ABI, and with rsi and rdi by Microsoft's.
_DWARF_64 = (0, 2, 1, 3, 7, 6, 4, 5, *range(8, 16))
_DWARF_32 = tuple(range(8))
_KEPT_64, _KEPT_32 = (3, 5, 12, 13, 14, 15), (3, 5, 6, 7)
_KEPT_ARM64 = tuple(range(19, 30))  # AAPCS64, 6.1.1


class Back:
    """A return that code leads to: the registers there, by DWARF numbers, and where it goes.

    The stack pointer was `above` right before, and is the caller's `sp` then, if that is known.
    """

    __slots__ = ("above", "address", "calls", "registers", "sp")

    def __init__(
        self, address: int | None, sp: int | None, above: int, registers: Registers, calls: int
    ) -> None:
        self.address = address
        self.sp = sp
        self.above = above
        self.registers = registers
        self.calls = calls


class _Code:
    """Code of one CPU."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.size = space.arch.pointer_size

    def word(self, address: int) -> int | None:
        return self.space.memory.maybe_uint(address, self.size)


class X86Code(_Code):
    """Ways through x86 and x86-64 code."""

    def __init__(self, space: AddressSpace) -> None:
        super().__init__(space)
        self.dwarf = _DWARF_64 if self.size == 8 else _DWARF_32
        self._kept = tuple(self.dwarf[each] for each in (_KEPT_64 if self.size == 8 else _KEPT_32))

    def kept(self, query: Query) -> tuple[int, ...]:
        """The registers that a callee gives back."""
        module = self.space.module_at(query.pc)
        is_windows = module is not None and module.kind == "pe"
        return (*self._kept, self.dwarf[6], self.dwarf[7]) if is_windows else self._kept

    def ways(
        self, code: bytes, low: int, query: Query, *, tails: bool, at_once: bool
    ) -> Iterator[Back]:
        """The returns that code at `low` leads to from the query's pc, the likeliest first."""
        from unspool.arch.x86_ahead import SP, CodeAhead

        registers = [query.registers[number] for number in self.dwarf]
        ahead = CodeAhead(code, low, self.size, self.word, tails=tails)
        if at_once:
            ending = ahead.ending(query.pc, registers)
            found = iter([ending] if ending is not None else [])
        else:
            found = ahead.returns(query.pc, registers)
        for each in found:
            sp = each.registers[SP]
            if sp is None:
                continue
            values: Registers = [None] * len(query.registers)
            for number, value in zip(self.dwarf, each.registers, strict=False):
                values[number] = value
            yield Back(self.word(sp), sp + self.size, sp, values, each.calls)

    def is_record(self, query: Query, registers: Registers) -> bool:
        """Whether the frame record says the same of the caller."""
        fp = query.registers[self.space.arch.fp]
        return fp is not None and registers[self.space.arch.sp] == fp + 2 * self.size


class Arm64Code(_Code):
    """Ways through A64 code, where return addresses are in the link register at last."""

    def kept(self, query: Query) -> tuple[int, ...]:
        return _KEPT_ARM64

    def ways(
        self, code: bytes, low: int, query: Query, *, tails: bool, at_once: bool
    ) -> Iterator[Back]:
        from unspool.arch.aarch64_ahead import SP, CodeAhead

        registers = query.registers[: SP + 1]
        ahead = CodeAhead(code, low, self.word, tails=tails)
        if at_once:
            ending = ahead.ending(query.pc, registers)
            found = iter([ending] if ending is not None else [])
        else:
            found = ahead.returns(query.pc, registers)
        mask = self.space.arch.code_address_mask
        for each in found:
            sp, address = each.registers[SP], each.address & mask
            # A jump says less than a return: after a call the link register is this function's.
            near = each.tail and not each.restored and low <= address <= low + len(code)
            if each.above is not None and not near:
                yield Back(address, sp, each.above, each.registers, each.calls)

    def is_record(self, query: Query, registers: Registers) -> bool:
        arch = self.space.arch
        fp = query.registers[arch.fp]
        link, address = (self.word(fp), self.word(fp + 8)) if fp is not None else (None, None)
        if link is None or address is None:
            return False
        return (link, address & arch.code_address_mask) == (registers[arch.fp], registers[arch.pc])


class Ahead(DynamicStrategy):
    """Carries a function's rest out, and believes what it leads to if nothing speaks against it.

    For code that was executing: see `order`, which loads this for the first such frame.
    """

    name = "code_ahead"
    tails = False

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.looks = 0
        self.code = Arm64Code(space) if space.arch.name == "aarch64" else X86Code(space)

    def answer(self, query: Query) -> Found | Missed:
        window = self.space.memory.window(query.pc)
        self.looks += 1
        most = _MOST_LOOKS if query.exact else _MOST_ENDINGS
        if window is None or not self.space.is_code(query.pc) or self.looks > most:
            return Missed("the code is not at hand")
        low, high = max(window.low, query.pc - _AROUND), min(window.high, query.pc + _AROUND)
        code = bytes(window.buffer[low - window.base : high - window.base])
        for back in self.code.ways(code, low, query, tails=self.tails, at_once=not query.exact):
            found = self._caller(query, back)
            if found is not None:
                if self._agrees(query, found.registers):
                    found.trust = Trust.FRAME_POINTER  # both say so
                return found
        return Missed("no way through the code ahead leads to a return")

    def _agrees(self, query: Query, registers: Registers) -> bool:
        """Whether the frame pointer, which was not asked yet, says the same."""
        return self.space.arch.link is not None and self.code.is_record(query, registers)

    def _caller(self, query: Query, back: Back) -> Found | None:
        arch = self.space.arch
        address, old = back.address, query.registers[arch.sp]
        if old is None or address is None or back.above < old:
            return None
        if not self.space.is_code(address - 1) or self.space.after_call(address) is False:
            return None
        registers: Registers = [None] * len(query.registers)
        for number in self.code.kept(query):
            registers[number] = back.registers[number]
        registers[arch.pc], registers[arch.sp] = address, back.sp
        trust = Trust.SCAN if back.calls else Trust.LEAF
        return Found(registers, trust, above=back.above if back.sp is None else None)


class AheadInMadeCode(Ahead):
    """Code that has no unwind data because no compiler of files made it: asked before the frame
    pointer, which is a caller's while a function has not pushed it yet, or never does. `order`
    knows which code that is, and loads this for the first such frame.

    Situations: Node.js was stopped in a builtin without a frame, which sparkplug code had called.
    By its frame pointer that code's frame is missing, in 42 of 60 stacks of a busy program.
    CPython's perf trampolines keep no frame pointer, and return right after their one call.
    """

    name = "made_code"
    tails = True

    def answer(self, query: Query) -> Found | Missed:
        found = super().answer(query)
        if isinstance(found, Missed) and not query.exact:
            generated = is_generated(self.space, query)
            without = self._without_frame(query) if generated else None
            return without or Missed("the code goes on after its call")
        return found

    def _agrees(self, query: Query, registers: Registers) -> bool:
        return self.code.is_record(query, registers)

    def _caller(self, query: Query, back: Back) -> Found | None:
        found = super()._caller(query, back)
        if found is None:
            return None
        pc = found.registers[self.space.arch.pc]
        assert pc is not None
        return found if self.space.after_call(pc) else None

    def _without_frame(self, query: Query) -> Found | None:
        """The caller of a function that has called another one before it made its frame.

        Sparkplug code calls a builtin to make its frame (V8's BaselineOutOfLinePrologue). Its
        return address is then the stack's next word. Elsewhere the stack is aligned to 16 bytes
        for a call, so that this word is something else, unless the alignment is none. With a link
        register the frame has to be there before.
        """
        sp, fp = query.registers[self.space.arch.sp], query.registers[self.space.arch.fp]
        if self.space.arch.link is not None or sp is None or sp % 16 == 0:
            return None
        address = self.code.word(sp)
        if fp is None or fp <= sp or address is None:
            return None
        if not self.space.is_code(address - 1) or not self.space.after_call(address):
            return None
        registers = list(query.registers)
        registers[self.space.arch.pc] = address
        registers[self.space.arch.sp] = sp + self.space.arch.pointer_size
        return Found(registers, Trust.LEAF)
