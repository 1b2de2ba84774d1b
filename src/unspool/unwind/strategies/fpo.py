"""32-bit Windows code by the FPO and frame data of its PDB file.

What MSVC, and clang in its place, write instead of DWARF: for each range of code the sizes of
a function's frame, and a program that finds the caller from them. All of it counts from the
stack pointer at a call, above which the callee's arguments lie: how many these are, the
callee's own record says. Where it has none they are searched through.
"""

from __future__ import annotations

from unspool.arch.x86 import EAX, EBP, EBX, ECX, EDI, EDX, EIP, ESI, ESP
from unspool.arch.x86_epilogue import epilogue
from unspool.arch.x86_stack import ENTRY
from unspool.errors import FormatError
from unspool.formats.frame_program import run_program
from unspool.model import Trust
from unspool.pe_image import PeImage
from unspool.unwind.call_targets import CallTargets
from unspool.unwind.step import DynamicStrategy, Found, Missed, Query
from unspool.unwind.x86_flow import X86Flow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.stack_win import StackWinRecord
    from unspool.space import AddressSpace

_WORD = 4
_MASK = 0xFFFF_FFFF
_NAMES = {EIP: "$eip", ESP: "$esp", EBP: "$ebp", EBX: "$ebx", ESI: "$esi", EDI: "$edi"}
# Words that are looked through for a return address: arguments of a callee without a record,
# of which the creation of a window has twelve.
_MAX_SEARCH = 40
_MAX_EPILOGUE = 40


class _Frame:
    """A frame, its record, and where its return address should be.

    `arguments` are the bytes that its callee got, None if that is not known.
    """

    __slots__ = ("arguments", "function", "query", "record", "slot")

    def __init__(
        self, query: Query, record: StackWinRecord, arguments: int | None, slot: int, function: int
    ) -> None:
        self.query = query
        self.record = record
        self.arguments = arguments
        self.slot = slot
        self.function = function


class Fpo(DynamicStrategy):
    """Does what the STACK WIN record of a pc says, and checks that a call precedes the result."""

    name = "fpo"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.targets = CallTargets(space)
        self.flow = X86Flow(space, self.targets)
        # Of the frame answered last: its caller's pc and sp, and what it got in arguments.
        self._callee: tuple[int | None, int | None, int] = (None, None, 0)

    def answer(self, query: Query) -> Found | Missed:
        frame = self._frame(query)
        if isinstance(frame, Missed):
            return frame
        found = end = None
        searches = self._may_search(frame.record)
        if frame.arguments is not None or not searches:
            found = end = self._try(frame, frame.slot, True)
        if end is not None and end.registers[EIP] == 0:
            found = None  # the last frame, or a word of another one
        if found is None and searches:
            found = self._search(frame, end is not None)
        found = found or end
        if found is None:
            return Missed("no call before the address where the record leads")
        registers = found.registers
        self._callee = (registers[EIP], registers[ESP], frame.record.parameters)
        return found

    def _frame(self, query: Query) -> _Frame | Missed:
        space = self.space
        module = space.module_at(query.lookup_pc)
        image = space.image(module) if module is not None else None
        if module is None or not isinstance(image, PeImage):
            return Missed("no Windows code")
        table = image.stack_win()
        if table is None:
            return Missed(f"no PDB file for {module.name}")
        record = table.find(query.lookup_pc - module.base)
        if record is None:
            return Missed(f"the PDB file of {module.name} has no record of this address")
        sp = query.registers[ESP]
        if sp is None:
            return Missed("the stack pointer is not known")
        function = module.base + record.function
        depth = record.locals + record.saved
        arguments: int | None = 0
        if query.exact:
            if epilogue(space.memory.read_available(query.pc, _MAX_EPILOGUE)) is not None:
                return Missed("the function is about to return, of which the records say nothing")
            depth = self._depth_in_prologue(query.pc, record, function, depth)
        else:
            arguments = self._arguments(query.pc, sp)
        return _Frame(query, record, arguments, sp + depth + (arguments or 0), function)

    def _arguments(self, pc: int, sp: int) -> int | None:
        """The bytes of arguments that lie on the stack at a call, None if nothing says that.

        A caller that takes them off itself does so next, and knows how many a function with a
        variable number of them got. But the end of the function looks just like that.
        """
        code = self.space.memory.read_available(pc, _MAX_EPILOGUE)
        if epilogue(code) is None:
            if code[:2] == b"\x83\xc4" and code[2] < 0x80:  # add $n,%esp
                return code[2]
            if code[:2] == b"\x81\xc4":
                return int.from_bytes(code[2:6], "little")
            pops = len(code) - len(code.lstrip(b"\x59"))  # pop %ecx
            if pops:
                return pops * _WORD
        callee_pc, callee_sp, arguments = self._callee
        return arguments if (callee_pc, callee_sp) == (pc, sp) else None

    def _depth_in_prologue(self, pc: int, record: StackWinRecord, function: int, depth: int) -> int:
        """FPO_DATA has one record for a whole function, true when its prologue is through."""
        if record.program is not None or not 0 <= pc - function < record.prologue:
            return depth
        state = self.flow.to(function, pc, True).state
        known = state is not None and state.exact and state.esp[0] == ENTRY
        return -state.esp[1] if state is not None and known else depth

    def _may_search(self, record: StackWinRecord) -> bool:
        """Whether the caller is found from the place of the return address, and not by ebp."""
        return record.program is None or ".raSearch" in record.program

    def _search(self, frame: _Frame, only_sure: bool) -> Found | None:
        """Looks for the return address from the place on where it is if there are no arguments.

        A call that led to this very function is nearly proof. One that led to another
        function is the caller's if that function ended in a jump, or of an older call.
        """
        other = None
        for slot in range(frame.slot, frame.slot + _MAX_SEARCH * _WORD, _WORD):
            data = self.space.memory.read_available(slot, _WORD)
            if len(data) < _WORD:
                break
            address = int.from_bytes(data, "little")
            if not self.space.is_code(address - 1) or not self.space.after_call(address):
                continue
            target = self.targets.of(address)
            if target == frame.function:
                return self._try(frame, slot, True)
            if target is None and not only_sure:
                return self._try(frame, slot, slot == frame.slot)
            other = other or slot
        if only_sure:
            return None
        return self._try(frame, other, False) if other is not None else None

    def _try(self, frame: _Frame, slot: int, sure: bool) -> Found | None:
        """The caller, if the return address is in that word; None if the result is no caller."""
        try:
            values = self._run(frame, slot & _MASK)
        except FormatError:
            return None
        address, sp = values.get(EIP), values.get(ESP)
        if address is None or sp is None:
            return None
        at_the_end = address == 0 and frame.arguments is not None
        if not at_the_end and not self.space.after_call(address):
            return None
        registers = list(frame.query.registers)
        # A record that names fewer registers than it says are saved leaves some unknown.
        restored = sum(register in values for register in (EBP, EBX, ESI, EDI))
        if restored * _WORD < frame.record.saved:
            registers[EBX] = registers[ESI] = registers[EDI] = None
        registers[EAX] = registers[ECX] = registers[EDX] = None
        for register, value in values.items():
            registers[register] = value
        return Found(registers, Trust.UNWIND_INFO if sure else Trust.SCAN)

    def _run(self, frame: _Frame, slot: int) -> dict[int, int | None]:
        """The caller's registers as far as the record says them. Raises `Fault`, `FormatError`."""
        record, query = frame.record, frame.query
        read = self.space.memory.read_uint
        if record.program is None:
            values: dict[int, int | None] = {EIP: read(slot, _WORD), ESP: (slot + _WORD) & _MASK}
            sp = query.registers[ESP]
            if record.uses_ebp and sp is not None:
                # It is pushed second, after ebx.
                saved = sp + (frame.arguments or 0) + record.saved - 2 * _WORD
                values[EBP] = read(saved & _MASK, _WORD)
            return values
        variables = {
            ".raSearch": slot,
            ".raSearchStart": slot,
            ".cbCalleeParams": frame.arguments or 0,
            ".cbParams": record.parameters,
            ".cbSavedRegs": record.saved,
            ".cbLocals": record.locals,
        }
        for register, name in _NAMES.items():
            value = query.registers[register]
            if value is not None:
                variables[name] = value
        assigned = run_program(record.program, variables, read)
        return {register: assigned[name] for register, name in _NAMES.items() if name in assigned}
