"""What walking Wasm frames needs of the stack and of unwind tables."""

from __future__ import annotations

from unspool.memory import Fault
from unspool.unwind.step import Found, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.memory import Window
    from unspool.space import AddressSpace
    from unspool.unwind.rows import Row
    from unspool.unwind.step import Stepper
    from unspool.unwind.wasm_frames import Traits


class StackReader:
    """Reads a stack through the buffer that has it: thousands of frames are in the same one."""

    def __init__(self, space: AddressSpace) -> None:
        self.memory = space.memory
        self.window: Window | None = None

    def read(self, address: int, size: int) -> bytes:
        """Those bytes. Raises `Fault`."""
        window = self.window
        if window is None or not window.low <= address <= window.high - size:
            window = self.window = self.memory.window(address)
            if window is None or address + size > window.high:
                self.window = None
                raise Fault(address, size)
        start = address - window.base
        return bytes(window.buffer[start : start + size])


class Tables:
    """The unwind tables of code with frame pointers, for what frame pointers do not tell."""

    def __init__(self, stepper: Stepper, traits: Traits) -> None:
        self.stepper = stepper
        self.space = stepper.space
        self.traits = traits
        self._rows: dict[int, Row | None] = {}

    def row(self, pc: int, *, exact: bool) -> Row | None:
        """The row for a pc, if the image has unwind tables."""
        lookup = pc if exact else pc - 1
        if lookup not in self._rows:
            query = Query(pc, exact, [], None)
            self._rows[lookup] = self.stepper.find_row(query, [], remember=False)
        return self._rows[lookup]

    def caller(self, query: Query) -> list[int | None] | None:
        """The registers of a frame's caller, if the tables say."""
        row = self.row(query.pc, exact=query.exact)
        answer = self.stepper.apply_row(row, query) if row is not None else None
        return answer.registers if isinstance(answer, Found) else None

    def agrees(self, pc: int) -> bool:
        """Whether tables say of a return address what frame pointers do."""
        row, traits = self.row(pc, exact=False), self.traits
        arch = self.space.arch
        if row is None or row.cfa_register != arch.fp or row.cfa_offset != traits.older_sp:
            return False
        saved = dict(row.saved)
        return (
            saved.get(arch.fp) == traits.older_fp - traits.older_sp
            and saved.get(row.ra_column) == traits.return_address - traits.older_sp
        )

    def restored(self, registers: list[int | None], last: dict[int, int]) -> list[int | None]:
        """The registers before some frames were made; `last` has each pc's oldest frame pointer.

        Of the frames that saved a register the oldest has the value that is wanted, and of
        those at the same pc the oldest alone is asked.
        """
        found = registers.copy()
        known = set()
        for pc, fp in sorted(last.items(), key=_frame, reverse=True):
            if not self.agrees(pc):
                # What this frame has saved is not known, so nothing of newer ones is the oldest.
                return [value if number in known else None for number, value in enumerate(found)]
            row = self.row(pc, exact=False)
            assert row is not None
            for register, offset in row.saved:
                if register in known:
                    continue
                known.add(register)
                at = fp + self.traits.older_sp + offset
                try:
                    found[register] = self.space.memory.read_uint(at, self.traits.word)
                except Fault:
                    found[register] = None
        return found


def _frame(item: tuple[int, int]) -> int:
    return item[1]
