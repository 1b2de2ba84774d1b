"""An ELF object that a program keeps for debuggers: its symbols and the unwind data of its code."""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.cfi import CfiSection
from unspool.formats.elf import SHF_ALLOC, Elf
from unspool.formats.elf_placed import SHF_EXECINSTR, placed
from unspool.image import Image
from unspool.memory import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.arch.base import Arch
    from unspool.cursor import Buffer
    from unspool.formats.exidx import ExidxTable
    from unspool.memory import Memory

# With DWARF an object has some hundred kilobytes; one that holds a whole program's code more.
MAX_OBJECT = 64 << 20
# A larger object is not for a minidump, nor is one large read (`write.selection`).
_MAX_KEPT, _PIECE = 4 << 20, 64 << 10
# FDEs of a table that are looked at to see whether it is of this code.
_SAMPLE = 64


class JitObject:
    """An ELF object in the process's memory, read and placed when it is first asked for.

    `base` is where its code begins, or one of several parts of it.
    """

    __slots__ = ("_arch", "_elf", "_memory", "_read", "address", "base", "size")

    def __init__(self, memory: Memory, arch: Arch, address: int, size: int, base: int) -> None:
        self.address = address
        self.size = size
        self.base = base
        self._memory = memory
        self._arch = arch
        self._elf: Elf | None = None
        self._read = False

    def elf(self) -> Elf | None:
        """The object as a file, with addresses of the process; None if it cannot be had."""
        if not self._read:
            self._read = True
            try:
                elf = Elf(placed(self._data(), self.base))
            except (FormatError, Fault):
                return None
            if elf.machine == self._arch.machine:
                self._elf = elf
        return self._elf

    def original(self) -> Elf | None:
        """The object as the program holds it, nothing relocated."""
        try:
            return Elf(self._data())
        except (FormatError, Fault):
            return None

    def _data(self) -> bytes:
        """The object's bytes. They are read in pieces, so that a minidump keeps them all."""
        read, end = self._memory.read, self.address + self.size
        step = _PIECE if self.size <= _MAX_KEPT else self.size
        return b"".join(read(at, min(step, end - at)) for at in range(self.address, end, step))


class ObjectImage(Image):
    """Unwind data of an object: of several copies that there may be, the one that fits its code.

    The copy that a debugger is shown is not always relocated, and not always to be relocated:
    LLVM leaves that to the debugger, others have done it. In memory, where the section's
    address says, is the one that the program itself unwinds by.
    """

    def __init__(self, memory: Memory, jit_object: JitObject) -> None:
        super().__init__(memory, 0)
        self._object = jit_object

    def eh_frame(self) -> tuple[None, CfiSection | None]:
        if self._eh_frame is None:
            self.file = self.elf = self._object.elf()
            self._eh_frame = (None, self._fitting())
        return None, self._eh_frame[1]

    def exidx(self) -> ExidxTable | None:
        self.eh_frame()
        if self.elf is None:
            return None
        return super().exidx() or self._exidx_section(self.elf)

    def _exidx_section(self, elf: Elf) -> ExidxTable | None:
        """The exception index of an object that has no segments, as it lies in memory."""
        from unspool.formats.exidx import ExidxTable

        for section in elf.sections():
            if section.name == ".ARM.exidx" and section.address and section.size <= MAX_OBJECT:
                data = self.memory.read_available(section.address, section.size)
                return ExidxTable(data, 0, len(data), section.address)
        return None

    def debug_frames(self) -> list[CfiSection]:
        self.eh_frame()
        return super().debug_frames()

    def _fitting(self) -> CfiSection | None:
        if self.elf is None:
            return None
        code = code_sections(self.elf)
        for section in self._copies(self.elf, code[0][0] if code else 0):
            if fits(section, code):
                return section
        self.problems.append("no unwind data that fit its code")
        return None

    def _copies(self, elf: Elf, text: int) -> Iterator[CfiSection]:
        for each in (elf, self._object.original()):
            section = each.section(".eh_frame") if each is not None else None
            if each is not None and section is not None:
                try:
                    buffer, start, end = each.section_data(section)
                except FormatError:
                    continue
                yield self._table(buffer, start, end, section.address, text)
        for section in elf.sections():
            if section.name == ".eh_frame" and section.address and section.flags & SHF_ALLOC:
                if section.size <= MAX_OBJECT:
                    data = self.memory.read_available(section.address, section.size)
                    yield self._table(data, 0, len(data), section.address, text)
                return

    def _table(self, data: Buffer, start: int, end: int, address: int, text: int) -> CfiSection:
        assert self.elf is not None
        # LuaJIT's addresses are relative to the code.
        return CfiSection(
            data, start, end, address,
            is_eh=True, address_size=self.elf.address_size, text_base=text,
        )  # fmt: skip


def code_sections(elf: Elf) -> list[tuple[int, int]]:
    """(low, high) of the sections of code that have an address."""
    return [
        (section.address, section.address + section.size)
        for section in elf.sections()
        if section.flags & SHF_EXECINSTR and section.address and section.size
    ]


def fits(section: CfiSection, code: Sequence[tuple[int, int]]) -> bool:
    """Whether the first FDEs are all of this code, and there are any."""
    from itertools import islice

    from unspool.formats.cfi_index import fdes

    try:
        found = [section.fde_at(offset) for offset, *_ in islice(fdes(section), _SAMPLE)]
    except FormatError:
        return False
    return bool(found) and all(
        fde is not None and any(low <= fde.start and fde.end <= high for low, high in code)
        for fde in found
    )
