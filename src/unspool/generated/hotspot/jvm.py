"""A HotSpot JVM in a process: its code, the methods that the code is of, and their names."""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError
from unspool.generated.hotspot.blobs import Blobs
from unspool.generated.hotspot.heaps import CodeHeaps
from unspool.generated.hotspot.methods import Methods
from unspool.generated.hotspot.scopes import Scopes
from unspool.memory import Fault
from unspool.model import SUBJECT, Inline, Location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.hotspot.blobs import Blob
    from unspool.generated.hotspot.methods import Method
    from unspool.generated.hotspot.tables import VmTables

# From this JDK on no byte of a packed number is zero (JDK-8292758).
_NO_ZEROS = 20
_MOST_CODELETS = 4096
_MOST_DESCRIPTION = 64
_ALIGNED = 32  # CodeEntryAlignment
_MOST_KNOWN = 1 << 17
_ADDRESS = (1 << 64) - 1


class Jvm:
    """What there is to know of one libjvm.so. Raises `FormatError` and `Fault`."""

    kind = "hotspot"

    def __init__(self, tables: VmTables) -> None:
        self.tables = tables
        self.reader = tables.reader
        version = tables.maybe("Abstract_VM_Version._vm_major_version")
        self.version = 0
        if version is not None and version.address is not None:
            self.version = self.reader.signed(version.address, 4)
        excluded = 1 if self.version >= _NO_ZEROS else 0
        self.heaps = CodeHeaps(tables)
        self.blobs = Blobs(tables, self.heaps)
        self.methods = Methods(tables, excluded)
        self.scopes = Scopes(tables, excluded)
        returns = tables.field("StubRoutines._call_stub_return_address")
        self.call_stub_return = self.reader.pointer(returns.address or 0)
        self._blobs: dict[int, Blob | None] = {}
        self._codelets: tuple[list[int], list[tuple[int, str]]] | None = None

    def blob(self, pc: int) -> Blob | None:
        """The code around an address; None if there is none, or it cannot be read."""
        known = self._blobs.get(pc, self)
        if not isinstance(known, Jvm):
            return known
        try:
            blob = self.blobs.at(pc)
        except (Fault, FormatError):
            blob = None
        if len(self._blobs) >= _MOST_KNOWN:
            self._blobs.clear()
        self._blobs[pc] = blob
        return blob

    def locate(self, pc: int) -> Location | None:
        """The name of code, or of the subject of an interpreter's frame."""
        if pc >= SUBJECT:
            method = self.methods.at(pc & _ADDRESS)
            return _place(method, pc >> 64 & 0xFFFF) if method is not None else None
        blob = self.blob(pc)
        if blob is None:
            return None
        if blob.compiled is not None:
            return self._of_method(blob, pc)
        if blob.interpreter:
            start, _, name = self._codelet(pc)
            return Location(None, name, pc - start if start else None)
        if pc in (self.call_stub_return - 1, self.call_stub_return):
            return Location(None, "call_stub")
        return Location(None, blob.name, pc - blob.begin)

    def memory_read(self) -> list[tuple[int, int]]:
        """The memory that says what is known of the code that was asked for, and its names."""
        for pc in list(self._blobs):
            self.locate(pc)
        self.methods.complete()
        return sorted(self.reader.reads)

    def _of_method(self, blob: Blob, pc: int) -> Location | None:
        assert blob.compiled is not None
        try:
            scopes = self.scopes.at(blob, pc)
        except (Fault, FormatError):
            scopes = []
        known = [(self.methods.at(method), bci) for method, bci in scopes]
        # What is described lies in the method itself, or nothing of it is believed.
        if not known or scopes[-1][0] != blob.compiled.method or None in (m for m, _ in known):
            known = [(self.methods.at(blob.compiled.method), -1)]
        method, bci = known[-1]
        if method is None:
            return None
        place = _place(method, bci)
        place.inlines = tuple(
            Inline(each.name, each.file, each.line(max(index, 0)))
            for each, index in known[:-1]
            if each is not None
        )
        return place

    def codelet(self, pc: int) -> tuple[int, int]:
        """Where the interpreter's part around an address begins and ends; (0, 0) if unknown."""
        return self._codelet(pc)[:2]

    def _codelet(self, pc: int) -> tuple[int, int, str]:
        if self._codelets is None:
            try:
                self._codelets = self._read_codelets()
            except (Fault, FormatError):
                self._codelets = [], []
        starts, parts = self._codelets
        index = bisect_right(starts, pc) - 1
        if index >= 0 and pc < parts[index][0]:
            return starts[index], parts[index][0], f"Interpreter: {parts[index][1]}"
        return 0, 0, "Interpreter"

    def _read_codelets(self) -> tuple[list[int], list[tuple[int, str]]]:
        tables, reader = self.tables, self.reader
        queue = tables.static("AbstractInterpreter._code")
        at = reader.pointer(queue + tables.offset("StubQueue._stub_buffer"))
        end = at + tables.get(queue, tables.field("StubQueue._queue_end"))
        size, header = tables.field("InterpreterCodelet._size"), tables.size("InterpreterCodelet")
        description = tables.offset("InterpreterCodelet._description")
        starts, parts = [], []
        for _ in range(_MOST_CODELETS):
            if at >= end:
                break
            length = tables.get(at, size)
            if length <= 0:
                raise FormatError(f"a part of {length} bytes", "HotSpot's interpreter")
            # Its code is aligned behind its header.
            starts.append(at + header + _ALIGNED - 1 & -_ALIGNED)
            name = reader.string(reader.pointer(at + description), _MOST_DESCRIPTION)
            parts.append((at + length, name))
            at += length
        return starts, parts


def make_subject(method: int, bci: int) -> int:
    """What a frame of the interpreter works on, as one number: see `model.Stack`."""
    return SUBJECT | bci << 64 | method


def _place(method: Method, bci: int) -> Location:
    """A place in a method; native ones have no lines, and the JVM says so of them."""
    return Location(None, method.name, None, method.file, method.line(max(bci, 0)))
