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
    were copied; a minidump is made of such reads. So a frame is named only if two things that it
    holds belong together.
    """

    kind = "v8"

    def __init__(
        self,
        metadata: Metadata,
        space: AddressSpace,
        module: Module,
        symbol: Callable[[str], int | None],
    ) -> None:
        self.metadata = metadata
        self.space = space
        self.module = module
        self.functions = Functions(metadata)
        self.baseline = Baseline(self.functions.heap, symbol)
        self._slots: set[tuple[int, int]] = set()
        self._subjects: set[int] = set()

    def subject(self, fp: int, pc: int, at_call: bool) -> int | None:
        """What the JavaScript frame at a frame pointer works on; None if it is none.

        `at_call`: the frame has called another one by a bytecode, so that it holds its place.
        """
        try:
            return self._subject(fp, pc, at_call)
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

    def _subject(self, fp: int, pc: int, at_call: bool) -> int | None:
        known, functions = self.metadata, self.functions
        context = self._slot(fp + known.context)
        function = self._slot(fp + known.function)
        # Frames of other kinds have a small number here that says which.
        if not is_pointer(context) or not is_pointer(function):
            return None
        shared = functions.shared_of(function)
        bytecodes = functions.bytecodes_of(shared) if shared else 0
        if not bytecodes:
            return None
        held = [self._slot(fp + each) for each in known.bytecodes]
        own_context = functions.heap.word(function, known.function_context)
        if bytecodes not in held and context != own_context:
            return None
        subject = SUBJECT | _V8 | shared
        if at_call and bytecodes in held:
            offset = self._offset(fp, pc, shared, bytecodes)
            if offset is not None:
                subject |= offset + 1 << _OFFSET_AT
        functions.at(shared)
        if len(self._subjects) < _MOST_SUBJECTS:
            self._subjects.add(subject)
        return subject

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
