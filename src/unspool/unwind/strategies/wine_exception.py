"""Windows exceptions and APCs: from the code that handles them to the code that was interrupted.

Wine's kernel side copies a CONTEXT with all registers of the interrupted code to the Windows
stack and starts a function of ntdll there. Since 9.0 that has a machine frame as Windows has it,
which leads to the same place with fewer registers; before, its unwind data leads nowhere.
"""

from __future__ import annotations

from unspool.model import Trust
from unspool.unwind.step import EarlyStrategy, Found, Missed, Query, Switch
from unspool.unwind.strategies.wine_functions import Functions
from unspool.wine import layouts
from unspool.wine.exceptions import read_context, read_exception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.model import Module
    from unspool.space import AddressSpace

_EXCEPTION, _APC = "KiUserExceptionDispatcher", "KiUserApcDispatcher"
# Where an APC's CONTEXT may begin: behind arguments and saved registers.
_APC_REACH = 0x80


class WineException(EarlyStrategy):
    """Takes the interrupted code's registers from the CONTEXT on the stack."""

    name = "wine_exception"

    def __init__(self, space: AddressSpace, ntdll: Module | None) -> None:
        self.space = space
        self.functions = Functions(space, ntdll, (_EXCEPTION, _APC))
        self.is_64 = space.arch.pointer_size == 8
        self.layout = layouts.CONTEXT_X86_64 if self.is_64 else layouts.CONTEXT_I386

    def claims(self, query: Query) -> bool:
        return self.functions.at(query.lookup_pc) is not None

    def answer(self, query: Query) -> Found | Missed:
        name = self.functions.at(query.lookup_pc)
        sp = query.above
        if sp is None:
            return Missed("the stack pointer is not known")
        for context, record in self._places(sp, name == _EXCEPTION):
            registers = read_context(self.space, context, self.layout)
            if registers is None or not self._is_older(registers, context):
                continue
            words = "Windows APC"
            if name == _EXCEPTION:
                found = read_exception(self.space, record)
                words = f"Windows exception: {found.words() if found else 'of an unknown kind'}"
            switch = Switch("windows", f"{words}, context at 0x{context:x}")
            return Found(registers, Trust.SIGNAL, exact=True, switch=switch)
        return Missed("no CONTEXT on the stack where it should be")

    def _is_older(self, registers: list[int | None], context: int) -> bool:
        """Whether the interrupted code's stack pointer is above its CONTEXT, or elsewhere."""
        sp = registers[self.space.arch.sp]
        if sp is None:
            return False
        region, own = self.space.memory.region(sp), self.space.memory.region(context)
        return region is not own or sp > context

    def _places(self, sp: int, is_exception: bool) -> Iterator[tuple[int, int]]:
        """Where the CONTEXT and the EXCEPTION_RECORD can be: addresses of both."""
        word = self.space.arch.pointer_size
        if not is_exception:
            for offset in range(0, _APC_REACH, word):
                yield sp + offset, 0
            return
        if self.is_64:
            # On x86-64 the function's stack pointer is the CONTEXT's address all the time.
            for context, record in layouts.EXCEPTION_AT_X86_64:
                yield sp + context, sp + record
            return
        # On i386 its arguments are pointers, pushed for the function that it calls as well.
        pointers = self.space.memory.read_available(sp, 2 * word)
        if len(pointers) == 2 * word:
            record = int.from_bytes(pointers[:word], "little")
            yield int.from_bytes(pointers[word:], "little"), record
        for context, record in layouts.EXCEPTION_AT_I386:
            yield sp + context, sp + record
