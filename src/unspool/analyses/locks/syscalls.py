"""The system call that a thread waits in, by its registers and the code before its pc.

The kernel leaves a thread's arguments in its registers, so that no symbol is needed to know what
a thread waits for: a futex's address is the first of them.
"""

from __future__ import annotations

from struct import Struct

from unspool.arch import x86, x86_64
from unspool.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from unspool.memory import Memory
    from unspool.model import Thread
    from unspool.space import AddressSpace

# linux/include/uapi/linux/futex.h
_WAITING = {
    0: "FUTEX_WAIT", 6: "FUTEX_LOCK_PI", 9: "FUTEX_WAIT_BITSET", 11: "FUTEX_WAIT_REQUEUE_PI",
    13: "FUTEX_LOCK_PI2",
}  # fmt: skip
LOCK_PI = (6, 13)
PRIVATE_FLAG = 128
_REALTIME = 256


class _Abi:
    """Numbers of the calls that are known here, and which registers hold arguments."""

    def __init__(
        self, names: dict[int, str], arguments: tuple[int, ...], number: int | None = None
    ) -> None:
        self.names = names
        self.arguments = arguments
        self.number = number


# linux/arch/x86/entry/syscalls/syscall_{64,32}.tbl, include/uapi/asm-generic/unistd.h. What
# restarts an interrupted wait is restart_syscall, with the arguments still in the registers.
_ABIS = {
    "x86-64": _Abi(
        {
            202: "futex", 219: "restart_syscall", 72: "fcntl", 73: "flock", 449: "futex_waitv",
            7: "poll", 271: "ppoll", 16: "ioctl",
        },
        (x86_64.RDI, x86_64.RSI, x86_64.RDX, x86_64.R10, x86_64.R8, x86_64.R9),
    ),
    "i386": _Abi(
        {
            240: "futex", 422: "futex", 0: "restart_syscall", 55: "fcntl", 221: "fcntl",
            143: "flock", 449: "futex_waitv", 168: "poll", 309: "ppoll", 54: "ioctl",
        },
        (x86.EBX, x86.ECX, x86.EDX, x86.ESI, x86.EDI, x86.EBP),
    ),
    "aarch64": _Abi(
        {98: "futex", 128: "restart_syscall", 25: "fcntl", 32: "flock", 449: "futex_waitv"},
        tuple(range(6)), 8,
    ),
    "arm": _Abi(
        {
            240: "futex", 422: "futex", 0: "restart_syscall", 55: "fcntl", 221: "fcntl",
            143: "flock", 449: "futex_waitv",
        },
        tuple(range(6)), 7,
    ),
}  # fmt: skip
# FUTEX_WAITV_MAX, and struct futex_waitv: value, address, flags, nothing (linux/futex.h)
_MOST_VECTOR = 128
_WAITER = Struct("<QQII")
VECTOR_ENTRY = _WAITER.size
_WORD_OF_32_BITS = 2  # FUTEX2_SIZE_U32
# Bytes of code before the call in which its number is looked for.
_BEFORE, _LEAST = 32, 8
# svc #0 of aarch64, of A32 and of T32 code.
_SVC = (b"\x01\0\0\xd4", b"\0\0\0\xef", b"\0\xdf")


class Syscall(Record):
    """A system call by name, with its arguments; `evidence` says how it is known.

    `registers` are the numbers of those that the arguments are in.
    """

    __slots__ = ("arguments", "evidence", "name", "registers")

    def __init__(
        self, name: str, arguments: list[int], evidence: str, registers: tuple[int, ...]
    ) -> None:
        self.registers = registers
        self.name = name
        self.arguments = arguments
        self.evidence = evidence


class FutexWait(Record):
    """A wait for a futex word: `value` is what the word was when the wait began."""

    __slots__ = ("address", "evidence", "operation", "private", "timed", "value")

    def __init__(
        self, address: int, operation: int, value: int, private: bool, timed: bool, evidence: str
    ) -> None:
        self.address = address
        self.operation = operation
        self.value = value
        self.private = private
        self.timed = timed
        self.evidence = evidence


def syscall_of(space: AddressSpace, thread: Thread) -> Syscall | None:
    """The call that the thread is in, or None if it is in none that matters here."""
    arch, registers = space.arch, thread.registers
    abi = _ABIS.get(arch.name)
    if abi is None or registers is None or registers[arch.pc] is None:
        return None
    pc = registers[arch.pc] or 0
    read = space.memory.read_available
    code = read(pc - _BEFORE, _BEFORE) or read(pc - _LEAST, _LEAST)
    if abi.number is not None:
        number = registers[abi.number]
        # A core's pc is at the instruction, which is to be executed again.
        near = space.memory.read_available((pc & -2) - 4, 8)
        if not near[:4].endswith(_SVC) and not near[4:].startswith(_SVC):
            return None
        where = arch.register_names[abi.number]
    else:
        if not code.endswith((b"\x0f\x05", b"\xcd\x80")) or (
            code.endswith(b"\x0f\x05") and arch.name == "i386"
        ):
            return None
        number, where = _number(thread, code, abi.names)
        if number is None:
            guess = _by_arguments(space, [registers[each] or 0 for each in abi.arguments])
            number = next((each for each, name in abi.names.items() if name == guess), None)
            where = "its arguments"
    name = abi.names.get(-1 if number is None else number)
    arguments = [registers[each] for each in abi.arguments]
    if name is None or any(each is None for each in arguments):
        return None
    evidence = f"system call {number} ({name}) by {where}, pc 0x{pc:x}"
    return Syscall(name, [each or 0 for each in arguments], evidence, abi.arguments)


def _number(thread: Thread, code: bytes, known: Iterable[int]) -> tuple[int | None, str]:
    """The number by the register that the kernel keeps it in, else by the code that sets it.

    Minidumps lack the register. C libraries set eax a few instructions before the call.
    """
    for name in ("orig_rax", "orig_eax"):
        value = thread.special.get(name)
        if value is not None:
            return value & 0xFFFFFFFF, name
    places = ((code.rfind(b"\xb8" + each.to_bytes(4, "little")), each) for each in known)
    at, number = max(places)
    return (number, "the code that sets eax") if at >= 0 else (None, "")


def _by_arguments(space: AddressSpace, arguments: list[int]) -> str | None:
    """The call whose arguments these can be, and of hardly any other one; None if of none.

    Situation: a minidump, which has no number, and code that does not set eax right before: musl's,
    glibc's for barriers and its syscall(), the vdso of 32-bit processes. Waits for a word that
    processes share have an operation of 0, as others have it: they are not believed. Dumps of
    ours hold the words.
    """
    address, code = arguments[:2]
    held = space.memory.read_available
    private = code & (PRIVATE_FLAG | _REALTIME) and code & 0x7F in _WAITING and code < 0x200
    if private and address % 4 == 0 and held(address, 4):
        return "futex"
    if not 0 < code <= _MOST_VECTOR or arguments[2]:
        return None
    data = held(address, code * _WAITER.size)
    waiters = list(_WAITER.iter_unpack(data)) if len(data) == code * _WAITER.size else []
    fit = [
        flags & ~PRIVATE_FLAG == _WORD_OF_32_BITS and not reserved and bool(held(word, 4))
        for _, word, flags, reserved in waiters
    ]
    return "futex_waitv" if len(fit) == code and all(fit) else None


def futex_wait(call: Syscall) -> FutexWait | None:
    """What a thread waits for by futex, or None if its call is no such wait."""
    if call.name not in ("futex", "restart_syscall"):
        return None
    address, code, value, timeout = call.arguments[:4]
    operation = code & 0x7F
    if operation not in _WAITING or code >= 0x200 or not address:
        return None
    private = bool(code & PRIVATE_FLAG)
    words = f"{_WAITING[operation]}{' private' if private else ''}"
    return FutexWait(
        address, operation, value & 0xFFFFFFFF, private, bool(timeout),
        f"{call.evidence}: {words}, word 0x{address:x}",
    )  # fmt: skip


def futex_waits(call: Syscall, memory: Memory) -> list[FutexWait]:
    """What a thread waits for by futex: one word, or with futex_waitv any of several."""
    if call.name != "futex_waitv":
        single = futex_wait(call)
        return [single] if single is not None else []
    address, count, _, timeout = call.arguments[:4]
    if not 0 < count <= _MOST_VECTOR:
        return []
    data = memory.read_available(address, count * _WAITER.size)
    found = []
    for at in range(len(data) // _WAITER.size):
        value, word, flags, _ = _WAITER.unpack_from(data, at * _WAITER.size)
        private = bool(flags & PRIVATE_FLAG)
        how = f"{call.evidence}: word 0x{word:x}, one of {count} at 0x{address:x}"
        found.append(FutexWait(word, 0, value & 0xFFFFFFFF, private, bool(timeout), how))
    return found
