"""Which methods a place in compiled code belongs to: the method itself, and calls put in place.

`PcDesc` and `ScopeDesc` of OpenJDK: a table by offset in the code, that leads into packed
descriptions, each of which leads to the one of its caller.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.generated.hotspot.packed import Packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.hotspot.blobs import Blob
    from unspool.generated.hotspot.tables import VmTables

_WORD = 8
_MOST_DEPTH = 256
_ALL_DEPTHS = 1 << 19  # for one process: descriptions that lie cost no more
_MOST_PCS = 1 << 18  # entries of one method
_PACKED = 3 * 5  # bytes of the numbers at the start of a description
_BEFORE_CODE = -1  # InvocationEntryBci: the method's entry


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
        was stopped any: that is described by the next place that has a description, as the JVM
        itself does it for samples.
        """
        compiled = blob.compiled
        if compiled is None or not compiled.scopes or not compiled.pcs:
            return []
        offset = self._described(compiled.pcs, compiled.pcs_end, pc - blob.begin)
        found: list[tuple[int, int]] = []
        reader = self.tables.reader
        while offset and len(found) < _MOST_DEPTH:
            self.room -= 1
            if self.room < 0:
                raise FormatError("absurdly many descriptions", "HotSpot's debug information")
            packed = Packed(reader.read(compiled.scopes + offset, _PACKED), self.excluded)
            sender = packed.unsigned()
            index = packed.unsigned()
            bci = packed.unsigned() + _BEFORE_CODE
            method = reader.pointer(compiled.metadata + _WORD * (index - 1)) if index else 0
            found.append((method, bci))
            if sender >= offset and sender:
                # A caller's description is written before that of what it calls.
                raise FormatError("descriptions lead in a circle", "HotSpot's debug information")
            offset = sender
        return found

    def _described(self, low: int, high: int, offset: int) -> int:
        """The description of the first place from an offset on; 0 if there is none."""
        reader, size = self.tables.reader, self._size
        count = (high - low) // size
        if not 0 < count <= _MOST_PCS:
            return 0
        first, last = 0, count
        while first < last:
            middle = (first + last) // 2
            if reader.signed(low + middle * size + self._pc, 4) < offset:
                first = middle + 1
            else:
                last = middle
        if first == count:
            return 0
        return max(reader.signed(low + first * size + self._scope, 4), 0)
