"""Minidumps of the processes that `tests.build.process` makes up."""

from __future__ import annotations

from tests.build import minidump_records as records
from tests.build.core import AT_ENTRY, AT_NULL
from tests.build.minidump import Minidump
from tests.build.process import IMAGE_SIZE, Process

ARCHES = {"x86_64": "amd64", "i386": "x86", "aarch64": "arm64"}
FUNCTIONS = ["inner", "middle", "main", "_start"]


def process_of(arch: str = "x86_64", path: str = "/nonexistent/prog") -> Process:
    made = Process(arch, path=path)
    made.thread(4711, FUNCTIONS, signal=11)
    made.thread(4712, FUNCTIONS[1:])
    return made


def maps_of(process: Process) -> bytes:
    """The process's /proc/PID/maps: the program, and a mapping around each stack."""
    base = process.base
    lines = [f"{base:08x}-{base + IMAGE_SIZE:08x} r-xp 00000000 08:01 17 {process.path}"]
    for stack in process.stacks:
        low, high = bounds_of(stack.base)
        lines.append(f"{low:08x}-{high:08x} rw-p 00000000 00:00 0 ")
    return "\n".join(sorted(lines)).encode() + b"\n"


def bounds_of(stack: int) -> tuple[int, int]:
    """The mapping that `maps_of` puts around a stack's bytes."""
    return stack - 0x2000, stack + 0x3000


def auxv_of(process: Process) -> bytes:
    size = process.machine.word
    pairs = [AT_ENTRY, process.base + process.program.address("_start"), AT_NULL, 0]
    return b"".join(value.to_bytes(size, "little") for value in pairs)


def dump_of(
    process: Process,
    *,
    maps: bool = True,
    auxv: bool = True,
    modules: bool = True,
    codeview: bytes | None = None,
    memory: str = "list",
    signal: tuple[int, int, int] | None = (11, 1, 8),
    system: str = "linux",
) -> Minidump:
    """`signal` is number, code and address; the crashed thread's context is the exception's."""
    dump = Minidump(ARCHES[process.arch], system, memory=memory)
    for (tid, registers, _), stack in zip(process.threads, process.stacks, strict=True):
        own = dict(registers)
        if signal is not None and tid == process.threads[0][0]:
            own[process.machine.pc] = 0x10  # that of the handler which wrote the dump
        dump.thread(tid, own, stack=(stack.base, stack.build()), name=f"name {tid}")
    if modules:
        identity = records.build_id(process.program.build_id) if codeview is None else codeview
        dump.module(process.base, IMAGE_SIZE, process.path, codeview=identity)
    if signal is not None:
        tid, registers, _ = process.threads[0]
        number, code, address = signal
        dump.exception(tid, number, address, registers=registers, ExceptionFlags=code & 0xFFFFFFFF)
    if maps:
        dump.stream(records.LINUX_MAPS, maps_of(process))
    if auxv:
        dump.stream(records.LINUX_AUXV, auxv_of(process))
    return dump
