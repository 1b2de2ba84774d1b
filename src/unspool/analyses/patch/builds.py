"""Which functions differ between two builds of one file?

Code that has only moved is the same code: its jumps and references have other numbers in them,
and lead to the same names. Instructions are therefore compared with their targets by name, which
takes the decoder of iced-x86. What stands for nothing known is different: too many functions
rather than too few. Without the decoder, and for other CPUs, bytes alone are compared: code that
has moved differs, and code that calls another import through the same stub does not.
"""

from __future__ import annotations

from bisect import bisect_right

from unspool.analyses.patch.names import Names
from unspool.arch import x86_below
from unspool.errors import FormatError, InputError
from unspool.formats.elf import ET_EXEC, Elf
from unspool.record import Record
from unspool.symbols.elf.symbols import ElfSymbols
from unspool.symbols.functions import base_of, elf_functions, section_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Protocol

    from unspool.analyses.patch.pe_builds import PeSource
    from unspool.symbols.functions import Function

    class NamesAt(Protocol):
        """What lies at addresses, in words; `slots` are filled in by who loads the file."""

        slots: dict[int, str]
        got: int

        def at(self, address: int, used: int = 0) -> str: ...

CHANGED, ADDED, REMOVED = "changed", "added", "removed"
_X86 = {62: 64, 3: 32}


class Difference(Record):
    """A function that is not the same in both builds. `old` is None if it was added."""

    __slots__ = ("how", "name", "new", "old")

    def __init__(self, name: str, how: str, old: Function | None, new: Function | None) -> None:
        self.name = name
        self.how = how
        self.old = old
        self.new = new


class Comparison(Record):
    """All differences, by name; how many functions are the same; by which method.

    `parts` are all functions of the old build by the one that they are parts of.
    """

    __slots__ = ("differences", "exact", "old_id", "parts", "same")

    def __init__(
        self,
        differences: list[Difference],
        same: int,
        exact: bool,
        old_id: str,
        old_functions: list[Function],
    ) -> None:
        self.parts: dict[str, list[Function]] = {}
        for each in old_functions:
            self.parts.setdefault(base_of(each.name), []).append(each)
        self.differences = differences
        self.same = same
        self.exact = exact
        self.old_id = old_id


def compare(old: ElfSource | PeSource, new: ElfSource | PeSource) -> Comparison:
    """The differences from the old build to the new one.

    Raises `InputError` if they are not of one kind, if the old one has no build id to find it
    in a process by, or if one has no symbol table.
    """
    if old.kind != new.kind:
        raise InputError("--old and --new are of different CPUs or formats")
    old_id = old.id
    if old_id is None:
        raise InputError("--old has no build id", "link it with -Wl,--build-id")
    exact = old.bits != 0 and x86_below.available()
    before, after = _Build(old, exact), _Build(new, exact)
    for build, option in ((before, "--old"), (after, "--new")):
        if not build.functions:
            raise InputError(f"{option} has no symbol table", "give the file before it is stripped")
    differences: list[Difference] = []
    same = 0
    if old_id == new.id:
        return Comparison(differences, len(before.functions), exact, old_id, before.ordered)
    for name in sorted({*before.functions, *after.functions}):
        one, other = before.functions.get(name), after.functions.get(name)
        if one is None or other is None:
            how = ADDED if one is None else REMOVED
            differences.append(Difference(name[0], how, one, other))
        elif before.code(one) == after.code(other):
            same += 1
        else:
            differences.append(Difference(name[0], CHANGED, one, other))
    return Comparison(differences, same, exact, old_id, before.ordered)


def with_parts(compared: Comparison, difference: Difference) -> list[Function]:
    """The old code that a difference replaces: all parts of the function go with one of them."""
    if difference.old is None:
        return []
    parts = compared.parts.get(base_of(difference.name), ())
    return [difference.old, *(each for each in parts if each.name != difference.name)]


class ElfSource:
    """What a comparison wants of an ELF file: functions, code, names of what it refers to."""

    def __init__(self, elf: Elf) -> None:
        self.id = elf.build_id()
        self.kind = elf.machine, elf.elf_class
        self.bits = _X86.get(elf.machine, 0)
        self.absolute = elf.type == ET_EXEC or self.bits == 32
        self.sections = dict(_sections(elf))
        self.functions = [each for each in elf_functions(elf, ElfSymbols(elf)) if each.sized]
        self.names: NamesAt = Names(elf)


class _Build:
    """One file's functions, by name and number: static ones of several sources share names."""

    def __init__(self, source: ElfSource | PeSource, exact: bool) -> None:
        self.source = source
        self.exact = exact
        self.sections = source.sections
        self.functions: dict[tuple[str, int], Function] = {}
        ordered = source.functions
        for each in ordered:
            number = 0
            while (each.name, number) in self.functions:
                number += 1
            self.functions[each.name, number] = each
        self.starts = [each.start for each in ordered]
        self.ordered = ordered
        self.names = source.names

    def code(self, function: Function) -> list[object]:
        """A function's instructions in a form that does not depend on where things lie."""
        code = self.body(function)
        if not self.exact or not code:
            return [code]
        return list(self.instructions(function, code))

    def body(self, function: Function) -> bytes:
        for low, (high, code) in self.sections.items():
            if low <= function.start < high:
                return code[function.start - low : function.end - low]
        return b""

    def instructions(self, function: Function, code: bytes) -> Iterator[object]:
        from iced_x86 import Decoder, MemorySizeExt, Mnemonic

        size_of = MemorySizeExt.size
        decoder: Any = Decoder(self.source.bits, code, ip=function.start)
        absolute = self.source.absolute
        offsets = decoder.get_constant_offsets
        for each in decoder:
            at = each.ip - function.start
            raw = bytearray(code[at : at + each.len])
            place = offsets(each)
            targets: list[str] = []
            if place.has_displacement and (
                each.is_ip_rel_memory_operand
                or (absolute and self.name(each.memory_displacement, function))
            ):
                size = place.displacement_size
                raw[place.displacement_offset : place.displacement_offset + size] = bytes(size)
                # What lea takes the address of may be of any size, and so may a table.
                known = each.mnemonic != Mnemonic.LEA and not each.memory_index
                used = size_of(each.memory_size) if known else 0
                targets.append(self.name(each.memory_displacement, function, used))
            elif place.has_displacement and self.source.bits == 32:
                slot = (self.names.got + each.memory_displacement) & 0xFFFFFFFF
                targets.append(self.names.slots.get(slot, ""))
            if place.has_immediate:
                self.immediate(each, place, raw, targets, function, absolute)
            yield bytes(raw), tuple(targets)

    def immediate(
        self,
        each: Any,
        place: Any,
        raw: bytearray,
        targets: list[str],
        function: Function,
        absolute: bool,
    ) -> None:
        """Replaces a jump's distance, or an address as a number, by what it leads to."""
        to = None
        if each.is_jmp_short_or_near or each.is_jcc_short_or_near or each.is_call_near:
            to = each.near_branch_target
            if function.start <= to < function.end:
                return  # the same distance wherever the function is
        elif absolute and place.immediate_size >= 4:
            value = int.from_bytes(
                raw[place.immediate_offset : place.immediate_offset + place.immediate_size],
                "little",
            )
            to = value if self.name(value, function) else None
        if to is not None:
            size = place.immediate_size
            raw[place.immediate_offset : place.immediate_offset + size] = bytes(size)
            targets.append(self.name(to, function))

    def name(self, address: int, function: Function, used: int = 0) -> str:
        """What is at an address, whatever number that is; "" for nothing of this file."""
        if function.start <= address < function.end:
            return f".+{address - function.start}"
        at = bisect_right(self.starts, address) - 1
        if at >= 0 and address < self.ordered[at].end:
            found = self.ordered[at]
            return f"{found.name}+{address - found.start}"
        return self.names.at(address, used)


def _sections(elf: Elf) -> Iterator[tuple[int, tuple[int, bytes]]]:
    for index in range(len(elf.sections())):
        try:
            found = section_code(elf, index)
        except FormatError:
            continue
        if found is not None:
            yield found[0], (found[0] + len(found[1]), found[1])


def code_names(differences: Iterable[Difference]) -> list[str]:
    """The functions of the old build that change or go, each name once."""
    return list(dict.fromkeys(each.name for each in differences if each.old is not None))
