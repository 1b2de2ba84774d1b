"""The system calls that hold a thread and read it, through ctypes.

Calls that cannot block keep the interpreter's lock: no other thread of ours can delay
the moment in which the target is let go. Calls that can block give it up, so that
somebody is left to do something about it.
"""

from __future__ import annotations

from ctypes import CDLL, PyDLL, addressof, c_char, c_int, c_long, c_ulong, c_void_p, get_errno
from errno import EIO, ENOSYS
from os import uname
from struct import Struct, calcsize

from unspool.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# linux/ptrace.h, asm/ptrace-abi.h, elf.h, linux/prctl.h
_GETREGS, _GETFPREGS, _GETREGSET, _SEIZE, _INTERRUPT = 12, 14, 0x4204, 0x4206, 0x4207
_NT_PRSTATUS, _NT_PRFPREG, _NT_ARM_TLS = 1, 2, 0x401
_PR_SET_TIMERSLACK = 29

# More would be EINVAL (UIO_MAXIOV).
_MAX_VECTORS = 1024


class Layout:
    """How a host's kernel gives a thread's registers: words, and which of them is what.

    `floating` is how many bytes its floating point and vector registers take.
    """

    __slots__ = ("floating", "pc", "sp", "tls", "tls_32", "words")

    def __init__(
        self, words: int, pc: int, sp: int, tls: int, tls_32: int, floating: int
    ) -> None:
        self.floating = floating
        self.words = words
        self.pc = pc
        self.sp = sp
        self.tls = tls
        self.tls_32 = tls_32

    @property
    def size(self) -> int:
        return self.words * 8


# struct user_regs_struct (asm/user_64.h). PTRACE_GETREGS gives a 64-bit tracer this layout
# of 32-bit threads too, and with it the bases of fs and gs, which point to the thread's
# control block in 64- and 32-bit programs. (PTRACE_GETREGSET gives what suits the code the
# thread happens to be in: 17 words of a 64-bit process that runs 32-bit code, as Wine does.)
# Likewise PTRACE_GETFPREGS gives what FXSAVE writes.
_X86_64 = Layout(27, 16, 19, 21, 22, 512)
# struct user_pt_regs, and one word more for TPIDR_EL0, which is a register set of its own.
# Its floating point registers are struct user_fpsimd_state.
_AARCH64 = Layout(35, 32, 31, 34, 34, 528)


class Calls:
    """The bound functions, and memory for the registers of up to `capacity` threads.

    With `floating_point` there is room for these registers as well.
    """

    def __init__(self, capacity: int, *, floating_point: bool = False) -> None:
        """Raises `InputError` on a host that is neither x86-64 nor aarch64."""
        host = uname().machine if calcsize("P") == 8 else "32-bit"
        if host not in ("x86_64", "aarch64"):
            raise InputError(
                f"live processes cannot be read on this host ({host})",
                "make a core of it with gcore and give that",
            )
        self.layout = layout = _X86_64 if host == "x86_64" else _AARCH64
        self.capacity = capacity
        self._blocking = CDLL(None, use_errno=True)
        prototype = (c_long, c_long, c_void_p, c_void_p)
        self._seize = self._blocking.ptrace
        self._seize.restype, self._seize.argtypes = c_long, prototype
        self._ptrace = PyDLL(None).ptrace
        self._ptrace.restype, self._ptrace.argtypes = c_long, prototype
        self._readv = self._blocking.process_vm_readv
        self._readv.restype = c_long
        self._readv.argtypes = (c_int, c_void_p, c_ulong, c_void_p, c_ulong, c_ulong)
        # Bytes that are written once now cost no page faults while the target is held.
        self.registers = bytearray(b"\xff") * (capacity * layout.size)
        self._address = _address_of(self.registers)
        self.read_registers = self._read_regset if host == "aarch64" else self._read_regs
        if host == "aarch64":
            self._vectors = b"".join(
                Struct("4Q").pack(start, 34 * 8, start + 34 * 8, 8)
                for start in range(
                    self._address, self._address + capacity * layout.size, layout.size
                )
            )
            self._vectors_buffer = bytearray(self._vectors)
            self._vectors_address = _address_of(self._vectors_buffer)
        self.floating = bytearray(b"\xff") * (capacity * layout.floating * floating_point)
        self._floating_address = _address_of(self.floating) if floating_point else 0
        self._floating_vector = bytearray(16)
        self._floating_vector_address = _address_of(self._floating_vector)

    def seize(self, tid: int) -> int:
        """Becomes the thread's tracer without stopping it; 0, or an errno.

        Belongs to the calling thread of ours: when that ends, by whatever means, the kernel
        lets go of what it traced (ptrace(2), "if the tracer dies").

        Blocks while the target is in execve. That can be for ever: execve waits for the
        process's other threads to be gone, and those that we trace are gone when somebody
        waits for them (see `freeze.reap`).
        """
        return 0 if self._seize(_SEIZE, tid, None, None) == 0 else get_errno()

    def interrupt(self, tid: int) -> bool:
        """Asks a seized thread to stop; does not wait for it. No signal is involved."""
        return bool(self._ptrace(_INTERRUPT, tid, None, None) == 0)

    def _read_regs(self, tid: int, slot: int) -> bool:
        """Registers of a thread into its slot. False if it has not stopped, or is gone."""
        address = self._address + slot * 216
        return bool(self._ptrace(_GETREGS, tid, None, address) == 0)

    def _read_regset(self, tid: int, slot: int) -> bool:
        vector = self._vectors_address + slot * 32
        if self._ptrace(_GETREGSET, tid, _NT_PRSTATUS, vector) != 0:
            return False
        self._ptrace(_GETREGSET, tid, _NT_ARM_TLS, vector + 16)
        return True

    def read_floating(self, tid: int, slot: int) -> bool:
        """Floating point registers of a stopped thread into its slot of `floating`."""
        size = self.layout.floating
        address = self._floating_address + slot * size
        if self.layout is _X86_64:
            return bool(self._ptrace(_GETFPREGS, tid, None, address) == 0)
        self._floating_vector[:] = Struct("2Q").pack(address, size)
        vector = self._floating_vector_address
        return bool(self._ptrace(_GETREGSET, tid, _NT_PRFPREG, vector) == 0)

    def read_memory(
        self, tid: int, ranges: Sequence[tuple[int, int]], buffer: bytearray
    ) -> int:
        """Copies `[low, high)` ranges of a process, one after the other, to `buffer`.

        The number of bytes copied: fewer than wanted where a range is not mapped, or where
        the call is not allowed (the seccomp filter of a container).
        """
        target = _address_of(buffer)
        total = 0
        for start in range(0, len(ranges), _MAX_VECTORS):
            part = ranges[start : start + _MAX_VECTORS]
            numbers = []
            wanted = 0
            for low, high in part:
                numbers += [low, high - low]
                wanted += high - low
            remote = Struct(f"{len(numbers)}Q").pack(*numbers)
            local = Struct("2Q").pack(target + total, wanted)
            done = self._readv(tid, local, 1, remote, len(part), 0)
            total += max(done, 0)
            if done != wanted:
                break
        return total

    def be_punctual(self) -> None:
        """Lets the calling thread wake up from short sleeps when asked to."""
        try:
            prctl = self._blocking.prctl
        except AttributeError:
            return
        prctl.argtypes = (c_int, c_ulong, c_ulong, c_ulong, c_ulong)
        prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


def is_unsupported(error: int) -> bool:
    """Whether an errno of `seize` means that the kernel cannot do it at all."""
    return error in (ENOSYS, EIO)


def _address_of(buffer: bytearray) -> int:
    return addressof(c_char.from_buffer(buffer))
