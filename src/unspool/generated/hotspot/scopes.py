"""Which methods a place in compiled code belongs to: the method itself, and calls put in place.

`PcDesc` and `ScopeDesc` of OpenJDK: a table by offset in the code, that leads into packed
descriptions, each of which leads to the one of its caller.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.generated.hotspot.packed import Packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.hotspot.blobs import Blob, Compiled
    from unspool.generated.hotspot.tables import VmTables

_WORD = 8
_MOST_DEPTH = 256
_ALL_DEPTHS = 1 << 19  # for one process: descriptions that lie cost no more
_MOST_PCS = 1 << 18  # entries of one method
_PACKED = 3 * 5  # bytes of the numbers at the start of a description
_BEFORE_CODE = -1  # InvocationEntryBci: the method's entry
_BEFORE_RETURN = 1  # byte: where a call is looked up, by which no other instruction can be meant


class Scopes:
    """Reads descriptions of compiled code."""

    def __init__(self, tables: VmTables, excluded: int) -> None:
        self.tables = tables
        self.excluded = excluded
        self.room = _ALL_DEPTHS
        self._size = tables.size("PcDesc")
        self._pc = tables.offset("PcDesc._pc_offset")
        self._scope = tables.offset("PcDesc._scope_decode_offset")

    def at(self, blob: Blob, pc: int) -> list[tuple[int, int]]:
        """(method, index of a bytecode or -1), innermost first; empty if nothing is said.

        `pc` is as it is looked up: of a call an address within its instruction, and of code that
        was stopped any. What lies between two described places is of what both have in common,
        and where they part, of the next one, as the JVM has it for samples. The calls that were
        put in place further in are those of one of the two, and nobody knows which: a fault in
        the method `poke` of JDK 25, just before the described place of a call that `poke` has in
        its own place, would be shown in the call.
        """
        compiled = blob.compiled
        if compiled is None or not compiled.scopes or not compiled.pcs:
            return []
        offset = pc - blob.begin
        index, place = self._next(compiled.pcs, compiled.pcs_end, offset)
        if index is None:
            return []
        chain = self._chain(compiled, index)
        if place - offset <= _BEFORE_RETURN or index == 0:
            return chain
        return _common(self._chain(compiled, index - 1), chain)

    def _chain(self, compiled: Compiled, index: int) -> list[tuple[int, int]]:
        """What is said of a described place, by its number."""
        found: list[tuple[int, int]] = []
        reader = self.tables.reader
        offset = max(reader.signed(compiled.pcs + index * self._size + self._scope, 4), 0)
        while offset and len(found) < _MOST_DEPTH:
            self.room -= 1
            if self.room < 0:
                raise FormatError("absurdly many descriptions", "HotSpot's debug information")
            packed = Packed(reader.read(compiled.scopes + offset, _PACKED), self.excluded)
            sender = packed.unsigned()
            number = packed.unsigned()
            bci = packed.unsigned() + _BEFORE_CODE
            method = reader.pointer(compiled.metadata + _WORD * (number - 1)) if number else 0
            found.append((method, bci))
            if sender >= offset and sender:
                # A caller's description is written before that of what it calls.
                raise FormatError("descriptions lead in a circle", "HotSpot's debug information")
            offset = sender
        return found

    def _next(self, low: int, high: int, offset: int) -> tuple[int | None, int]:
        """The first described place from an offset on: its number, None without any; its offset."""
        reader, size = self.tables.reader, self._size
        count = (high - low) // size
        if not 0 < count <= _MOST_PCS:
            return None, 0
        first, last = 0, count
        while first < last:
            middle = (first + last) // 2
            if reader.signed(low + middle * size + self._pc, 4) < offset:
                first = middle + 1
            else:
                last = middle
        if first == count:
            return None, 0
        return first, reader.signed(low + first * size + self._pc, 4)


def _common(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The callers that two descriptions share, and the method that both are in, innermost first."""
    shared = 0
    while shared < min(len(before), len(after)) and before[-1 - shared] == after[-1 - shared]:
        shared += 1
    if shared < min(len(before), len(after)) and before[-1 - shared][0] == after[-1 - shared][0]:
        shared += 1
    return after[len(after) - shared :]
