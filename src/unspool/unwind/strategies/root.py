"""Roots that no unwind data marks: entry points, and where threads start."""

from __future__ import annotations

from unspool.unwind.step import DynamicStrategy, Ended, Missed, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace

# An entry point is some twenty instructions of hand-written code (glibc's and musl's
# `_start`), which end in a call that does not return.
_ENTRY_SIZE = 96

# From clone's system call to the end of the new thread: 66 bytes in Go 1.19, less elsewhere.
_START_SIZE = 96

# What follows the call of a thread's function in glibc's clone3.S and clone.S, musl's clone.s
# and Go's runtime.clone: the system call exit.
_THREAD_ENDS = (
    b"\xb8\x3c\x00\x00\x00\x0f\x05",  # mov $60,%eax; syscall
    b"\x89\xc7\x31\xc0\xb0\x3c\x0f\x05",  # mov %eax,%edi; xor %eax,%eax; mov $60,%al; syscall
    b"\x89\xc3\xb8\x01\x00\x00\x00",  # mov %eax,%ebx; mov $1,%eax
    b"\x93\x31\xc0\x40\xcd\x80",  # xchg %eax,%ebx; xor %eax,%eax; inc %eax; int $0x80
    b"\xa8\x0b\x80\xd2\x01\x00\x00\xd4",  # mov x8,#93; svc #0
    b"\x4f\xf0\x01\x07\x00\xdf",  # mov.w r7,#1; svc #0
    b"\x01\x27\x00\xdf",  # movs r7,#1; svc #0
    b"\x01\x70\xa0\xe3\x00\x00\x00\xef",  # mov r7,#1; svc #0
)


class Root(DynamicStrategy):
    """Ends at code that nothing has called."""

    name = "root"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def answer(self, query: Query) -> Ended | Missed:
        for entry in self.space.entry_points:
            if entry <= query.lookup_pc < entry + _ENTRY_SIZE:
                return Ended("the program's entry point")
        if not query.exact:
            code = self.space.memory.read_available(query.pc, 24)
            if any(end in code for end in _THREAD_ENDS):
                return Ended("the start of a thread: its end follows the call")
        # A thread that has not left clone yet has its result, 0, in register 0, and nothing
        # on its stack. glibc's unwind data ends before that system call on purpose.
        elif query.registers[0] == 0 and self._about_to_start(query.pc):
            return Ended("a thread that has just been made")
        return Missed("no known root")

    def _about_to_start(self, pc: int) -> bool:
        """Whether the code ahead calls a function and then ends the thread."""
        code = self.space.memory.read_available(pc, _START_SIZE)
        is_call_before = self.space.arch.is_return_address
        for end in _THREAD_ENDS:
            at = code.find(end)
            if any(is_call_before(code, after) for after in range(max(at - 8, 0), at + 1)):
                return True
        return False
