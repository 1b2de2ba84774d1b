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
    from typing import Literal

# linux/ptrace.h, asm/ptrace-abi.h, elf.h, linux/prctl.h
_GETREGS, _GETFPREGS, _GETREGSET, _SEIZE, _INTERRUPT = 12, 14, 0x4204, 0x4206, 0x4207
_NT_PRSTATUS, _NT_PRFPREG, _NT_ARM_VFP, _NT_ARM_TLS = 1, 2, 0x400, 0x401
# Of 32-bit Arm kernels alone (linux/arch/arm/include/uapi/asm/ptrace.h).
_ARM_GET_THREAD_AREA = 22
_PR_SET_TIMERSLACK = 29

# More would be EINVAL (UIO_MAXIOV).
_MAX_VECTORS = 1024


# struct iovec: an address and a size, as wide as the host's pointers.
_VECTOR, _TWO_VECTORS = Struct("2N"), Struct("4N")


class Layout:
    """How a host's kernel gives a thread's registers: words, and which of them is what.

    `floating` is how many bytes its floating point and vector registers take. `word` is the
    size of a word, and `code` the letter for it in formats.
    """

    __slots__ = ("code", "floating", "pc", "sp", "tls", "tls_32", "word", "words")

    def __init__(
        self, words: int, pc: int, sp: int, tls: int, tls_32: int, floating: int, word: int = 8
    ) -> None:
        self.word = word
        self.code: Literal["Q", "I"] = "Q" if word == 8 else "I"
        self.floating = floating
        self.words = words
        self.pc = pc
        self.sp = sp
        self.tls = tls
        self.tls_32 = tls_32

    @property
    def size(self) -> int:
        return self.words * self.word


# struct user_regs_struct (asm/user_64.h). PTRACE_GETREGS gives a 64-bit tracer this layout
# of 32-bit threads too, and with it the bases of fs and gs, which point to the thread's
# control block in 64- and 32-bit programs. (PTRACE_GETREGSET gives what suits the code the
# thread happens to be in: 17 words of a 64-bit process that runs 32-bit code, as Wine does.)
# Likewise PTRACE_GETFPREGS gives what FXSAVE writes.
_X86_64 = Layout(27, 16, 19, 21, 22, 512)
# struct user_pt_regs, and one word more for TPIDR_EL0, which is a register set of its own.
# Its floating point registers are struct user_fpsimd_state.
_AARCH64 = Layout(35, 32, 31, 34, 34, 528)
# Of a 32-bit Arm process, on hosts of both kinds: r0 to r15, cpsr, orig_r0, and the thread pointer
# (linux/arch/arm/kernel/ptrace.c; linux/arch/arm64/kernel/ptrace.c, user_aarch32_ptrace_view).
# Its floating point registers are struct user_vfp.
_ARM = Layout(19, 15, 13, 18, 18, 260, 4)


def architectures_of(host: str) -> tuple[str, ...]:
    """Names of the architectures whose processes a host's kernel can run and we can read.

    `host` is what uname says. A 32-bit tracer sees 32-bit processes alone.
    """
    is_wide = calcsize("P") == 8
    if host == "x86_64" and is_wide:
        return "x86-64", "i386"
    if host == "aarch64":
        return ("aarch64", "arm") if is_wide else ("arm",)
    return ("arm",) if host.startswith("arm") else ()


class Calls:
    """The bound functions, and memory for the registers of up to `capacity` threads.

    With `floating_point` there is room for these registers as well. `arch` is the process's
    architecture by name, where that matters: "arm".
    """

    def __init__(self, capacity: int, arch: str = "", *, floating_point: bool = False) -> None:
        """Raises `InputError` on a host that is none of x86-64, aarch64 and arm."""
        host = uname().machine
        known = architectures_of(host)
        if not known:
            raise InputError(
                f"live processes cannot be read on this host ({host})",
                "make a core of it with gcore and give that",
            )
        by_host = {"x86-64": _X86_64, "aarch64": _AARCH64, "arm": _ARM}
        self.layout = layout = _ARM if arch == "arm" else by_host[known[0]]
        self._has_thread_area = calcsize("P") == 4
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
        self.read_registers = self._read_regs if layout is _X86_64 else self._read_regset
        if layout is not _X86_64:
            size = layout.size - layout.word
            self._vectors = b"".join(
                _TWO_VECTORS.pack(start, size, start + size, layout.word)
                for start in range(
                    self._address, self._address + capacity * layout.size, layout.size
                )
            )
            self._vectors_buffer = bytearray(self._vectors)
            self._vectors_address = _address_of(self._vectors_buffer)
        self.floating = bytearray(b"\xff") * (capacity * layout.floating * floating_point)
        self._floating_address = _address_of(self.floating) if floating_point else 0
        self._floating_vector = bytearray(_VECTOR.size)
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
        vector = self._vectors_address + slot * _TWO_VECTORS.size
        if self._ptrace(_GETREGSET, tid, _NT_PRSTATUS, vector) != 0:
            return False
        if self._has_thread_area:
            place = self._address + (slot + 1) * self.layout.size - self.layout.word
            self._ptrace(_ARM_GET_THREAD_AREA, tid, None, place)
        else:
            self._ptrace(_GETREGSET, tid, _NT_ARM_TLS, vector + _VECTOR.size)
        return True

    def read_floating(self, tid: int, slot: int) -> bool:
        """Floating point registers of a stopped thread into its slot of `floating`."""
        size = self.layout.floating
        address = self._floating_address + slot * size
        if self.layout is _X86_64:
            return bool(self._ptrace(_GETFPREGS, tid, None, address) == 0)
        self._floating_vector[:] = _VECTOR.pack(address, size)
        vector = self._floating_vector_address
        kind = _NT_ARM_VFP if self.layout is _ARM else _NT_PRFPREG
        return bool(self._ptrace(_GETREGSET, tid, kind, vector) == 0)

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
            remote = Struct(f"{len(numbers)}N").pack(*numbers)
            local = _VECTOR.pack(target + total, wanted)
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
