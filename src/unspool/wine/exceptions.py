"""Windows' exceptions as Wine leaves them on a stack: EXCEPTION_RECORD and CONTEXT."""

from __future__ import annotations

from unspool.memory import Fault
from unspool.record import Record
from unspool.wine.layouts import CONTEXT_CONTROL, CONTEXT_OTHER_FLAGS, EXCEPTION_RECORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace
    from unspool.wine.layouts import ContextLayout

# NTSTATUS codes that processes die of (ntstatus.h); those of compilers are at the end.
NAMES = {
    0x40010005: "control-C",
    0x40010006: "a debug message",
    0x80000001: "guard page",
    0x80000002: "datatype misalignment",
    0x80000003: "breakpoint",
    0x80000004: "single step",
    0x80000100: "call of an unimplemented function",
    0xC0000005: "access violation",
    0xC0000006: "in-page error",
    0xC0000008: "invalid handle",
    0xC000001D: "illegal instruction",
    0xC0000025: "continuing a non-continuable exception",
    0xC0000026: "invalid disposition",
    0xC000008C: "array bounds exceeded",
    0xC000008D: "floating-point denormal operand",
    0xC000008E: "floating-point division by zero",
    0xC000008F: "floating-point inexact result",
    0xC0000090: "floating-point invalid operation",
    0xC0000091: "floating-point overflow",
    0xC0000092: "floating-point stack check",
    0xC0000093: "floating-point underflow",
    0xC0000094: "integer division by zero",
    0xC0000095: "integer overflow",
    0xC0000096: "privileged instruction",
    0xC00000FD: "stack overflow",
    0xC0000135: "a DLL was not found",
    0xC0000139: "an entry point was not found",
    0xC0000194: "possible deadlock",
    0xC0000374: "heap corruption",
    0xC0000409: "fail fast: stack buffer overrun",
    0xC0000420: "assertion failure",
    0x20474343: "C++ exception (GCC)",
    0x21474343: "C++ unwinding (GCC)",
    0x406D1388: "the naming of a thread",
    0xE0434352: "exception of .NET",
    0xE06D7363: "C++ exception (MSVC)",
}
_ACCESS = {0: "read from", 1: "write to", 8: "execution of"}
_ACCESS_CODES = (0xC0000005, 0xC0000006)


class WindowsException(Record):
    """An EXCEPTION_RECORD: its code, where it happened, and its first two parameters."""

    __slots__ = ("address", "code", "parameters")

    def __init__(self, code: int, address: int, parameters: tuple[int, ...]) -> None:
        self.code = code
        self.address = address
        self.parameters = parameters

    def words(self) -> str:
        """In words: "access violation, write to 0x8 (0xc0000005)"."""
        name = NAMES.get(self.code, "exception")
        access = ""
        if self.code in _ACCESS_CODES and len(self.parameters) > 1:
            kind = _ACCESS.get(self.parameters[0], "access to")
            access = f", {kind} 0x{self.parameters[1]:x}"
        return f"{name}{access} (0x{self.code:x})"


def read_exception(space: AddressSpace, address: int) -> WindowsException | None:
    """The EXCEPTION_RECORD at an address, or None if it cannot be one."""
    word = space.arch.pointer_size
    where, count_at, parameters_at = EXCEPTION_RECORD[word]
    try:
        data = space.memory.read(address, parameters_at + 2 * word)
    except Fault:
        return None

    def at(offset: int, size: int = word) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    code, count = at(0, 4), at(count_at, 4)
    if count > 15 or not code:
        return None
    parameters = tuple(at(parameters_at + index * word) for index in range(min(count, 2)))
    return WindowsException(code, at(where), parameters)


def read_context(
    space: AddressSpace, address: int, layout: ContextLayout
) -> list[int | None] | None:
    """The registers of the CONTEXT at an address, or None if what lies there is none.

    It must say of itself that it holds control registers of this CPU, have a code segment that
    programs have, and a stack pointer. Its pc may be anything: code may have jumped there.
    """
    memory = space.memory
    try:
        data = memory.read(address, layout.size)
    except Fault:
        return None
    flags = int.from_bytes(data[layout.flags : layout.flags + 4], "little")
    if flags & ~CONTEXT_OTHER_FLAGS != layout.machine_flag or not flags & CONTEXT_CONTROL:
        return None
    if int.from_bytes(data[layout.cs : layout.cs + 2], "little") not in layout.selectors:
        return None
    registers: list[int | None] = [None] * len(space.arch.register_names)
    for number, offset in layout.registers:
        registers[number] = int.from_bytes(data[offset : offset + layout.word], "little")
    sp = registers[space.arch.sp]
    region = memory.region(sp) if sp is not None else None
    return registers if region is not None and region.writable else None
