"""One ELF symbol table and the question it answers: which function is at an address?

Reading a table costs one sort: its columns are sliced out of the raw bytes by `memoryview`,
so that no Python code runs for a symbol that nobody asks for, and names are decoded only
of symbols that are an answer. Hosts are little-endian, as all targets are.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import compress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.cursor import Buffer
    from unspool.formats.elf import Section

SHN_UNDEF, SHN_LORESERVE, SHN_ABS = 0, 0xFF00, 0xFFF1
STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC = 0, 2, 10
STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE = 0, 1, 2, 10

# Selects symbols by their info byte: functions, and what assembly leaves without a type.
# Objects, sections, files and thread-local variables are no code.
_CODE = bytes(info & 15 in (STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC) for info in range(256))
_CODE_SECTION = 4  # SHF_EXECINSTR
_BINDING_RANK = {STB_GLOBAL: 0, STB_GNU_UNIQUE: 0, STB_WEAK: 1, STB_LOCAL: 2}

_MAX_SYMBOLS = 20_000_000
_MAX_NAME = 4096
# Symbols that start before an address and are looked at for one that covers it.
_MAX_STEPS = 256
# Almost every address is in one of the last few.
_NEAR = 8


class Symbol:
    """A function: its name as the linker knows it, start (file address) and size, maybe 0."""

    __slots__ = ("name", "size", "start")

    def __init__(self, name: str, start: int, size: int) -> None:
        self.name = name
        self.start = start
        self.size = size


class SymbolTable:
    """A symbol table in `buffer[start:end]`, with names in `names` (buffer, start, end).

    `sections` are those that symbols refer to; empty if not known. `machine` is the file's
    e_machine.
    """

    def __init__(
        self,
        buffer: Buffer,
        start: int,
        end: int,
        names: tuple[Buffer, int, int],
        elf_class: int,
        sections: Sequence[Section] = (),
        *,
        machine: int = 0,
    ) -> None:
        entry = 24 if elf_class == 2 else 16
        self._count = min((min(end, len(buffer)) - start) // entry, _MAX_SYMBOLS)
        self._raw = bytes(buffer[start : start + self._count * entry])
        self._is_64 = elf_class == 2
        self._names = names
        self._sections = sections
        # A 32-bit Arm function's symbol has bit 0 set if the function is T32 code (ELF for the
        # Arm Architecture, 5.5.3).
        self._is_arm = machine == 40
        self._order: list[int] | None = None
        self._values: list[int] = []
        self._sizes: list[int] = []
        self._reaches: list[int] = []

    def __len__(self) -> int:
        return self._count

    def lookup(self, address: int) -> Symbol | None:
        """The symbol whose range contains `address`; of nested ones that which starts last.

        Failing that, the nearest one before it if it has no size: hand-written assembly
        often gives none, and it is believed to reach to the next symbol or the end of its
        section. Not past the end of a function that it lies in, though: that is padding.
        """
        if self._order is None:
            self._order = self._sort()
        values = self._values
        position = bisect_right(self._order, address, key=values.__getitem__)
        covering = self._covering(address, position)
        if covering:
            return self._best(covering)
        labels = self._labels(address, position)
        return self._best(labels) if labels else None

    def address_of(self, name: str) -> int | None:
        """The file address of the defined symbol of that very name."""
        buffer, start, end = self._names
        data = bytes(buffer[start:end])
        wanted = name.encode()
        at = data.find(b"\0" + wanted + b"\0")
        if at < 0:
            return None
        step = 24 if self._is_64 else 16
        names = memoryview(self._raw).cast("I")[0 :: step // 4].tolist()
        while at >= 0:
            for index, offset in enumerate(names):
                if offset == at + 1 and self._section_index(index) != SHN_UNDEF:
                    value = index * step + (8 if self._is_64 else 4)
                    return int.from_bytes(
                        self._raw[value : value + (8 if self._is_64 else 4)], "little"
                    )
            at = data.find(b"\0" + wanted + b"\0", at + 1)
        return None

    def addresses_of(self, prefix: str, limit: int) -> dict[str, int]:
        """The file addresses of the defined symbols, `limit` at most, whose names begin so."""
        buffer, start, end = self._names
        data = bytes(buffer[start:end])
        wanted = b"\0" + prefix.encode()
        found: dict[int, str] = {}
        at = data.find(wanted)
        while at >= 0 and len(found) < limit:
            name = data[at + 1 : at + 1 + _MAX_NAME].partition(b"\0")[0]
            found[at + 1] = name.decode("utf-8", "replace")
            at = data.find(wanted, at + 1)
        if not found:
            return {}
        step, width = (24, 8) if self._is_64 else (16, 4)
        names = memoryview(self._raw).cast("I")[0 :: step // 4].tolist()
        addresses: dict[str, int] = {}
        for index, offset in enumerate(names):
            if offset in found and self._section_index(index) != SHN_UNDEF:
                value = index * step + width
                address = int.from_bytes(self._raw[value : value + width], "little")
                addresses.setdefault(found[offset], address)
        return addresses

    def functions(self) -> Iterator[tuple[str, int, int, int, int]]:
        """Every symbol of code as (name, file address, size, section's index, type), by address.

        The size may be 0. Symbols of Arm assemblers that mark code and data are none.
        """
        if self._order is None:
            self._order = self._sort()
        for index in self._order:
            if self._is_function(index):
                yield (
                    self._raw_name(index).decode("utf-8", "replace"), self._values[index],
                    self._sizes[index], self._section_index(index), self._info(index) & 15,
                )  # fmt: skip

    def _covering(self, address: int, position: int) -> list[int]:
        """Of the symbols that cover `address`, those that start last; all have one value."""
        order, values, sizes = self._order, self._values, self._sizes
        assert order is not None
        found: list[int] = []
        for at in range(position - 1, max(0, position - _MAX_STEPS) - 1, -1):
            index = order[at]
            value = values[index]
            if found and value != values[found[0]]:
                break
            if address - value < sizes[index]:
                if self._is_function(index):
                    found.append(index)
            elif position - at > _NEAR and self._reach()[at] <= address:
                break
        return found

    def _labels(self, address: int, position: int) -> list[int]:
        """The nearest symbols before `address`, if they have no size and may reach to it."""
        order, values = self._order, self._values
        assert order is not None
        found: list[int] = []
        nearest = -1
        for at in range(position - 1, max(0, position - _MAX_STEPS) - 1, -1):
            index = order[at]
            value = values[index]
            if nearest >= 0 and value != nearest:
                break
            if self._is_function(index):
                nearest = value
                if self._sizes[index] == 0 and self._same_section(index, address):
                    found.append(index)
        return found if found and self._reach()[position - 1] <= nearest else []

    def _sort(self) -> list[int]:
        """Indices of code symbols by value; fills the columns."""
        raw = self._raw
        if self._is_64:
            words = memoryview(raw).cast("Q")
            self._values, self._sizes = words[1::3].tolist(), words[2::3].tolist()
            info = raw[4::24]
        else:
            words = memoryview(raw).cast("I")
            self._values, self._sizes = words[1::4].tolist(), words[2::4].tolist()
            if self._is_arm:
                self._values = [value & ~1 for value in self._values]
            info = raw[12::16]
        chosen = compress(range(self._count), info.translate(_CODE))
        return sorted(chosen, key=self._values.__getitem__)

    def _reach(self) -> list[int]:
        """For every place in the order, the furthest end of the sized symbols up to it.

        It costs as much as the sort, and only addresses without a name need it.
        """
        if not self._reaches and self._order:
            values, sizes, reaches = self._values, self._sizes, self._reaches
            furthest = 0
            for at in self._order:
                size = sizes[at]
                if size and values[at] + size > furthest:
                    furthest = values[at] + size
                reaches.append(furthest)
        return self._reaches

    def _is_function(self, index: int) -> bool:
        section = self._section_index(index)
        if section == SHN_UNDEF:
            # With a value it is the address of a PLT entry in a program that is not
            # position-independent (gABI, "Symbol Values"): not the function itself.
            return False
        name = self._raw_name(index)
        if self._info(index) & 15 != STT_NOTYPE:
            return bool(name)
        if section == SHN_ABS:
            return False
        # "$x", "$d.12", "$t": marks of Arm assemblers for code and data (ELF for the Arm
        # Architecture, 5.5.5; for the 64-bit one, 5.7); ".L12": labels that an assembler should
        # have dropped.
        return name[:1] not in (b"", b"$") and name[:2] != b".L"

    def _same_section(self, index: int, address: int) -> bool:
        number = self._section_index(index)
        if number >= min(SHN_LORESERVE, len(self._sections)):
            return True
        section = self._sections[number]
        # A label among data is no function, even where a wild call has led.
        return bool(section.flags & _CODE_SECTION) and (
            0 <= address - section.address < section.size
        )

    def _best(self, indices: list[int]) -> Symbol:
        """The best of several names of one address.

        Global before weak before local, as elfutils does; then the one with fewer leading
        underscores (`malloc`, not `__libc_malloc`), then the first in the table. glibc's
        hidden aliases for its own calls (`__GI_raise`) come last.
        """
        index = min(indices, key=self._rank)
        name = self._raw_name(index).decode("utf-8", "replace")
        # In .symtab an exported name carries its version: memcpy@@GLIBC_2.14.
        version = name.find("@", 1)
        return Symbol(
            name if version < 0 else name[:version], self._values[index], self._sizes[index]
        )

    def _rank(self, index: int) -> tuple[int, bool, int, int]:
        name = self._raw_name(index)
        binding = _BINDING_RANK.get(self._info(index) >> 4, 3)
        underscores = len(name) - len(name.lstrip(b"_"))
        return binding, name.startswith(b"__GI_"), underscores, index

    def _info(self, index: int) -> int:
        return self._raw[index * 24 + 4 if self._is_64 else index * 16 + 12]

    def _section_index(self, index: int) -> int:
        at = index * 24 + 6 if self._is_64 else index * 16 + 14
        return int.from_bytes(self._raw[at : at + 2], "little")

    def _raw_name(self, index: int) -> bytes:
        """The name's bytes, at most 4096 of them; empty if it lies outside of the table."""
        at = index * (24 if self._is_64 else 16)
        buffer, start, end = self._names
        first = start + int.from_bytes(self._raw[at : at + 4], "little")
        if first >= end:
            return b""
        raw = bytes(buffer[first : min(first + _MAX_NAME, end)])
        length = raw.find(b"\0")
        return raw if length < 0 else raw[:length]
