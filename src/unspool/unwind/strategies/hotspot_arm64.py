"""aarch64 code of HotSpot that was stopped where its frame is not whole: at its start or its end.

The counterpart of `hotspot_x86`. The return address is in the link register there, and the code
says for how long. The forms are those of OpenJDK's assembler (`generate_fixed_frame` and
`remove_activation` of the interpreter, `build_frame` and `remove_frame` of the compilers).
"""

from __future__ import annotations

from unspool.arch.aarch64_ahead import SP, CodeAhead
from unspool.arch.calls import aarch64_call_target
from unspool.memory import Fault
from unspool.unwind.strategies.hotspot_slots import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.generated.hotspot.blobs import Blob
    from unspool.generated.hotspot.jvm import Jvm
    from unspool.space import AddressSpace

    Registers = list[int | None]

_METHOD, _SENDER, _FP, _LINK = 12, 13, 29, 30
_WORD = 8

# stp x29, x30, [sp, #80]; add x29, sp, #80; stp xzr, SENDER, [sp, #64]. The sender's stack pointer
# is in x13, from JDK 20 on in x19.
_SAVE_RECORD, _MAKE_RECORD = 0xA9057BFD, 0x910143FD
_SAVE_SENDER, _SAVE_SENDER_BITS = 0xA90403FF, 0xFFFF83FF
_MOST_ENTRY = 2048
# mov sp, x29; ldp x29, x30, [sp], #16; and sp, x20, #-16; ret.
_LEAVE = 0xA8C17BFD
_MOST_RETURN = 48
# Of compilers: sub sp, sp, #N; sub sp, sp, REGISTER; stp x29, x30, [sp, #N] or [sp, #-16]!.
_SUB, _SUB_BITS = 0xD10003FF, 0xFF8003FF
_SUB_REGISTER, _SUB_REGISTER_BITS = 0xCB2063FF, 0xFFE0FFFF
_SAVE, _SAVE_BITS = 0xA9007BFD, 0xFFC07FFF
_PUSH, _MOVE = 0xA9BF7BFD, 0x910003FD  # and mov x29, sp
_MOST_PROLOGUE = 512
# mov x13, sp: an adapter to the interpreter has noted its caller's stack pointer; to x19 likewise.
_NOTE_SENDER = {0x910003ED: 13, 0x910003F3: 19}
# Code that jumps to what it was called for.
_FRAMELESS = ("I2C/C2I adapters", "vtable chunks")
_MOST_ADAPTER = 128
_MOST_STUB = 64
_AROUND = 2048


class Stopped:
    """Finds callers of stopped code. All methods raise `Fault` for a stack that is not there."""

    def __init__(self, jvm: Jvm, space: AddressSpace) -> None:
        self.jvm = jvm
        self.space = space
        self.mask = space.arch.code_address_mask

    def word(self, address: int) -> int:
        return self.space.memory.read_uint(address, _WORD)

    # --- the interpreter ----------------------------------------------------------------------

    def entering(self, pc: int, registers: Registers) -> Place | None:
        """The caller, if a method's entry was stopped before its frame could be relied upon."""
        start, end = self.jvm.codelet(pc)
        words = self._words(start, min(end, start + _MOST_ENTRY))
        if _SAVE_RECORD not in words:
            return None
        saved = words.index(_SAVE_RECORD)
        done = (pc - start) // 4
        sender = [word & _SAVE_SENDER_BITS == _SAVE_SENDER for word in words[saved:]]
        if True not in sender or done > saved + sender.index(True):
            return None
        number = words[saved + sender.index(True)] >> 10 & 31
        link, above, fp, sp = (registers[each] for each in (_LINK, number, _FP, SP))
        if link is None or above is None or fp is None or sp is None:
            return None
        if _MAKE_RECORD in words[saved:done]:
            fp = self.word(fp)
        # An interpreted caller has room for its whole expression stack, below what it uses of it.
        return Place(link & self.mask, max(above, sp), fp, registers[_METHOD])

    def returning(self, pc: int, registers: Registers) -> Place | None:
        """The caller, if the interpreter takes a frame down, or has and has not returned yet."""
        words = self._words(pc - _MOST_RETURN, pc + 4)
        # With the stack pointer at its record a frame has nothing left in it.
        is_leaving = words[-1:] == [_LEAVE] and registers[SP] == registers[_FP]
        if not is_leaving and _LEAVE not in words[:-1]:
            return None
        ahead = CodeAhead(self._code(pc, pc + _MOST_RETURN), pc, self._maybe_word)
        back = ahead.ending(pc, registers[: SP + 1])
        sp, now = back.registers[SP] if back is not None else None, registers[SP]
        if back is None or sp is None or now is None or back.restored != is_leaving:
            return None
        return Place(back.address & self.mask, max(sp, now), back.registers[_FP], leaf=True)

    # --- compiled code and stubs --------------------------------------------------------------

    def compiled(self, blob: Blob, pc: int, registers: Registers) -> Iterator[Place]:
        """Callers of code with a frame of a fixed size, the likeliest first."""
        sp, fp, link = registers[SP], registers[_FP], registers[_LINK]
        if sp is None:
            return
        if blob.compiled is None and fp is not None:
            # Stubs that save all registers have their frame record at the frame pointer meanwhile.
            yield from self._ahead(blob, pc, registers)
            if fp >= sp and _MOVE in self._words(blob.begin, min(pc, blob.begin + _MOST_PROLOGUE)):
                yield self._framed(fp + 2 * _WORD)
        depth, saved = self._made(blob, pc)
        stub = link is not None and self._in_call_stub(blob, pc, link & self.mask)
        if link is not None and (stub or self._polls_to_return(pc)):
            yield Place(link & self.mask, sp, fp, leaf=True)
        elif not saved and link is not None:
            yield Place(link & self.mask, sp + depth, fp, leaf=True)
        elif depth < blob.frame:
            yield self._framed(sp + depth)
        yield from self._ahead(blob, pc, registers)
        yield self._framed(sp + blob.frame)

    def other(self, blob: Blob, pc: int, registers: Registers) -> Iterator[Place]:
        """Callers of code without a frame of a known size: stubs, adapters, tables of calls."""
        sp, fp, link = registers[SP], registers[_FP], registers[_LINK]
        if sp is None:
            return
        if blob.name.startswith(_FRAMELESS) and link is not None:
            yield Place(link & self.mask, self._sender(pc, registers) or sp, fp, leaf=True)
        yield from self._ahead(blob, pc, registers)
        # Stubs that call make a frame record; until then the link register counts. It stays that
        # of a call that came back: then the record lies at the frame pointer.
        if fp is not None and self._maybe_word(fp + _WORD) == link:
            yield self._framed(fp + 2 * _WORD)
        else:
            pushed = (self._maybe_word(sp), self._maybe_word(sp + _WORD)) == (fp, link)
            is_own = link is not None and blob.begin < link & self.mask <= blob.end
            if pushed or (fp == sp and is_own):
                yield self._framed(sp + 2 * _WORD)
        if link is not None:
            yield Place(link & self.mask, sp, fp, leaf=True)

    def _framed(self, above: int) -> Place:
        """The caller of a frame that ends with its record."""
        address = self.word(above - _WORD) & self.mask
        return Place(address, above, self.word(above - 2 * _WORD))

    def _sender(self, pc: int, registers: Registers) -> int | None:
        """The stack pointer of an adapter's caller, if that has been noted."""
        for word in reversed(self._words(pc - _MOST_ADAPTER, pc)):
            if word in _NOTE_SENDER:
                return registers[_NOTE_SENDER[word]]
            if word >> 26 == 0b000101 or word & 0xFFFFFC1F == 0xD61F0000:
                return None  # B, BR: what is before belongs to another entry
        return None

    def _in_call_stub(self, blob: Blob, pc: int, link: int) -> bool:
        """Whether code has called the part of its own that leads on to the interpreter.

        That has no frame: it puts the method into a register, and jumps (CompiledStaticCall).
        """
        code = self._code(link - 4, link)
        target = (
            aarch64_call_target(code, len(code), link) if blob.begin < link <= blob.end else None
        )
        return target is not None and blob.complete <= target <= pc < target + _MOST_STUB

    def _polls_to_return(self, pc: int) -> bool:
        """Whether code has taken its frame down, and was asked to wait before it returns.

        It notes where it was asked, and jumps: adr x8, POLL; str x8, [x28, #N]; b HANDLER.
        """
        words = self._words(pc - 8, pc + 12)
        return any(
            adr & 0x9F00001F == 0x10000008 and store & 0xFFC003FF == 0xF9000388 and b >> 26 == 5
            for adr, store, b in zip(words, words[1:], words[2:], strict=False)
        )

    def _made(self, blob: Blob, pc: int) -> tuple[int, bool]:
        """How far code has moved the stack pointer from its start to a pc, and whether it has
        saved the frame record; a whole frame if the pc is behind all that."""
        if blob.compiled is not None and pc >= blob.complete:
            return blob.frame, True
        depth, saved = 0, False
        for word in self._words(blob.begin, min(pc, blob.begin + _MOST_PROLOGUE)):
            if word & _SUB_BITS == _SUB:
                depth += (word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0)
            elif word & _SUB_REGISTER_BITS == _SUB_REGISTER:
                depth = blob.frame
            elif word == _PUSH:
                depth, saved = depth + 2 * _WORD, True
            elif word & _SAVE_BITS == _SAVE:
                saved = True
            elif word >> 26 == 0b000101 or word & 0xFFFFFC1F in (0xD61F0000, 0xD65F0000):
                depth, saved = 0, False  # another entry follows
        return min(depth, blob.frame), saved

    def _ahead(self, blob: Blob, pc: int, registers: Registers) -> Iterator[Place]:
        """Callers by what follows, where it leads to a return and calls nothing."""
        low, high = max(blob.begin, pc - _AROUND), min(blob.end, pc + _AROUND)
        ahead = CodeAhead(self._code(low, high), low, self._maybe_word)
        for back in ahead.returns(pc, registers[: SP + 1]):
            sp = back.registers[SP]
            if not back.calls and sp is not None and sp >= (registers[SP] or 0):
                yield Place(
                    back.address & self.mask, sp, back.registers[_FP], leaf=not back.restored
                )

    def _maybe_word(self, address: int) -> int | None:
        return self.space.memory.maybe_uint(address, _WORD)

    def _words(self, low: int, high: int) -> list[int]:
        code = self._code(low, high)
        return memoryview(code[: len(code) // 4 * 4]).cast("I").tolist()

    def _code(self, low: int, high: int) -> bytes:
        try:
            return self.jvm.reader.read(low, max(high - low, 0))
        except Fault:
            return b""
