"""Java frames of HotSpot: compiled code, stubs, the interpreter, and calls of Java from C++.

Compiled code and stubs have frames of a fixed size, which the header of each piece of code says:
its rows depend on the pc alone. The frame pointer is no guide there, it is a register like any
other. The interpreter's frames are of no fixed size, and are chained by frame pointers; they are
believed if they hold a method and a place in its bytecodes. What `frame_x86.hpp` and
`frame_aarch64.hpp` of OpenJDK say of frames has been the same since JDK 9.
"""

from __future__ import annotations

from struct import unpack, unpack_from

from unspool.arch.calls import LOOK_BEHIND
from unspool.generated.hotspot.jvm import Jvm, make_subject
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
from unspool.unwind.strategies.hotspot_slots import LINK, METHOD, RETURN, SENDER, SLOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.code import GeneratedCode
    from unspool.generated.hotspot.blobs import Blob
    from unspool.space import AddressSpace
    from unspool.unwind.step import Stepper
    from unspool.unwind.strategies import hotspot_arm64, hotspot_x86
    from unspool.unwind.strategies.hotspot_slots import Place

    Stopped = hotspot_x86.Stopped | hotspot_arm64.Stopped

_WORD = 8
_NO_FRAME = "no frame of a fixed size"
_MOST_KNOWN = 1 << 17
_CONTINUES = "jdk.internal.vm.Continuation.run"


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
            stepper.reviewers.append(JavaCallers(frames))


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
        self.slots = SLOTS[space.arch.name]
        self.stopped = _stopped(jvm, space)
        self._after_call: dict[int, bool] = {}

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
        if query.exact and not self._is_barrier(query.pc, query.registers[self.space.arch.fp]):
            return self._stopped(query, blob)
        return self._by_record(query, blob)

    def is_fixed(self, blob: Blob, pc: int) -> bool:
        """Whether a frame that goes on at a pc has the size that its code says."""
        if not blob.frame or blob.interpreter:
            return False
        # Stubs have their frame wherever they call.
        compiled = blob.compiled
        return compiled is None or (pc >= blob.complete and pc not in compiled.deoptimized)

    def _blob(self, query: Query) -> Blob | None:
        # The interpreter is left for an address where nothing has called.
        return self.jvm.blob(query.pc) or self.jvm.blob(query.lookup_pc)

    # --- the interpreter ----------------------------------------------------------------------

    def _interpreted(self, query: Query, blob: Blob) -> Found | Missed:
        arch, slots = self.space.arch, self.slots
        fp, sp = query.registers[arch.fp], query.above
        edge = self._at_its_edge(query)
        if edge is not None:
            return edge
        if fp is None or sp is None:
            return Missed("the interpreter's frame pointer is not known")
        lowest = min(slots.bytecodes)
        if fp % _WORD or not _in_stack(query, sp, fp):
            return Missed(f"no frame of the interpreter at 0x{fp:x}")
        words = self._words(query, fp + lowest * _WORD, RETURN + 1 - lowest)
        pointers = [words[at - lowest] for at in slots.bytecodes]
        if query.exact:
            pointers.insert(0, query.registers[slots.pointer] or 0)
        subject = self._subject(words[METHOD - lowest], pointers)
        if query.exact and (subject is None or fp + lowest * _WORD < sp):
            # The frame is being filled, and what is in its place is older.
            subject = self._subject(query.registers[slots.method] or 0, None)
        if subject is None:
            return Missed(f"no method in the interpreter's frame at 0x{fp:x}")
        return self._to_caller(
            query, words[RETURN - lowest] & arch.code_address_mask, fp + 2 * _WORD,
            words[LINK - lowest], Trust.UNWIND_INFO, subject=subject,
            sender=words[SENDER - lowest],
        )  # fmt: skip

    def _subject(self, address: int, pointers: list[int] | None) -> int | None:
        """The method at an address as a frame's subject, where a pointer is into its bytecodes.

        Without `pointers` at its beginning.
        """
        method = self.jvm.methods.at(address)
        if method is None:
            return None
        start, end = method.code
        if pointers is None or start == end:
            return make_subject(address, 0)  # a native method has none, and a null pointer to them
        inside = [each - start for each in pointers if start <= each < end]
        return make_subject(address, inside[0]) if inside else None

    def _at_its_edge(self, query: Query) -> Found | Missed | None:
        """The caller, where the interpreter is making a frame or has taken it down."""
        # Frames that were found here have no registers but these; others' are still there.
        if query.registers[self.slots.method] is None:
            return None
        place = self.stopped.entering(query.pc, query.registers)
        if place is None:
            place = self.stopped.returning(query.pc, query.registers)
        if place is None:
            return None
        subject = self._subject(place.method, None) if place.method is not None else None
        found = self._place(query, place, subject)
        return found if isinstance(found, Found) else None

    # --- calls of Java from C++ ---------------------------------------------------------------

    def _called_from_native(self, query: Query) -> Found | Missed:
        """The frame of the call stub: a frame record, and a wrapper of the call for proof."""
        arch, slots = self.space.arch, self.slots
        fp, sp = query.registers[arch.fp], query.above
        if fp is None or sp is None or fp % _WORD or not _in_stack(query, sp, fp):
            return Missed("the call stub's frame pointer is not in the stack")
        registers: list[int | None] = [None] * len(query.registers)
        link, address = self._words(query, fp, 2)
        trust = Trust.FRAME_POINTER
        if self._is_wrapper(query, fp):
            trust = Trust.UNWIND_INFO
            for number, at in slots.kept:
                registers[number] = self._words(query, fp + at * _WORD, 1)[0]
        pc = address & arch.code_address_mask
        registers[arch.pc], registers[arch.sp], registers[arch.fp] = pc, fp + 2 * _WORD, link
        if not self.space.is_code(pc - 1) or self.space.after_call(pc) is False:
            return Missed(f"no call before 0x{pc:x}, where the call stub's frame leads")
        return Found(registers, trust)

    def _is_wrapper(self, query: Query, fp: int) -> bool:
        """Whether the frame's JavaCallWrapper is one: its thread is the frame's."""
        slots = self.slots
        wrapper = self._words(query, fp + slots.wrapper * _WORD, 1)[0]
        if wrapper <= fp or not _in_stack(query, fp, wrapper):
            return False
        thread = self._words(query, wrapper, 1)[0]
        return (thread,) == self._words(query, fp + slots.thread * _WORD, 1)

    def _by_record(self, query: Query, blob: Blob) -> Found | Missed:
        """By the frame record that stubs make: of calls from C by Panama, of copying an array."""
        arch = self.space.arch
        fp, sp = query.registers[arch.fp], query.above
        if fp is None or sp is None or fp % _WORD or not _in_stack(query, sp, fp):
            return Missed(f"{blob.name}: {_NO_FRAME}")
        link, address = self._words(query, fp, 2)
        pc, above = address & arch.code_address_mask, fp + 2 * _WORD
        if self.jvm.heaps.at(pc) is not None:
            return self._to_caller(query, pc, above, link, Trust.FRAME_POINTER, sender=above)
        if not self.space.is_code(pc - 1) or self.space.after_call(pc) is not True:
            return Missed(f"{blob.name}: no call before 0x{pc:x}, where its frame record leads")
        registers: list[int | None] = [None] * len(query.registers)
        registers[arch.pc], registers[arch.sp], registers[arch.fp] = pc, above, link
        return Found(registers, Trust.FRAME_POINTER)

    def _is_barrier(self, pc: int, fp: int | None) -> bool:
        """Whether an address is where the rest of a virtual thread would be taken off the heap.

        The innermost frames alone are on the carrier's stack when it goes on. The oldest of them
        returns to a stub, with the frame pointer of what had started the thread's code: there
        is Continuation.run.
        """
        blob = self.jvm.blob(pc)
        if blob is None or fp is None or fp % _WORD or not blob.name.startswith("StubRoutines"):
            return False
        try:
            link, address = unpack("<2Q", self.space.memory.read(fp, 2 * _WORD))
            caller = self.jvm.blob(address)
            if caller is None:
                return False
            place = self.jvm.locate(address - 1)
            if caller.interpreter:
                method = self.space.memory.read_uint(link + METHOD * _WORD, _WORD)
                place = self.jvm.locate(make_subject(method, 0))
        except Fault:
            return False
        names = [call.function for call in place.inlines] if place is not None else []
        return place is not None and _CONTINUES in (*names, place.function)

    # --- code that was stopped ----------------------------------------------------------------

    def _stopped(self, query: Query, blob: Blob) -> Found | Missed:
        if query.registers[self.space.arch.sp] is None:
            return Missed("the stack pointer is not known")
        find = self.stopped.compiled if blob.frame else self.stopped.other
        for place in find(blob, query.pc, query.registers):
            found = self._place(query, place, None)
            if isinstance(found, Found):
                return found
        return Missed(f"{blob.name}: the caller is not where code that was stopped has it")

    def _place(self, query: Query, place: Place, subject: int | None) -> Found | Missed:
        trust = Trust.LEAF if place.leaf else Trust.UNWIND_INFO
        native = self.jvm.heaps.at(place.pc) is None
        if native and subject is None and self.space.after_call(place.pc):
            # Stubs that C++ calls: for atomic operations, and the one that calls Java.
            registers = list(query.registers)
            arch = self.space.arch
            registers[arch.pc], registers[arch.sp], registers[arch.fp] = (
                place.pc,
                place.sp,
                place.fp,
            )
            return Found(registers, trust)
        return self._to_caller(query, place.pc, place.sp, place.fp, trust, subject=subject)

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
            if sender < sp or not _in_stack(query, sp, sender):
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
            found.exact = True
            if self._is_barrier(pc, found.registers[arch.fp]):
                found.gap = "more frames of the virtual thread are in the heap"
            elif not blob.compiled:
                return Missed(f"no call before 0x{pc:x}")
        return found

    def _original(self, found: Found, blob: Blob) -> int | None:
        """Where a frame goes on whose return address was replaced since its code is not valid."""
        sp = found.registers[self.space.arch.sp]
        assert blob.compiled is not None
        if sp is None or not 0 <= blob.compiled.original < blob.frame:
            return None
        pc = self.space.memory.read_uint(sp + blob.compiled.original, _WORD)
        return pc if blob.begin < pc <= blob.end and self.after_call(pc) else None

    def after_call(self, pc: int) -> bool:
        """Whether a call is before an address of the code cache, by what is there now."""
        known = self._after_call.get(pc)
        if known is None:
            try:
                code = self.jvm.reader.read(pc - LOOK_BEHIND, LOOK_BEHIND)
                known = self.space.arch.is_return_address(code, LOOK_BEHIND)
            except Fault:
                known = False
            if len(self._after_call) >= _MOST_KNOWN:
                self._after_call.clear()
            self._after_call[pc] = known
        return known

    def _words(self, query: Query, address: int, count: int) -> tuple[int, ...]:
        stack = query.stack
        if stack is not None and stack.low <= address and address + count * _WORD <= stack.high:
            return unpack_from(f"<{count}Q", stack.buffer, address - stack.base)
        return unpack(f"<{count}Q", self.space.memory.read(address, count * _WORD))


def _stopped(jvm: Jvm, space: AddressSpace) -> Stopped:
    if space.arch.name == "aarch64":
        from unspool.unwind.strategies.hotspot_arm64 import Stopped as Arm64Stopped

        return Arm64Stopped(jvm, space)
    from unspool.unwind.strategies.hotspot_x86 import Stopped as X86Stopped

    return X86Stopped(jvm, space)


def _in_stack(query: Query, low: int, high: int) -> bool:
    """Whether two addresses are in the thread's stack, one above the other."""
    stack = query.stack
    return stack is not None and stack.low <= low <= high < stack.high


class JavaCallers(Reviewer):
    """Callers that rows have found: where compiled code has been given up, and checks."""

    def __init__(self, frames: JavaFrames) -> None:
        self.frames = frames

    def review(self, query: Query, answer: Found | Ended) -> Found | Ended | Missed:
        if isinstance(answer, Ended) or answer.stepper is not None:
            return answer
        row = answer.row
        if row is not None and (row.signal is not None or row.interrupted):
            return answer  # a signal interrupts code anywhere
        heaps = self.frames.jvm.heaps
        pc = answer.registers[self.frames.space.arch.pc] or 0
        if heaps.at(pc) is None and heaps.at(query.pc) is None:
            return answer
        return self.frames.checked(answer)
