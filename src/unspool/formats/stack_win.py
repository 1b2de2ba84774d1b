"""STACK WIN records: what the FPO and frame data of a PDB file say of 32-bit stack frames.

The text is that of Breakpad's symbol files (its symbol_files.md), a line a range of code:

    STACK WIN type rva size prologue epilogue parameters saved locals max_stack has_program more

Numbers are hexadecimal. Of type 4 (FrameData) `more` is a program, see `frame_program.py`; of
type 0 (FPO_DATA of older compilers) it is 1 if the function uses ebp for something else.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

FPO, FRAME_DATA = 0, 4

# Chromium's 32-bit DLL has 700,000.
_MAX_RECORDS = 4_000_000
_MAX_LINE = 4096
# Records of one function lie inside each other: one for each instruction of its prologue.
_MAX_NESTED = 32
_MAX_VALUE = 0xFFFF_FFFF


class StackWinRecord:
    """What is known of the code at `[start, end)` (RVAs); sizes are in bytes.

    `parameters` are what the caller pushed, `saved` the registers that the function has
    saved, `locals` the rest of its frame. `program` is None for FPO_DATA. `function` is the
    lowest address of the records around this one.
    """

    __slots__ = (
        "end", "function", "locals", "parameters", "program", "prologue", "saved", "start",
        "uses_ebp",
    )  # fmt: skip

    def __init__(
        self,
        start: int,
        end: int,
        function: int,
        *,
        prologue: int = 0,
        parameters: int = 0,
        saved: int = 0,
        locals: int = 0,
        program: str | None = None,
        uses_ebp: bool = False,
    ) -> None:
        self.start = start
        self.end = end
        self.function = function
        self.prologue = prologue
        self.parameters = parameters
        self.saved = saved
        self.locals = locals
        self.program = program
        self.uses_ebp = uses_ebp


class StackWin:
    """The records of one module's text. Lines that are none, or broken, are passed over."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._tables = {kind: _Table() for kind in (FRAME_DATA, FPO)}
        end = -1
        for _ in range(_MAX_RECORDS):
            start = text.find(b"STACK WIN ", end + 1)
            if start < 0:
                break
            end = text.find(b"\n", start)
            if start == 0 or text[start - 1] == 0x0A:
                self._add(start)
            if end < 0:
                break
        for table in self._tables.values():
            table.sort()

    def __len__(self) -> int:
        return sum(len(table.starts) for table in self._tables.values())

    def find(self, rva: int) -> StackWinRecord | None:
        """The innermost record around an RVA; of FrameData, which says more, before FPO_DATA."""
        for kind, table in self._tables.items():
            index = table.find(rva)
            record = self._record(kind, table, index) if index is not None else None
            if record is not None:
                return record
        return None

    def _add(self, offset: int) -> None:
        fields = self._text[offset : offset + 40].split(b" ", 5)
        try:
            kind, rva, size = (int(field, 16) for field in fields[2:5])
        except ValueError:
            return
        table = self._tables.get(kind)
        if table is not None and size > 0 and 0 <= rva <= rva + size <= _MAX_VALUE:
            table.starts.append(rva)
            table.sizes.append(size)
            table.offsets.append(offset)

    def _record(self, kind: int, table: _Table, index: int) -> StackWinRecord | None:
        offset = table.offsets[index]
        line = self._text[offset : offset + _MAX_LINE].partition(b"\n")[0]
        fields = line.decode("ascii", "replace").rstrip().split(" ", 12)
        try:
            prologue, _, parameters, saved, locals_, _, has_program = (
                int(field, 16) for field in fields[5:12]
            )
        except ValueError:
            return None
        if len(line) >= _MAX_LINE or not 0 <= parameters + saved + locals_ <= _MAX_VALUE:
            return None
        more = fields[12] if len(fields) > 12 else ""
        start = table.starts[index]
        return StackWinRecord(
            start, start + table.sizes[index], table.function(index),
            prologue=prologue, parameters=parameters, saved=saved, locals=locals_,
            program=more if kind == FRAME_DATA and has_program else None,
            uses_ebp=kind == FPO and more == "1",
        )  # fmt: skip


class _Table:
    """Ranges, the longer ones first of those that start together; where their lines are."""

    __slots__ = ("offsets", "sizes", "starts")

    def __init__(self) -> None:
        self.starts = array("I")
        self.sizes = array("I")
        self.offsets = array("Q")

    def sort(self) -> None:
        starts, sizes = self.starts, self.sizes
        if all(
            starts[index - 1] < starts[index]
            or (starts[index - 1] == starts[index] and sizes[index - 1] >= sizes[index])
            for index in range(1, len(starts))
        ):
            return  # as symbolic writes them
        order = sorted(range(len(starts)), key=lambda index: (starts[index], -sizes[index]))
        self.starts = array("I", (starts[index] for index in order))
        self.sizes = array("I", (sizes[index] for index in order))
        self.offsets = array("Q", (self.offsets[index] for index in order))

    def find(self, rva: int) -> int | None:
        """The last range that contains `rva`."""
        last = bisect_right(self.starts, rva) - 1
        for index in range(last, max(last - _MAX_NESTED, -1), -1):
            if rva < self.starts[index] + self.sizes[index]:
                return index
        return None

    def function(self, index: int) -> int:
        """The start of the first of the ranges that contain the given one."""
        result: int = self.starts[index]
        end = result + self.sizes[index]
        for outer in range(index - 1, max(index - _MAX_NESTED, -1), -1):
            if self.starts[outer] + self.sizes[outer] >= end:
                result = self.starts[outer]
        return result
