"""Executes a process's thread one instruction at a time, and knows every caller.

The only oracle that cannot be wrong: when an instruction calls, the caller's registers are
there to be seen, and at every instruction until the return an unwinder must find them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable, Iterator

from unspool.memory import Fault, Memory, Region, Window

_SEIZE, _INTERRUPT, _GETREGS, _SINGLESTEP, _DETACH = 0x4206, 0x4207, 12, 9, 17
_WALL = 0x40000000
# struct user_regs_struct (asm/user_64.h) to DWARF numbers.
_ORDER = (15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5, None, 16, None, None, 7)
# What a Windows function has to give back: rbx, rsi, rdi, rbp, r12 to r15 (DWARF numbers).
NONVOLATILE = (3, 4, 5, 6, 12, 13, 14, 15)
RSP, RIP = 7, 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class Ended(Exception):
    """The process is gone, or stopped for something else than a step."""


def _ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class LiveMemory(Memory):
    """A stopped process's memory as it is now; `executable` tells code from data."""

    def __init__(self, pid: int, executable: Callable[[int], bool]) -> None:
        super().__init__([])
        self.file = os.open(f"/proc/{pid}/mem", os.O_RDWR)
        self._executable = executable

    def close(self) -> None:
        os.close(self.file)

    def read(self, address: int, size: int) -> bytes:
        data = self.read_available(address, size)
        if len(data) < size:
            raise Fault(address, size)
        return data

    def read_available(self, address: int, size: int) -> bytes:
        try:
            return os.pread(self.file, size, address)
        except (OSError, OverflowError):
            return b""

    def write_word(self, address: int, value: int) -> None:
        os.pwrite(self.file, struct.pack("<Q", value), address)

    def word(self, address: int) -> int:
        return self.read_uint(address, 8)

    def window(self, address: int) -> Window | None:
        return None

    def region(self, address: int) -> Region | None:
        return None

    def is_executable(self, address: int) -> bool:
        return self._executable(address)


class Thread:
    """A process's first thread, held while this context is entered."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._buffer = ctypes.create_string_buffer(27 * 8)

    def __enter__(self) -> Thread:
        _ptrace(_SEIZE, self.pid)
        _ptrace(_INTERRUPT, self.pid)
        os.waitpid(self.pid, _WALL)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            _ptrace(_DETACH, self.pid)
        except OSError:
            os.kill(self.pid, signal.SIGKILL)

    def registers(self) -> list[int | None]:
        """The general registers by DWARF number."""
        _ptrace(_GETREGS, self.pid, 0, ctypes.addressof(self._buffer))
        found: list[int | None] = [None] * 17
        for number, value in zip(_ORDER, struct.unpack_from("<20Q", self._buffer), strict=True):
            if number is not None:
                found[number] = value
        return found

    def step(self) -> bool:
        """One instruction on; or to the first one of a signal's handler, if it tells of one."""
        _ptrace(_SINGLESTEP, self.pid)
        signalled = False
        while True:
            _, status = os.waitpid(self.pid, _WALL)
            if not os.WIFSTOPPED(status):
                raise Ended(f"the process ended: {status:#x}")
            if os.WSTOPSIG(status) == signal.SIGTRAP:
                return signalled
            signalled = True
            # Wine's server asks threads for things by signals; let it have its answer.
            _ptrace(_SINGLESTEP, self.pid, 0, os.WSTOPSIG(status))


class Call:
    """A call that has not returned: the registers of its caller at the return."""

    def __init__(self, registers: list[int | None], return_address: int, rsp: int) -> None:
        self.rsp = rsp
        self.expected = {number: registers[number] for number in NONVOLATILE}
        self.expected |= {RIP: return_address, RSP: rsp + 8}


def follow(
    thread: Thread, memory: LiveMemory, is_windows: Callable[[int], bool], limit: int
) -> Iterator[tuple[list[int | None], Call]]:
    """Every step of the thread in Windows code under a call that was seen, with that call.

    System calls are stepped through and left out.
    """
    calls: list[Call] = []
    before: list[int | None] | None = None
    for _ in range(limit):
        now = thread.registers()
        pc, rsp = now[RIP], now[RSP]
        assert pc is not None
        assert rsp is not None
        if is_windows(pc):
            while calls and rsp > calls[-1].rsp:
                calls.pop()
            if before is not None and _has_called(before, pc, rsp, memory):
                calls.append(Call(now, memory.word(rsp), rsp))
            if calls:
                yield now, calls[-1]
            before = now
        else:
            before = None
        thread.step()


def _has_called(before: list[int | None], pc: int, rsp: int, memory: LiveMemory) -> bool:
    """Whether the instruction left the address behind it on the stack and went elsewhere."""
    old_pc, old_rsp = before[RIP], before[RSP]
    assert old_pc is not None
    assert old_rsp is not None
    return rsp == old_rsp - 8 and pc != memory.word(rsp) and 0 < memory.word(rsp) - old_pc <= 15
