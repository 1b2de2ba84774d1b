"""Records Java programs on another machine, which has Python and a JVM but no test runner.

    python java_recorder.py JAVA CLASSES FOLDER

Prints what Java said of its own threads, which wait. Writes into FOLDER states of one that does
not, at each instruction (`java.steps`), and lets the kernel write a core of the process (`core`).

Of a state there are x0 to x30, sp and pc, and the stack: its address and size, and its bytes from a
little below sp on. All numbers have 8 bytes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SMALL = (
    "-Xmx32m", "-XX:ReservedCodeCacheSize=16m", "-XX:CompressedClassSpaceSize=8m", "-Xshare:auto",
    "-XX:+UseSerialGC",
)  # fmt: skip
OPTIONS = (
    *SMALL, "-XX:+UnlockDiagnosticVMOptions", "-XX:+ShowHiddenFrames", "-Xbatch",
    "-XX:CompileCommand=quiet", "-XX:CompileCommand=exclude,Mixed::interpreted*",
    "-XX:CompileCommand=dontinline,Mixed*::*", "-Dsun.reflect.inflationThreshold=2147483647",
)  # fmt: skip
DEPTH, ROUNDS, STEPS = 24, 12_000, 24_000
BELOW, MOST = 64, 16 << 10

_SEIZE, _INTERRUPT, _GETREGSET, _SINGLESTEP, _DETACH = 0x4206, 0x4207, 0x4204, 9, 17
_PRSTATUS, _WALL = 1, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class Vector(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def ptrace(request: int, thread: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, thread, address, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def started(java: str, classes: str) -> tuple[subprocess.Popen[str], list[str]]:
    """The program when it has said "ready", and what it said before."""
    words = [ROUNDS, DEPTH, 1, f"{classes}/libstacks.so"]
    process = subprocess.Popen(
        [java, *OPTIONS, "-cp", classes, "Mixed", *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        if line == "ready\n":
            return process, said
        said.append(line)
    raise AssertionError("".join(said))


def thread_named(pid: int, name: str) -> int:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    comm = f"{name[:15]}\n"
    return next(int(each.name) for each in tasks if (each / "comm").read_text() == comm)


def record(java: str, classes: str, folder: Path) -> None:
    process, said = started(java, classes)
    names = [line.split()[1] for line in said if line.startswith("thread ")]
    said += [f"tid {thread_named(process.pid, name)} {name}\n" for name in names]
    print("".join(said), end="", flush=True)
    thread = thread_named(process.pid, "mixed")
    maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    spans = [tuple(int(each, 16) for each in line.split()[0].split("-")) for line in maps]
    memory = os.open(f"/proc/{process.pid}/mem", os.O_RDONLY)
    registers = ctypes.create_string_buffer(34 * 8)
    vector = Vector(ctypes.addressof(registers), len(registers))
    ptrace(_SEIZE, thread)
    ptrace(_INTERRUPT, thread)
    os.waitpid(thread, _WALL)
    with (folder / "java.steps").open("wb") as file:
        for _ in range(STEPS):
            ptrace(_GETREGSET, thread, _PRSTATUS, ctypes.addressof(vector))
            (sp,) = struct.unpack_from("<Q", registers, 31 * 8)
            high = next(high for low, high in spans if low <= sp < high)
            low = sp - BELOW
            data = os.pread(memory, min(high - low, MOST), low)
            file.write(registers.raw[: 33 * 8] + struct.pack("<2Q", low, len(data)) + data)
            step(thread)
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (-1, -1))
    ptrace(_DETACH, thread, 0, signal.SIGABRT)
    process.wait()


def step(thread: int) -> None:
    ptrace(_SINGLESTEP, thread)
    while True:
        _, status = os.waitpid(thread, _WALL)
        assert os.WIFSTOPPED(status), f"the process ended: {status:#x}"
        if os.WSTOPSIG(status) == signal.SIGTRAP:
            return
        ptrace(_SINGLESTEP, thread, 0, os.WSTOPSIG(status))


def main(arguments: Sequence[str]) -> None:
    java, classes, folder = arguments
    os.chdir(folder)  # where the core goes
    record(java, classes, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
