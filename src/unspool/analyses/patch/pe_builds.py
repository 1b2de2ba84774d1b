"""What a comparison of builds wants of a PE file; see `builds` and `names` for ELF.

Functions are those of COFF symbols, as MinGW leaves them, and of exports. A function that only
the next one bounds counts with the padding behind it. Addresses are those that it is linked for.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError, InputError
from unspool.formats.pe import MACHINE_AMD64, MACHINE_I386, SYMBOL_SIZE
from unspool.formats.pe_imports import imports, relocations
from unspool.memory import Memory
from unspool.pe_image import PeImage
from unspool.symbols.functions import Function, pe_functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.formats.pe import Pe

_BITS = {MACHINE_AMD64: 64, MACHINE_I386: 32}
_MAX_CONTENT = 256
# Pointers to pointers that are followed for what they lead to.
_MOST_POINTERS = 4
_MAX_SYMBOLS = 1_000_000


class PeSource:
    """As `builds.ElfSource`. Raises `InputError` for code of another CPU."""

    def __init__(self, pe: Pe) -> None:
        if pe.machine not in _BITS:
            raise InputError("code of another CPU", "PE files of x86-64 and i386 are compared")
        self.id = identity(pe)
        self.kind = "pe", pe.machine
        self.bits = _BITS[pe.machine]
        self.absolute = True
        base = pe.image_base
        self.sections: dict[int, tuple[int, bytes]] = {}
        for section in pe.sections:
            if section.executable and section.raw_size:
                size = min(section.virtual_size or section.raw_size, section.raw_size)
                try:
                    code = pe.read(section.rva, size)
                except FormatError:
                    continue
                self.sections[base + section.rva] = base + section.rva + size, code
        found: dict[int, Function] = {}
        for each in pe_functions(PeImage(Memory(), base, pe, pe), [pe]):
            each.start, each.end = each.start + base, each.end + base
            found.setdefault(each.start, each)
        self.functions = [found[start] for start in sorted(found)]
        self.names = PeNames(pe, self.functions)


def identity(pe: Pe) -> str | None:
    """The id of the PDB file that was made with it, or its time stamp and size."""
    codeview = pe.codeview()
    if codeview is not None:
        return codeview.debug_id
    return pe.code_id if pe.timestamp else None


class PeNames:
    """What an address of a PE file stands for, in words that do not depend on where it lies."""

    def __init__(self, pe: Pe, functions: list[Function]) -> None:
        self.pe = pe
        self.base = pe.image_base
        self.code = functions
        self.code_starts = [each.start for each in functions]
        self.got = 0
        self.slots = {self.base + rva: name for rva, name in imports(pe)}
        self.pointers = relocations(pe)
        found = dict(_data(pe))
        self.starts = sorted(found)
        self.found = found

    def at(self, address: int, used: int = 0, depth: int = 0) -> str:
        """As `names.Names.at`; "" outside of the file."""
        if address in self.slots:
            return f"slot of {self.slots[address]}"
        rva = address - self.base
        if not 0 <= rva < self.pe.size_of_image:
            return ""
        section = self.pe.section_at(rva)
        if section is None:
            return ""
        at = bisect_right(self.starts, rva) - 1
        if at >= 0 and self.starts[at] >= section.rva:
            return f"{self.found[self.starts[at]]}+{rva - self.starts[at]}"
        if section.executable:
            at = bisect_right(self.code_starts, address) - 1
            if at >= 0 and address < self.code[at].end:
                return f"{self.code[at].name}+{address - self.code_starts[at]}"
        if rva in self.pointers and not section.writable and depth < _MOST_POINTERS:
            # MinGW has pointers to variables of other files beside the code (.refptr).
            word = 8 if self.pe.is_64 else 4
            to = int.from_bytes(self.content(rva, word), "little")
            return f"pointer to {self.at(to, depth=depth + 1)}"
        if section.writable or section.executable:
            # Nothing says which of them it is: a difference, to be on the safe side.
            return f"{section.name} at 0x{address:x} of {id(self)}"
        return f"{section.name} {self.content(rva, used)!r}"

    def content(self, rva: int, exact: int = 0) -> bytes:
        """The bytes there up to a zero after the first eight, or so many."""
        for size in (exact,) if exact else (_MAX_CONTENT, 64, 16, 8, 4, 1):
            try:
                data = self.pe.read(rva, size)
            except FormatError:
                continue
            zero = -1 if exact else data.find(b"\0", 8)
            return data if zero < 0 else data[:zero]
        return b""


def _data(pe: Pe) -> list[tuple[int, str]]:
    """Variables by RVA: external and static symbols of sections that hold no code.

    Symbols have no sizes: what lies behind one is its, up to the next. Of read-only data only
    external ones are taken: strings have no symbols, and one before them says nothing of them.
    """
    table = pe.coff_symbols()
    if table is None:
        return []
    offset, count, strings = table
    found = []
    sections = pe.sections
    skip = 0
    for number in range(min(count, _MAX_SYMBOLS)):
        if skip:
            skip -= 1
            continue
        row = bytes(pe.buffer[offset + number * SYMBOL_SIZE : offset + (number + 1) * SYMBOL_SIZE])
        if len(row) < SYMBOL_SIZE:
            break
        skip = row[17]
        value = int.from_bytes(row[8:12], "little")
        section = int.from_bytes(row[12:14], "little", signed=True)
        storage = row[16]
        # A static symbol with a record behind it is the mark of an object file's piece.
        if storage not in (2, 3) or not 0 < section <= len(sections) or (storage == 3 and skip):
            continue
        place = sections[section - 1]
        if place.executable or not place.writable:
            continue
        found.append((place.rva + value, _name(pe, row, strings)))
    return found


def _name(pe: Pe, row: bytes, strings: int) -> str:
    if row[:4] != b"\0\0\0\0":
        return row[:8].rstrip(b"\0").decode("latin-1")
    at = strings + int.from_bytes(row[4:8], "little")
    return bytes(pe.buffer[at : at + 256]).partition(b"\0")[0].decode("latin-1")
