"""x86-64 code of HotSpot that was stopped where its frame is not whole: at its start or its end.

Nothing says of an instruction there where the return address is, but the code does: what came
before it has moved the stack pointer, and what follows takes the frame down and returns. The forms
are those of OpenJDK's assembler, from JDK 11 to 25: `generate_fixed_frame` and `remove_activation`
of the interpreter, `verified_entry` and `build_frame` of the compilers.
"""

from __future__ import annotations

from unspool.arch.calls import LOOK_BEHIND, x86_call_target
from unspool.arch.x86_ahead import FP, SP, CodeAhead
from unspool.arch.x86_length import instruction_length_64
from unspool.memory import Fault
from unspool.unwind.strategies.hotspot_slots import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.generated.hotspot.blobs import Blob
    from unspool.generated.hotspot.jvm import Jvm
    from unspool.space import AddressSpace

    Registers = list[int | None]

# DWARF numbers of registers by their encoding.
_DWARF = (0, 2, 1, 3, 7, 6, 4, 5, *range(8, 16))
_RAX, _RBX, _R13 = 0, 3, 13
_WORD = 8

# push rax, push rbp, mov rbp rsp, push r13: return address, frame record, the sender's sp.
_FIXED_FRAME = b"\x50\x55\x48\x8b\xec\x41\x55"
_FRAMED = 5  # from there on rbp is the frame's
_POP_RAX = 0x58
_LEAVE = 0xC9
_MOST_ENTRY = 2048
# From the `leave` of a return to its jump, and where it may lie from the pc.
_MOST_RETURN = 48
_MOST_PROLOGUE = 512
_MOST_STUB = 32
# pop rax; mov r13, rsp in an adapter; and how it ends: jmp rcx, jmp [rbx + N].
_NOTE_SENDER, _JUMPS = (b"\x58\x4c\x8b\xec", b"\x58\x49\x89\xe5"), (b"\xff\xe1", b"\xff\x63")
_MOST_ADAPTER = 160
# push rbx, push rbp, mov rbp rsp; mov rbx, [r15 + N], mov [rbp + 8], rbx.
_MAKE_ROOM, _LOAD, _STORE = b"\x53\x55\x48\x8b\xec", b"\x49\x8b\x9f", b"\x48\x89\x5d\x08"
_MOST_SAVING = 4096
_AHEAD = 160


class Stopped:
    """Finds callers of stopped code. All methods raise `Fault` for a stack that is not there."""

    def __init__(self, jvm: Jvm, space: AddressSpace) -> None:
        self.jvm = jvm
        self.space = space

    def word(self, address: int) -> int:
        return self.space.memory.read_uint(address, _WORD)

    # --- the interpreter ----------------------------------------------------------------------

    def entering(self, pc: int, registers: Registers) -> Place | None:
        """The caller, if a method's entry was stopped before its frame could be relied upon.

        Up to the pushes that make the frame: rbx is the method, r13 the caller's stack pointer.
        """
        start, end = self.jvm.codelet(pc)
        code = self._code(start, min(end, start + _MOST_ENTRY))
        made = code.find(_FIXED_FRAME)
        at = pc - start
        sp, method, sender = registers[7], registers[_RBX], registers[_R13]
        if made < 0 or sp is None or method is None or not 0 <= at < made + _FRAMED:
            return None
        popped = code.rfind(_POP_RAX, 0, made)
        link = registers[6]
        if at <= popped or popped < 0:
            return Place(self.word(sp), sp + _WORD, link, method)
        if sender is None or sender < sp:
            return None
        if at <= made:
            address = registers[_RAX]
            return None if address is None else Place(address, sender, link, method, leaf=True)
        if at == made + 1:
            return Place(self.word(sp), sender, link, method)
        return Place(self.word(sp + _WORD), sender, self.word(sp), method)

    def returning(self, pc: int, registers: Registers) -> Place | None:
        """The caller, if the interpreter has taken a frame down and not returned yet.

        leave; pop REGISTER; mov rsp SENDER; jmp REGISTER, since JDK 24 with stores and a poll
        between them.
        """
        start = pc - _MOST_RETURN
        code = self._code(start, pc + _MOST_RETURN)
        leave = code.rfind(_LEAVE, 0, _MOST_RETURN)
        sp = registers[7]
        if leave < 0 or sp is None:
            return None
        at = leave + 1
        returned: int | None = None
        sender: int | None = None
        restored = False
        while at < len(code):
            length = instruction_length_64(code, at)
            if not length:
                return None
            each = code[at : at + length]
            passed = at < _MOST_RETURN
            popped, moved = _popped(each), _moved_to_sp(each)
            if popped is not None and returned is None:
                returned, got = popped, passed
            elif moved is not None and returned is not None:
                sender, restored = moved, passed
            elif each[-2:] == bytes((0xFF, 0xE0 | (returned or 0) & 7)) and sender is not None:
                if passed or returned is None:
                    return None
                address = registers[_DWARF[returned]] if got else self.word(sp)
                above = sp if restored else registers[_DWARF[sender]]
                if address is None or above is None:
                    return None
                return Place(address, above, registers[6], leaf=True)
            elif each[0] in (0xC3, 0xE8, 0xE9, 0xEB, 0xC9):
                return None
            at += length
        return None

    # --- compiled code and stubs --------------------------------------------------------------

    def compiled(self, blob: Blob, pc: int, registers: Registers) -> Iterator[Place]:
        """Callers of code with a frame of a fixed size, the likeliest first."""
        sp, fp = registers[7], registers[6]
        if sp is None:
            return
        polled = self._polled(blob, pc, registers)
        if polled is not None:
            yield polled
            return
        if self._in_call_stub(blob, pc, self.word(sp)):
            yield Place(self.word(sp), sp + _WORD, fp)
        depth = self._depth(blob, pc)
        if depth is not None and depth < blob.frame - _WORD:
            yield Place(self.word(sp + depth), sp + depth + _WORD, fp)
        back = self._ahead(blob, pc, registers)
        if back is not None:
            yield back
        cfa = sp + blob.frame
        yield Place(self.word(cfa - _WORD), cfa, self.word(cfa - 2 * _WORD))

    def other(self, blob: Blob, pc: int, registers: Registers) -> Iterator[Place]:
        """Callers of code without a frame of a known size: stubs, adapters, tables of calls."""
        sp, fp = registers[7], registers[6]
        if sp is None:
            return
        address, sender = registers[_RAX], registers[_R13]
        if self._has_noted_sender(blob, pc) and sender is not None and sender >= sp:
            # It takes the return address off, makes room for arguments, and puts it back.
            yield from (
                Place(each, sender, fp, leaf=True)
                for each in (address, self.word(sp)) if each is not None
            )  # fmt: skip
        back = self._ahead(blob, pc, registers)
        if back is not None:
            yield back
        yield Place(self.word(sp), sp + _WORD, fp, leaf=True)
        if address is not None:
            # Adapters between the calling conventions hold it there while they move arguments.
            yield Place(address, sp, fp, leaf=True)

    def _has_noted_sender(self, blob: Blob, pc: int) -> bool:
        """Whether an adapter to the interpreter has put its caller's stack pointer into r13."""
        if not blob.name.startswith("I2C/C2I"):
            return False
        before = self._code(max(blob.begin, pc - _MOST_ADAPTER), pc)
        at = max(map(before.rfind, _NOTE_SENDER))
        return at >= 0 and not any(jump in before[at:] for jump in _JUMPS)

    def _polled(self, blob: Blob, pc: int, registers: Registers) -> Place | None:
        """Where code was stopped for a safepoint, if that is not on the stack yet.

        The code reads a page that must not be read, and the handler of the fault goes on with a
        stub. This makes room for a return address, saves all registers, and takes the address from
        where the handler has put it: `JavaThread::_saved_exception_pc` (generate_handler_blob).
        """
        if blob.compiled is not None:
            return None  # a stub is none of a method's
        sp, fp, thread = registers[7], registers[6], registers[15]
        code = self._code(blob.begin, min(blob.end, blob.begin + _MOST_SAVING))
        stored, at = code.find(_STORE), pc - blob.begin
        load = code[stored - 7 : stored] if stored >= 7 else b""
        if not code.startswith(_MAKE_ROOM) or load[:3] != _LOAD or at > stored or thread is None:
            return None
        address = self.word(thread + int.from_bytes(load[3:], "little"))
        if at < 2:
            return None if sp is None else Place(address, sp + at * _WORD, fp, leaf=True)
        record = sp if at < len(_MAKE_ROOM) else fp
        return None if record is None else Place(address, record + 2 * _WORD, self.word(record))

    def _in_call_stub(self, blob: Blob, pc: int, address: int) -> bool:
        """Whether code has called the part of its own that leads on to the interpreter.

        That has no frame: it puts the method into a register, and jumps (CompiledStaticCall).
        """
        if not blob.begin < address <= blob.end:
            return False
        code = self._code(address - LOOK_BEHIND, address)
        target = x86_call_target(code, len(code), address)
        return target is not None and blob.complete <= target <= pc < target + _MOST_STUB

    def _depth(self, blob: Blob, pc: int) -> int | None:
        """How far the code from its start to a pc has moved the stack pointer down.

        None if the pc is behind what makes the frame, or if that is not known.
        """
        code = self._code(blob.begin, min(pc, blob.begin + _MOST_PROLOGUE))
        at = depth = 0
        while at < pc - blob.begin:
            length = instruction_length_64(code, at) if at < len(code) else 0
            if not length:
                return None
            depth += _moved(code[at : at + length])
            if depth >= blob.frame - _WORD:
                return None
            if code[at] in (0xE9, 0xEB, 0xC3):
                depth = 0  # another entry follows: one that checks the class goes before
            at += length
        return depth if at == pc - blob.begin else None

    def _ahead(self, blob: Blob, pc: int, registers: Registers) -> Place | None:
        """The caller by what follows, if the straight way leads to a return and calls nothing."""
        code = self._code(pc, min(blob.end, pc + _AHEAD))
        ahead = CodeAhead(code, pc, _WORD, self._maybe_word)
        back = next(ahead.returns(pc, [registers[number] for number in _DWARF]), None)
        sp = back.registers[SP] if back is not None else None
        if back is None or back.calls or sp is None or sp < (registers[7] or 0):
            return None
        return Place(self.word(sp), sp + _WORD, back.registers[FP])

    def _maybe_word(self, address: int) -> int | None:
        return self.space.memory.maybe_uint(address, _WORD)

    def _code(self, low: int, high: int) -> bytes:
        try:
            return self.jvm.reader.read(low, max(high - low, 0))
        except Fault:
            return b""


def _moved(each: bytes) -> int:
    """By how many bytes an instruction of a prologue moves the stack pointer down."""
    if each[0] in (0x48, 0x41) and len(each) > 1:
        if each[:3] == b"\x48\x83\xec":
            return each[3]
        if each[:3] == b"\x48\x81\xec":
            return int.from_bytes(each[3:7], "little")
        if each[:3] == b"\x48\x83\xc4":
            return -each[3]
        each = each[1:]
    if len(each) == 1 and 0x50 <= each[0] < 0x58:
        return _WORD
    if each == b"\x9c":
        return _WORD  # pushf
    if len(each) == 1 and 0x58 <= each[0] < 0x60:
        return -_WORD
    return 0


def _popped(each: bytes) -> int | None:
    """The register of a `pop`, by its encoding."""
    if len(each) == 1 and 0x58 <= each[0] < 0x60:
        return each[0] & 7
    if len(each) == 2 and each[0] == 0x41 and 0x58 <= each[1] < 0x60:
        return each[1] & 7 | 8
    return None


def _moved_to_sp(each: bytes) -> int | None:
    """The register of `mov rsp, REGISTER`, by its encoding."""
    if len(each) == 3 and each[0] in (0x48, 0x49) and each[1] == 0x8B and each[2] & 0xF8 == 0xE0:
        return each[2] & 7 | (each[0] & 1) << 3
    return None
