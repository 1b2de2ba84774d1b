"""Code that a program has told GDB of: ELF objects in its memory, by GDB's JIT interface.

LLVM (MCJIT, ORC), PHP, Wasmtime and others keep a list of such objects, each with symbols,
unwind data and lines of the code that they made. Any module may have a list of its own. What is
read of an object at first is where its code lies, since there may be ten thousand of them; the
rest when a frame is in that code.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError
from unspool.formats.elf_placed import Header
from unspool.formats.jit_interface import (
    DESCRIPTOR_NAME,
    descriptor_size,
    entry_size,
    first_entry,
    parse_entry,
)
from unspool.generated.code import GENERATED_KINDS, GeneratedModule
from unspool.generated.jit_object import MAX_OBJECT, JitObject, ObjectImage
from unspool.memory import Fault
from unspool.model import Finding, Module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.formats.jit_interface import JitEntry
    from unspool.generated.code import Process
    from unspool.space import AddressSpace

NAME = "[jit]"

# Ten thousand objects have twenty sections each, if they have DWARF. A million take a second.
_MAX_OBJECTS = 100_000
_MAX_SECTIONS = 1_000_000
_BLANK = b"\xed\xac\xef\x0d"  # as `write.sanitize` and Breakpad blank words
# Sections of one object that lie this close are one module.
_CLOSE = 4096


def find(process: Process) -> list[GeneratedModule]:
    """A module for each range of code of each object in each list."""
    found: list[GeneratedModule] = []
    taken = _Ranges()
    read: list[tuple[int, int]] = []
    objects: set[int] = set()
    room = _MAX_SECTIONS
    for entry in _entries(process, read):
        if entry.address in objects:
            continue
        objects.add(entry.address)
        try:
            header = _header(process, entry)
            room -= header.count
            if room < 0:
                title = (
                    f"absurdly many sections in JIT objects: of more than {len(objects)} no more"
                )
                process.findings.append(Finding("generated_code", title))
                break
            ranges = _code_of(process, entry, header)
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
        module, image=ObjectImage(process.now, jit_object), elf=jit_object.elf,
        tables=lambda: [(entry.address, entry.address + entry.size), *read],
    )  # fmt: skip


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
    if data[:4] == _BLANK:
        return  # of a sanitized one
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


def _header(process: Process, entry: JitEntry) -> Header:
    """An object's header. Raises `FormatError` if it is none of this CPU's."""
    if not Header.SIZE <= entry.size <= MAX_OBJECT:
        raise FormatError("JIT object", f"{entry.size} bytes")
    header = Header(process.now.peek(entry.address, Header.SIZE))
    if (
        header.machine != process.space.arch.machine
        or header.table + header.table_size > entry.size
    ):
        raise FormatError("JIT object", "of another CPU, or cut short")
    return header


def _code_of(process: Process, entry: JitEntry, header: Header) -> list[tuple[int, int]]:
    """Where an object's code lies, as far as that is code of no file."""
    table = process.now.peek(entry.address + header.table, header.table_size)
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
