"""Functions of V8: from what a frame holds to a name, a script, and a place in it."""

from __future__ import annotations

from bisect import bisect_right

from unspool.errors import FormatError
from unspool.generated.v8.heap import Heap, is_pointer, is_small
from unspool.generated.v8.positions import read_positions
from unspool.generated.v8.scope_info import read_scope
from unspool.generated.v8.scripts import Script, Sources
from unspool.memory import Fault
from unspool.model import Location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.v8.metadata import Metadata

_WORD = 8
_MOST_BYTECODES = 1 << 26
_MOST_TABLE = 1 << 20
_ALL_TABLES = 1 << 22  # bytes: what lies costs no more
_FIRST_FIELDS = range(16, 64, _WORD)  # of an array of bytecodes: its tables, in changing order
_MOST_HOPS = 4
_TYPES_OF_FUNCTIONS = 32  # functions of all kinds: those of classes, of arrays, of promises


class Functions:
    """Reads the functions of one heap; each is read once."""

    def __init__(self, metadata: Metadata) -> None:
        self.known = metadata
        self.heap = Heap(metadata)
        self.sources = Sources()
        self.room = _ALL_TABLES
        self._shared: dict[int, Function | None] = {}
        self._scripts: dict[int, Script] = {}

    def shared_of(self, function: int) -> int:
        """What all closures of a function have in common; 0 if that is no function."""
        heap, known = self.heap, self.known
        if not 0 <= heap.type(function) - known.type_function < _TYPES_OF_FUNCTIONS:
            return 0
        shared = heap.word(function, known.function_shared)
        return shared if heap.type(shared) == known.type_shared else 0

    def shared_of_vector(self, vector: int) -> int:
        """The same by what V8 counts of a function's calls; 0 if that is none."""
        heap, known = self.heap, self.known
        if heap.type(vector) == known.type_vector != -1:
            for offset in range(_WORD, 5 * _WORD, _WORD):
                word = heap.word(vector, offset)
                if heap.type(word) == known.type_shared:
                    return word
        return 0

    def bytecodes_of(self, shared: int) -> int:
        """The function's bytecode; 0 if it has none: builtins, functions of the API."""
        heap, known = self.heap, self.known
        at, field = shared, known.shared_data
        for _ in range(_MOST_HOPS):
            word = heap.word(at, field)
            kind = heap.type(word)
            if kind == known.type_bytecodes:
                return word
            if kind == known.type_trampoline:
                at, field = word, _WORD
            elif kind == known.type_code:
                return self._bytecodes_of_code(word)
            else:
                return 0
        return 0

    def code_of(self, shared: int) -> int:
        """The code that was made of a function's bytecode one by one; 0 if there is none."""
        word = self.heap.word(shared, self.known.shared_data)
        return word if self.heap.type(word) == self.known.type_code else 0

    def trampoline_of(self, shared: int) -> int:
        """The function's own copy of the interpreter's entry; 0 if it has none.

        They are made for perf, with --interpreted-frames-native-stack.
        """
        data = self.heap.word(shared, self.known.shared_data)
        if self.heap.type(data) != self.known.type_trampoline:
            return 0
        code = self.heap.word(data, 2 * _WORD)
        return code if self.heap.type(code) == self.known.type_code else 0

    def at(self, shared: int) -> Function | None:
        """The function that a SharedFunctionInfo describes; None if it cannot be read."""
        if shared not in self._shared:
            try:
                self._shared[shared] = self._read(shared)
            except (Fault, FormatError):
                self._shared[shared] = None
        return self._shared[shared]

    def _bytecodes_of_code(self, code: int) -> int:
        heap = self.heap
        for offset in range(_WORD, 4 * _WORD, _WORD):
            word = heap.word(code, offset)
            kind = heap.type(word)
            if kind == self.known.type_trampoline:
                word = heap.word(word, _WORD)
                kind = heap.type(word)
            if kind == self.known.type_bytecodes:
                return word
        return 0

    def _read(self, shared: int) -> Function | None:
        heap, known = self.heap, self.known
        if heap.type(shared) != known.type_shared:
            return None
        named = heap.word(shared, known.shared_name)
        own = inferred = ""
        start = end = -1
        if heap.is_string(named):
            own = heap.string(named)
        elif heap.type(named) == known.type_scope_info:
            try:
                scope = read_scope(heap, named)
                own, inferred, start, end = scope.own, scope.inferred, scope.start, scope.end
            except (Fault, FormatError):
                pass
        script = self._script(shared)
        return Function(self, own or inferred, script, start, end, self.bytecodes_of(shared))

    def _script(self, shared: int) -> Script | None:
        heap, known = self.heap, self.known
        word = heap.word(shared, known.shared_script)
        if heap.type(word) == known.type_debug_info:
            word = self._script_of_debug_info(word)
        if heap.type(word) != known.type_script:
            return None
        if word not in self._scripts:
            self._scripts[word] = Script(heap, word, self.sources)
        return self._scripts[word]

    def _script_of_debug_info(self, info: int) -> int:
        for offset in range(_WORD, 6 * _WORD, _WORD):
            word = self.heap.word(info, offset)
            if self.heap.type(word) == self.known.type_script:
                return word
        return 0


class Function:
    """A name, empty if there is none, a script, and the positions where the function lies in it."""

    def __init__(
        self,
        functions: Functions,
        name: str,
        script: Script | None,
        start: int,
        end: int,
        bytecodes: int,
    ) -> None:
        self.functions = functions
        self.name = name
        self.script = script
        self.start = start
        self.end = end
        self.bytecodes = bytecodes
        self._positions: list[tuple[int, int]] | None = None

    def location(self, offset: int | None) -> Location:
        """What is said of a frame that is at an offset in the bytecode, if that is known.

        Where the line cannot be known the name says where the function begins, in brackets.
        """
        name = self.name or "<anonymous>"
        file = self.script.name if self.script is not None else None
        place = self._place(offset) if offset is not None else None
        if place is not None:
            return Location(None, name, None, file, place[0])
        if self.script is not None and self.start >= 0:
            begins = self.script.place(self.start)
            if begins is not None:
                name += f" [{begins[0]}:{begins[1]}]"
        return Location(None, name, None, file)

    def _place(self, offset: int) -> tuple[int, int] | None:
        if self.script is None:
            return None
        if self._positions is None:
            try:
                self._positions = self._read_positions()
            except (Fault, FormatError):
                self._positions = []
        index = bisect_right(self._positions, (offset, 1 << 62)) - 1
        return self.script.place(self._positions[index][1]) if index >= 0 else None

    def _read_positions(self) -> list[tuple[int, int]]:
        """The table among those of the bytecode that is one of positions, and of this function.

        V8 makes it when somebody asks for a line, mostly for the trace of an error: until then
        there is none.
        """
        heap, known = self.functions.heap, self.functions.known
        if not self.bytecodes or not known.header or self.start < 0:
            return []
        length = heap.small(heap.word(self.bytecodes, known.length))
        for offset in _FIRST_FIELDS:
            word = heap.word(self.bytecodes, offset)
            if not is_pointer(word) or heap.type(word) not in known.types_bytes:
                continue
            size = heap.small(heap.word(word, known.length))
            if not 0 < size <= min(_MOST_TABLE, self.functions.room):
                continue
            self.functions.room -= size
            try:
                data = heap.reader.read(word - 1 + known.elements, size)
                found = read_positions(data, known.positions_have_flags)
            except FormatError:
                continue
            if all(-1 <= at < length for at, _ in found) and all(
                self.start <= place <= self.end for _, place in found
            ):
                return found
        return []


def offset_in(metadata: Metadata, word: int) -> int | None:
    """The offset in the bytecode that an interpreter's frame holds."""
    # It counts from the tagged pointer to the array.
    if not metadata.header or not is_small(word):
        return None
    offset = (word >> 32) - (metadata.header - 1)
    return offset if 0 <= offset < _MOST_BYTECODES else None
