"""Code that a program has told GDB of: ELF objects in its memory, by GDB's JIT interface.

LLVM (MCJIT, ORC), Wasmtime, V8, .NET and others keep a list of such objects, each with symbols,
unwind data and lines of the code that they made. Any module may have a list of its own. What is
read of an object at first is where its code lies, since there may be ten thousand of them; the
rest when a frame is in that code.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError
from unspool.formats.cfi import CfiSection
from unspool.formats.elf import SHF_ALLOC, Elf
from unspool.formats.elf_placed import SHF_EXECINSTR, Header, placed
from unspool.formats.jit_interface import (
    DESCRIPTOR_NAME,
    descriptor_size,
    entry_size,
    first_entry,
    parse_entry,
)
from unspool.generated.code import GENERATED_KINDS, GeneratedModule
from unspool.image import Image
from unspool.memory import Fault
from unspool.model import Finding, Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.arch.base import Arch
    from unspool.cursor import Buffer
    from unspool.formats.exidx import ExidxTable
    from unspool.formats.jit_interface import JitEntry
    from unspool.generated.code import Process
    from unspool.memory import Memory
    from unspool.space import AddressSpace

NAME = "[jit]"

_MAX_OBJECTS = 100_000
# With DWARF an object has some hundred kilobytes; one that holds a whole program's code more.
_MAX_OBJECT = 64 << 20
# A larger object is not for a minidump, nor is one large read (`write.selection`).
_MAX_KEPT, _PIECE = 4 << 20, 64 << 10
# Sections of one object that lie this close are one module.
_CLOSE = 4096
# FDEs of a table that are looked at to see whether it is of this code.
_SAMPLE = 64


def find(process: Process) -> list[GeneratedModule]:
    """A module for each range of code of each object in each list."""
    found: list[GeneratedModule] = []
    taken = _Ranges()
    read: list[tuple[int, int]] = []
    for entry in _entries(process, read):
        try:
            ranges = _code_of(process, entry)
        except FormatError:
            continue  # freed, or overwritten: the others are no worse for it
        for low, high in ranges:
            if _completed(process, entry, low):
                continue
            if taken.take(low, high):
                # The list is for all of them, and is the first one's.
                found.append(_module(process, entry, low, high, [] if found else read))
    return found


def _completed(process: Process, entry: JitEntry, low: int) -> bool:
    """Whether another finder knows the code; its names may lack files and lines."""
    module = process.space.module_at(low)
    for each in process.known if module is not None else ():
        if each.module is module:
            each.elf = each.elf or _object(process, entry, low).elf
    return module is not None


def _object(process: Process, entry: JitEntry, low: int) -> JitObject:
    return JitObject(process.now, process.space.arch, entry.address, entry.size, low)


def _module(
    process: Process, entry: JitEntry, low: int, high: int, read: list[tuple[int, int]]
) -> GeneratedModule:
    jit_object = _object(process, entry, low)
    module = Module(0, NAME, low, high, kind="jit", bias=0, code_base=low, code_end=high)
    return GeneratedModule(
        module, image=ObjectImage(process.now, jit_object), elf=jit_object.elf, runtime=jit_object,
        tables=lambda: [(entry.address, entry.address + entry.size), *read],
    )  # fmt: skip


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
            if section.name == ".ARM.exidx" and section.address and section.size <= _MAX_OBJECT:
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
                if section.size <= _MAX_OBJECT:
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


# --- the lists ---------------------------------------------------------------------------


def _entries(process: Process, read: list[tuple[int, int]]) -> Iterator[JitEntry]:
    """All entries of all lists, newest first: of each as many as make a chain.

    Where the lists are, as (start, end), is appended to `read`.
    """
    seen: set[int] = set()
    for module, address in _descriptors(process):
        try:
            yield from _chain(process, address, seen, read)
        except (FormatError, Fault) as error:
            title = f"the list of {module.name}'s JIT objects breaks off after {len(seen)}: {error}"
            process.findings.append(Finding("generated_code", title))


def _chain(
    process: Process, descriptor: int, seen: set[int], read: list[tuple[int, int]]
) -> Iterator[JitEntry]:
    """The entries of one list. Raises `FormatError` and `Fault` where it is broken."""
    memory, word = process.now, process.space.arch.pointer_size
    size = descriptor_size(word)
    data = memory.read_available(descriptor, size)
    if len(data) < size:
        return  # of a dump without the program's variables
    following = first_entry(data, word)
    read.append((descriptor, descriptor + size))
    alignment = 4 if process.space.arch.name == "i386" else 8
    size = entry_size(word, alignment)
    while following:
        if following in seen:
            raise FormatError("entry", f"0x{following:x} is there twice")
        if len(seen) >= _MAX_OBJECTS:
            raise FormatError("entries", f"more than {_MAX_OBJECTS:,}")
        seen.add(following)
        entry = parse_entry(memory.read(following, size), word, alignment)
        read.append((following, following + size))
        yield entry
        following = entry.following


def _descriptors(process: Process) -> Iterator[tuple[Module, int]]:
    seen = set()
    for module in process.space.modules:
        if module.kind != "elf":
            continue
        address = process.symbol(module, DESCRIPTOR_NAME)
        if address is not None and address not in seen:
            seen.add(address)
            yield module, address


def _code_of(process: Process, entry: JitEntry) -> list[tuple[int, int]]:
    """Where an object's code lies, as far as that is code of no module. Raises `FormatError`."""
    if not Header.SIZE <= entry.size <= _MAX_OBJECT:
        raise FormatError("JIT object", f"{entry.size} bytes")
    memory, arch = process.now, process.space.arch
    header = Header(memory.peek(entry.address, Header.SIZE))
    if header.machine != arch.machine or header.table + header.table_size > entry.size:
        raise FormatError("JIT object", "of another CPU, or cut short")
    table = memory.peek(entry.address + header.table, header.table_size)
    ranges: list[tuple[int, int]] = []
    for low, high in sorted(header.code(table)):
        clipped = _inside(process.space, low, high)
        if clipped is None:
            continue
        if ranges and clipped[0] - ranges[-1][1] <= _CLOSE:
            ranges[-1] = ranges[-1][0], max(ranges[-1][1], clipped[1])
        else:
            ranges.append(clipped)
    return ranges


def _inside(space: AddressSpace, low: int, high: int) -> tuple[int, int] | None:
    """The part of a section that is in one mapping of code, if that is no file's."""
    region = space.memory.region(low)
    module = space.module_at(low)
    if region is None or not region.executable:
        return None
    if module is not None and module.kind not in GENERATED_KINDS:
        return None
    end = max(region.end, region.mapping[1])
    return low, min(high, end)


class _Ranges:
    """Ranges that do not overlap; who comes first is believed."""

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []

    def take(self, low: int, high: int) -> bool:
        at = bisect_right(self._lows, low)
        if (at and self._highs[at - 1] > low) or (at < len(self._lows) and self._lows[at] < high):
            return False
        self._lows.insert(at, low)
        self._highs.insert(at, high)
        return True
