"""Java frames of HotSpot: compiled code, stubs, the interpreter, and calls of Java from C++.

Compiled code and stubs have frames of a fixed size, which the header of each piece of code says:
its rows depend on the pc alone. The frame pointer is no guide there, it is a register like any
other. The interpreter's frames are of no fixed size, and are chained by frame pointers; they are
believed if they hold a method and a place in its bytecodes. What `frame_x86.hpp` and
`frame_aarch64.hpp` of OpenJDK say of frames has been the same since JDK 9.
"""

from __future__ import annotations

from unspool.arch.calls import LOOK_BEHIND
from unspool.generated.hotspot.jvm import Jvm, subject
from unspool.memory import Fault
from unspool.model import Trust
from unspool.unwind.rows import Row
from unspool.unwind.step import (
    EarlyStrategy,
    Ended,
    Found,
    Missed,
    Query,
    Reviewer,
    TableStrategy,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.code import GeneratedCode
    from unspool.generated.hotspot.blobs import Blob
    from unspool.space import AddressSpace
    from unspool.unwind.step import Stepper

_WORD = 8
_NO_FRAME = "no frame of a fixed size"


class Slots:
    """What a frame holds, in words from its frame pointer.

    `bytecodes` are places for the pointer into the bytecodes: up to JDK 8, the second. `wrapper`
    is that of the call's JavaCallWrapper in a call from C++, `thread` that of the thread, and
    `kept` are the registers that such a frame saved, as (DWARF number, words).
    """

    def __init__(
        self,
        *,
        bytecodes: tuple[int, int],
        pointer: int,
        wrapper: int,
        thread: int | None,
        kept: tuple[tuple[int, int], ...],
    ) -> None:
        self.bytecodes = bytecodes
        self.pointer = pointer
        self.wrapper = wrapper
        self.thread = thread
        self.kept = kept


_LINK, _RETURN, _SENDER = 0, 1, -1
_METHOD = -3

_SLOTS = {
    # rbcp is r13; the call stub saves rbx and r12 to r15.
    "x86-64": Slots(
        bytecodes=(-8, -7), pointer=13, wrapper=-6, thread=3,
        kept=((3, -7), (12, -8), (13, -9), (14, -10), (15, -11)),
    ),
    # rbcp is x22.
    "aarch64": Slots(bytecodes=(-9, -7), pointer=22, wrapper=-8, thread=None, kept=()),
}  # fmt: skip


def add_hotspot(stepper: Stepper, code: GeneratedCode) -> None:
    """Registers the strategies for each JVM among the finders' runtimes."""
    seen: list[Jvm] = []
    for each in code.modules:
        if isinstance(each.runtime, Jvm) and each.runtime not in seen:
            seen.append(each.runtime)
            frames = JavaFrames(stepper.space, each.runtime)
            stepper.early.append(frames)
            assert isinstance(stepper.tables, list)
            stepper.tables.append(CompiledCode(frames))
            if stepper.reviewer is None:
                stepper.reviewer = JavaCallers(frames)


class CompiledCode(TableStrategy):
    """Rows of return addresses in code whose frames have a fixed size."""

    name = "hotspot"

    def __init__(self, frames: JavaFrames) -> None:
        self.frames = frames

    def row(self, pc: int, lookup_pc: int) -> Row | Missed:
        frames = self.frames
        blob = frames.jvm.blob(lookup_pc)
        if blob is None:
            return Missed("no code of the JVM")
        if pc == lookup_pc or not frames.is_fixed(blob, pc):
            return Missed(f"{blob.name}: {_NO_FRAME}")
        arch = frames.space.arch
        # Where a frame ends the return address is, and below it the caller's frame pointer.
        return Row(
            self.name, Trust.UNWIND_INFO, arch, arch.sp, blob.frame,
            [(arch.ra_column, -_WORD), (arch.fp, -2 * _WORD)], function=blob.begin,
        )  # fmt: skip


class JavaFrames(EarlyStrategy):
    """All other frames in the code cache."""

    name = "hotspot"

    def __init__(self, space: AddressSpace, jvm: Jvm) -> None:
        self.space = space
        self.jvm = jvm
        self.slots = _SLOTS[space.arch.name]

    def claims(self, query: Query) -> bool:
        if self.jvm.heaps.at(query.pc) is None:
            return False
        blob = self._blob(query)
        return blob is not None and (query.exact or not self.is_fixed(blob, query.pc))

    def answer(self, query: Query) -> Found | Missed:
        blob = self._blob(query)
        if blob is None:
            return Missed("no code of the JVM")
        if blob.interpreter:
            return self._interpreted(query, blob)
        if query.pc == self.jvm.call_stub_return:
            return self._called_from_native(query)
        if blob.frame and query.exact:
            return self._stopped(query, blob)
        return Missed(f"{blob.name}: {_NO_FRAME}")

    def is_fixed(self, blob: Blob, pc: int) -> bool:
        """Whether a frame that goes on at a pc has the size that its code says."""
        if not blob.frame or blob.interpreter or pc < blob.complete:
            return False
        return blob.compiled is None or pc not in blob.compiled.deoptimized

    def _blob(self, query: Query) -> Blob | None:
        # The interpreter is left for an address where nothing has called.
        return self.jvm.blob(query.pc) or self.jvm.blob(query.lookup_pc)

    # --- the interpreter ----------------------------------------------------------------------

    def _interpreted(self, query: Query, blob: Blob) -> Found | Missed:
        arch, slots = self.space.arch, self.slots
        fp, sp = query.registers[arch.fp], query.above
        if fp is None or sp is None:
            return Missed("the interpreter's frame pointer is not known")
        lowest = min(slots.bytecodes)
        # The frame is between the stack pointer and its frame pointer.
        if fp % _WORD or fp + lowest * _WORD < sp or not self._in_stack(sp, fp):
            return Missed(f"no frame of the interpreter at 0x{fp:x}")
        words = self._words(fp + lowest * _WORD, _RETURN + 1 - lowest)
        address = words[_METHOD - lowest]
        method = self.jvm.methods.at(address)
        if method is None:
            return Missed(f"no method in the interpreter's frame at 0x{fp:x}")
        start, end = method.code
        pointers = [words[at - lowest] for at in slots.bytecodes]
        if query.exact and query.registers[slots.pointer] is not None:
            pointers.insert(0, query.registers[slots.pointer] or 0)
        inside = [each - start for each in pointers if start <= each < end]
        # A native method has no bytecodes, and a null pointer to them.
        if not inside and start != end:
            return Missed(f"no place in {method.name} in the interpreter's frame at 0x{fp:x}")
        return self._to_caller(
            query, words[_RETURN - lowest] & arch.code_address_mask, fp + 2 * _WORD,
            words[_LINK - lowest], Trust.UNWIND_INFO,
            subject=subject(address, inside[0] if inside else 0),
            sender=words[_SENDER - lowest],
        )  # fmt: skip

    # --- calls of Java from C++ ---------------------------------------------------------------

    def _called_from_native(self, query: Query) -> Found | Missed:
        """The frame of the call stub: a frame record, and a wrapper of the call for proof."""
        arch, slots = self.space.arch, self.slots
        fp, sp = query.registers[arch.fp], query.above
        if fp is None or sp is None or fp % _WORD or not self._in_stack(sp, fp):
            return Missed("the call stub's frame pointer is not in the stack")
        registers: list[int | None] = [None] * len(query.registers)
        link, address = self._words(fp, 2)
        trust = Trust.FRAME_POINTER
        if self._is_wrapper(fp):
            trust = Trust.UNWIND_INFO
            for number, at in slots.kept:
                registers[number] = self._words(fp + at * _WORD, 1)[0]
        registers[arch.pc] = address & arch.code_address_mask
        registers[arch.fp] = link
        registers[arch.sp] = fp + 2 * _WORD
        pc = address & arch.code_address_mask
        if not self.space.is_code(pc - 1) or self.space.after_call(pc) is False:
            return Missed(f"no call before 0x{pc:x}, where the call stub's frame leads")
        return Found(registers, trust)

    def _is_wrapper(self, fp: int) -> bool:
        """Whether the frame's JavaCallWrapper is one: its thread is the frame's."""
        slots = self.slots
        wrapper = self._words(fp + slots.wrapper * _WORD, 1)[0]
        if wrapper <= fp or not self._in_stack(fp, wrapper):
            return False
        thread = self._words(wrapper, 1)[0]
        return slots.thread is None or thread == self._words(fp + slots.thread * _WORD, 1)[0]

    # --- code that was stopped ----------------------------------------------------------------

    def _stopped(self, query: Query, blob: Blob) -> Found | Missed:
        arch = self.space.arch
        sp = query.registers[arch.sp]
        if sp is None:
            return Missed("the stack pointer is not known")
        cfa = sp + blob.frame
        return self._to_caller(
            query, self._words(cfa - _WORD, 1)[0] & arch.code_address_mask, cfa,
            self._words(cfa - 2 * _WORD, 1)[0], Trust.UNWIND_INFO,
        )  # fmt: skip

    # --- callers ------------------------------------------------------------------------------

    def _to_caller(
        self,
        query: Query,
        pc: int,
        sp: int,
        fp: int | None,
        trust: str,
        *,
        subject: int | None = None,
        sender: int | None = None,
    ) -> Found | Missed:
        """The caller, if there can be one; `sender` is its stack pointer if it was compiled."""
        arch = self.space.arch
        registers: list[int | None] = [None] * len(query.registers)
        registers[arch.pc], registers[arch.sp], registers[arch.fp] = pc, sp, fp
        blob = self.jvm.blob(pc - 1) or self.jvm.blob(pc)
        if blob is not None and blob.frame and sender is not None:
            # The callee's arguments were copied below the frame, and the frame seems to have grown.
            if sender < sp or not self._in_stack(sp, sender):
                return Missed(f"the interpreter's caller has its stack at 0x{sender:x}")
            registers[arch.sp] = sender
        found = Found(registers, trust, subject=subject)
        return self.checked(found)

    def checked(self, found: Found) -> Found | Missed:
        """An answer whose caller is in the code cache, as Java's callers are; else why not."""
        arch, jvm = self.space.arch, self.jvm
        pc = found.registers[arch.pc] or 0
        blob = jvm.blob(pc - 1) or jvm.blob(pc)
        if blob is None:
            return Missed(f"the return address 0x{pc:x} is in no code of the JVM")
        if blob.interpreter:
            found.exact = True  # it is not called, its address is pushed
            return found
        if blob.compiled is not None and pc in blob.compiled.deoptimized:
            original = self._original(found, blob)
            if original is None:
                return Missed("the frame was deoptimized, and where it was is not known")
            found.registers[arch.pc] = pc = original
            found.exact = False
        if not self.after_call(pc):
            # The stub that waits for a safepoint returns to where the code asked for it.
            if not blob.compiled:
                return Missed(f"no call before 0x{pc:x}")
            found.exact = True
        return found

    def _original(self, found: Found, blob: Blob) -> int | None:
        """Where a frame goes on whose return address was replaced since its code is not valid."""
        sp = found.registers[self.space.arch.sp]
        assert blob.compiled is not None
        if sp is None or not 0 <= blob.compiled.original < blob.frame:
            return None
        pc = self._words(sp + blob.compiled.original, 1)[0]
        return pc if blob.begin < pc <= blob.end and self.after_call(pc) else None

    def after_call(self, pc: int) -> bool:
        try:
            code = self.jvm.reader.read(pc - LOOK_BEHIND, LOOK_BEHIND)
        except Fault:
            return False
        return self.space.arch.is_return_address(code, LOOK_BEHIND)

    def _in_stack(self, low: int, high: int) -> bool:
        """Whether two addresses are in one stack, one above the other."""
        memory = self.space.memory
        region = memory.region(low)
        return low <= high and region is not None and region is memory.region(high)

    def _words(self, address: int, count: int) -> list[int]:
        data = self.space.memory.read(address, count * _WORD)
        return [
            int.from_bytes(data[at : at + _WORD], "little") for at in range(0, len(data), _WORD)
        ]


class JavaCallers(Reviewer):
    """Callers that rows have found: where compiled code has been given up, and checks."""

    def __init__(self, frames: JavaFrames) -> None:
        self.frames = frames

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        if isinstance(answer, Ended) or answer.stepper is not None:
            return answer
        heaps = self.frames.jvm.heaps
        pc = answer.registers[self.frames.space.arch.pc] or 0
        if heaps.at(pc) is None and heaps.at(query.pc) is None:
            return answer
        return self.frames.checked(answer)
