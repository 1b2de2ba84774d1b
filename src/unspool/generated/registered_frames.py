"""Unwind tables that libgcc was told of: the arguments of `__register_frame`, which it keeps.

Its variables have no names in a stripped library, so each word of them is tried for what it may
point at. Until GCC 12 that is a list of `struct object` (unwind-dw2-fde.h), in two parts: objects
that no search has seen yet, and those whose FDEs were sorted when an exception was thrown. Since
GCC 13 it is a B-tree of them (unwind-dw2-btree.h).
"""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from unspool.generated.code import Process

_LIBRARY = "libgcc_s"
# The library has three hundred bytes of variables.
_MAX_VARIABLES = 64 << 10
_MAX_OBJECTS = 100_000
_MAX_ARRAY = 4096
_MAX_HEIGHT = 12
_MAX_WORDS = 4_000_000

# struct object: pc_begin, tbase, dbase, u, s, next. Of `s` the lowest bits.
_OBJECT = {4: Struct("<6I"), 8: Struct("<6Q")}
_SORTED, _FROM_ARRAY = 1, 2
# struct btree_node: version lock, entry count, type; then 15 pairs (separator, child) or 10 triples
# (base, size, object).
_NODE = {4: Struct("<III"), 8: Struct("<QII")}
_INNER, _LEAF = 0, 1
_MOST = {_INNER: (15, 2, 1), _LEAF: (10, 3, 2)}


def registered_tables(process: Process, read: list[tuple[int, int]]) -> Iterator[int]:
    """Addresses of tables, each once. What is there may be no table: whoever asks must look.

    Where libgcc has kept them, as (start, end), is appended to `read`.
    """
    word = process.space.arch.pointer_size
    reader = _Reader(process, read)
    space = process.space
    for variable in _variables(process, read):
        # Objects are on the heap; what points into a module is none.
        if variable % word == 0 and space.memory.region(variable) and not space.module_at(variable):
            yield from reader.list_at(variable)
            yield from reader.tree_at(variable)


def _variables(process: Process, read: list[tuple[int, int]]) -> Iterator[int]:
    """The words of the library's writable memory."""
    word = process.space.arch.pointer_size
    for module in process.space.modules:
        if not module.name.startswith(_LIBRARY):
            continue
        for region in process.space.memory.regions:
            if region.writable and module.base <= region.start < module.end:
                size = min(region.end - region.start, _MAX_VARIABLES)
                data = process.now.read_available(region.start, size)
                read.append((region.start, region.start + len(data)))
                for at in range(0, len(data) - word + 1, word):
                    yield int.from_bytes(data[at : at + word], "little")


class _Reader:
    def __init__(self, process: Process, read: list[tuple[int, int]]) -> None:
        self.read = read
        self.room = _MAX_WORDS
        self.space = process.space
        self.memory = process.now
        self.word = process.space.arch.pointer_size
        self.seen: set[int] = set()
        self.tables: set[int] = set()

    def list_at(self, address: int) -> Iterator[int]:
        """Tables of a list of objects."""
        while address and len(self.seen) < _MAX_OBJECTS and address not in self.seen:
            self.seen.add(address)
            fields = self._object(address)
            if fields is None:
                return
            yield from self._new(fields[3], fields[4])
            address = fields[5]

    def tree_at(self, address: int, height: int = 0) -> Iterator[int]:
        """Tables of a tree of objects."""
        layout = _NODE[self.word]
        data = self._bytes(address, layout.size)
        if len(data) < layout.size or height > _MAX_HEIGHT:
            return
        _lock, count, kind = layout.unpack(data)
        most, width, which = _MOST.get(kind, (0, 0, 0))
        if not 0 < count <= most or len(self.seen) >= _MAX_OBJECTS:
            return
        self.seen.add(-address)
        for pointer in self._words(address + layout.size, count * width)[which::width]:
            if kind == _LEAF:
                fields = self._object(pointer)
                if fields is not None:
                    yield from self._new(fields[3], fields[4])
            elif -pointer not in self.seen:
                yield from self.tree_at(pointer, height + 1)

    def _object(self, address: int) -> tuple[int, ...] | None:
        layout = _OBJECT[self.word]
        data = self._bytes(address, layout.size)
        if len(data) < layout.size:
            return None
        fields = layout.unpack(data)
        return fields if fields[3] else None

    def _new(self, place: int, flags: int) -> Iterator[int]:
        """The tables of an object that were not found before."""
        if flags & _SORTED:
            place = self._words(place, 1)[0] if self._words(place, 1) else 0
        found = [place]
        if flags & _FROM_ARRAY:
            found = []
            for each in self._words(place, _MAX_ARRAY):
                if not each:
                    break
                found.append(each)
        for each in found:
            if len(self.tables) >= _MAX_OBJECTS:
                return
            if each not in self.tables and self.space.memory.region(each):
                self.tables.add(each)
                yield each

    def _words(self, address: int, count: int) -> list[int]:
        self.room -= count
        data = self._bytes(address, count * self.word) if self.room > 0 else b""
        return [
            int.from_bytes(data[at : at + self.word], "little")
            for at in range(0, len(data) - self.word + 1, self.word)
        ]

    def _bytes(self, address: int, size: int) -> bytes:
        data = self.memory.read_available(address, size)
        if data:
            self.read.append((address, address + len(data)))
        return data
