"""The V8 of a process: what its frames hold, as numbers that can be named."""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.generated.v8.baseline import Baseline
from unspool.generated.v8.functions import Functions, offset_in
from unspool.generated.v8.heap import is_pointer
from unspool.memory import Fault
from unspool.model import SUBJECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from unspool.generated.v8.metadata import Metadata
    from unspool.memory import Memory
    from unspool.model import Location, Module
    from unspool.space import AddressSpace

# Set in every subject of V8's beside `SUBJECT`, so that no other runtime's is taken for one.
_V8 = 1 << 97
_ADDRESS = (1 << 64) - 1
_OFFSET_AT = 64
_OFFSET = (1 << 32) - 1
_WORD = 8
_MOST_SUBJECTS = 1 << 16


class V8:
    """Names JavaScript frames.

    A process that runs goes on while its heap is read, and objects may have moved since its stacks
    were copied; a minidump is made of such reads. So a frame is named only if it holds its
    function's bytecode. Optimised code holds none: its frames are named in a core (`whole`), and in
    a process if they are there still, with the same function, in its memory `now`.
    """

    kind = "v8"

    def __init__(
        self,
        metadata: Metadata,
        space: AddressSpace,
        module: Module,
        symbol: Callable[[str], int | None],
        *,
        whole: bool = False,
        now: Memory | None = None,
    ) -> None:
        self.whole = whole
        self.now = now
        self.metadata = metadata
        self.space = space
        self.module = module
        self.functions = Functions(metadata)
        self.baseline = Baseline(self.functions.heap, symbol)
        self._slots: set[tuple[int, int]] = set()
        self._subjects: set[int] = set()

    def subject(self, fp: int, sp: int | None, pc: int, at_call: bool) -> int | None:
        """What the JavaScript frame at a frame pointer works on; None if it is none.

        `at_call`: the frame has called another one by a bytecode, so that it holds its place.
        """
        try:
            return self._subject(fp, sp, pc, at_call)
        except (Fault, FormatError):
            return None

    def is_interpreted(self, fp: int) -> bool:
        """Whether the interpreter's frame is at a frame pointer: a function with its bytecode."""
        known, functions = self.metadata, self.functions
        try:
            shared = functions.shared_of(self._slot(fp + known.function))
            bytecodes = functions.bytecodes_of(shared) if shared else 0
            return bytecodes != 0 and bytecodes in [
                self._slot(fp + each) for each in known.bytecodes
            ]
        except (Fault, FormatError):
            return False

    def is_builtin(self, pc: int) -> bool:
        """Whether code is V8's own: of its file, or of a copy of its part with the builtins."""
        module = self.space.module_at(pc)
        return module is not None and module.kind == "elf" and module.path == self.module.path

    def locate(self, pc: int) -> Location | None:
        """The name and place of a subject."""
        if pc >> 96 != 3:
            return None
        function = self.functions.at(pc & _ADDRESS)
        offset = (pc >> _OFFSET_AT & _OFFSET) - 1
        return function.location(offset if offset >= 0 else None) if function else None

    def tables(self) -> list[tuple[int, int]]:
        """The memory that says what has been named, with the slots of frames."""
        for subject in self._subjects:
            self.locate(subject)
        return sorted(self.metadata.reader.reads | self._slots)

    def _subject(self, fp: int, sp: int | None, pc: int, at_call: bool) -> int | None:
        known = self.metadata
        context = self._slot(fp + known.context)
        function = self._slot(fp + known.function)
        # Frames of other kinds have a small number here that says which.
        if not is_pointer(context) or not is_pointer(function):
            return None
        held = [self._slot(fp + each) for each in known.bytecodes]
        shared, bytecodes = self._by_function(function)
        if bytecodes not in held:
            is_optimised = self._is_optimised(held)
            if not is_optimised:
                shared, bytecodes = self._by_vector(fp, held)
            elif not (self.whole or self._is_there(fp, sp, pc, context, function)):
                return None
        if not shared:
            return None
        subject = SUBJECT | _V8 | shared
        if at_call and bytecodes in held:
            offset = self._offset(fp, pc, shared, bytecodes)
            if offset is not None:
                subject |= offset + 1 << _OFFSET_AT
        self.functions.at(shared)
        if len(self._subjects) < _MOST_SUBJECTS:
            self._subjects.add(subject)
        return subject

    def _by_function(self, function: int) -> tuple[int, int]:
        """What describes a function, and its bytecode; zeros if it is none that has any."""
        functions = self.functions
        try:
            shared = functions.shared_of(function)
            bytecodes = functions.bytecodes_of(shared) if shared else 0
        except (Fault, FormatError):
            return 0, 0
        return (shared, bytecodes) if bytecodes else (0, 0)

    def _is_optimised(self, held: list[int]) -> bool:
        """Whether a frame holds no bytecode: optimised code has other words in its place."""
        heap = self.functions.heap
        for word in held:
            try:
                if heap.type(word) == self.metadata.type_bytecodes:
                    return False
            except (Fault, FormatError):
                continue
        return True

    def _is_there(self, fp: int, sp: int | None, pc: int, context: int, function: int) -> bool:
        """Whether a running process still has that frame, at that place in its code.

        Optimised code is of one function. Before the frame its callee's return address is.
        """
        if self.now is None or sp is None or self.space.arch.link is not None:
            return False
        words = ((sp - _WORD, pc), (fp + self.metadata.context, context),
                 (fp + self.metadata.function, function))  # fmt: skip
        try:
            return all(self.now.read_uint(at, _WORD) == word for at, word in words)
        except Fault:
            return False

    def _by_vector(self, fp: int, held: list[int]) -> tuple[int, int]:
        """The same by the feedback vector, which seldom moves, unlike new closures.

        Baseline code has it in its frame, since V8 12 the interpreter too.
        """
        functions = self.functions
        for slot in self.metadata.vectors:
            try:
                shared = functions.shared_of_vector(self._slot(fp + slot))
                bytecodes = functions.bytecodes_of(shared) if shared else 0
            except (Fault, FormatError):
                continue
            if bytecodes and bytecodes in held:
                return shared, bytecodes
        return 0, 0

    def _offset(self, fp: int, pc: int, shared: int, bytecodes: int) -> int | None:
        """Where in its bytecode a frame is. Of optimised code that is not known.

        Such code may have replaced a loop of the interpreter's: then the frame still has the
        interpreter's place, of that time.
        """
        try:
            copy = self.functions.trampoline_of(shared)
            if self.is_builtin(pc) or (copy and self.baseline.holds(copy, pc)):
                return offset_in(self.metadata, self._slot(fp + self.metadata.offset))
            code = self.functions.code_of(shared)
            return self.baseline.offset(code, bytecodes, pc) if code else None
        except (Fault, FormatError):
            return None

    def _slot(self, address: int) -> int:
        self._slots.add((address, address + _WORD))
        return self.space.memory.read_uint(address, _WORD)
