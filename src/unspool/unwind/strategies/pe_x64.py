"""Rows from the unwind data of x86-64 Windows modules: .pdata and .xdata."""

from __future__ import annotations

from unspool.arch.x86_64 import RAX, RBP, RBX, RCX, RDI, RDX, RIP, RSI, RSP
from unspool.errors import FormatError
from unspool.formats.pe_epilogue import MAX_SIZE
from unspool.formats.pe_row import PROBE_SIZE, PeRow, leaf_row, row_at
from unspool.memory import Fault
from unspool.model import Trust
from unspool.pe_image import PeImage
from unspool.unwind.rows import Row
from unspool.unwind.step import Missed, TableStrategy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.arch.base import Arch
    from unspool.formats.pe_unwind import FunctionTable
    from unspool.space import AddressSpace

# DWARF numbers of the registers that PE numbers as instructions do; the last is rip.
_REGISTERS = (RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, *range(8, 16), RIP)

# Bytes of unwind data that are read for one target. A function has a few dozen of them; a
# hostile chain has thousands, and would be followed anew for every pc.
_MAX_WORK = 16 << 20


class PeX64(TableStrategy):
    """Finds the RUNTIME_FUNCTION of a pc's module and decodes its row."""

    name = "pe_x64"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self.room = _MAX_WORK

    def row(self, pc: int, lookup_pc: int) -> Row | Missed:
        module = self.space.module_at(lookup_pc)
        if module is None:
            return Missed(f"0x{lookup_pc:x} is in no module")
        if module.kind != "pe":
            return Missed(f"{module.name} is no Windows module")
        image = self.space.image(module)
        if not isinstance(image, PeImage):
            return Missed(f"neither the file nor the memory of {module.name} is at hand")
        table = image.function_table()
        if table is None:
            return Missed(_why_none(image, module.name))
        try:
            found = self._find(image, table, lookup_pc - image.base, pc == lookup_pc)
        except FormatError as error:
            return Missed(f"broken unwind data in {module.name}: {error}")
        except Fault as fault:
            return Missed(f"unwind data of {module.name} at {fault} cannot be read", fault=True)
        if found is None:
            return Missed(f"{module.name} has unwind data, but none for this address")
        return to_row(self.space.arch, found, image.base)

    def _find(self, image: PeImage, table: FunctionTable, rva: int, exact: bool) -> PeRow | None:
        function = table.find(rva)
        if function is None:
            # The ABI: a function without an entry calls nothing and does not move rsp.
            if not exact:
                return None
            before = self._code(image, max(rva - PROBE_SIZE, 0), min(rva, PROBE_SIZE))
            return leaf_row(before, self._code(image, rva, MAX_SIZE), rva)

        def read(rva: int, size: int) -> bytes:
            self.room -= size
            if self.room < 0:
                raise FormatError("unwind data", "absurdly much; no more of it is read")
            return image.read(rva, size)

        code = self._code(image, rva, MAX_SIZE) if exact else None
        return row_at(table, read, function, rva, code)

    def _code(self, image: PeImage, rva: int, size: int) -> bytes:
        """Up to `size` bytes of code at an RVA, in memory or in the module's file; maybe none.

        They are not cut at the function's end, since an epilogue may not be: MSVC gives the
        last instruction of one an entry of its own where it splits functions.
        """
        code = self.space.memory.read_available(image.base + rva, size)
        more = size - len(code)
        if more and image.file is not None:
            found = image.file.located(rva + len(code))
            if found is not None:
                buffer, start, end = found
                code += bytes(buffer[start : min(end, start + more)])
        return code


def _why_none(image: PeImage, name: str) -> str:
    problem = f" ({image.problems[0]})" if image.problems else ""
    missing = "" if image.file is not None else ", whose file was not found"
    return f"no unwind data for {name}{missing}{problem}"


def to_row(arch: Arch, found: PeRow, base: int) -> Row:
    """A row of a module at `base`, in registers of ours."""
    return Row(
        PeX64.name,
        Trust.UNWIND_INFO,
        arch,
        _REGISTERS[found.register],
        found.offset,
        [(_REGISTERS[register], offset) for register, offset in found.saved.items()],
        function=None if found.begin is None else base + found.begin,
        interrupted=found.interrupted,
    )
