"""Small honest minidumps to start from, and where their interesting bytes are.

Each holds the memory of its programs, so that all of its stacks can be walked without files.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache

from tests.build import minidump_records as r
from tests.build.minidump import Minidump
from tests.build.pe import AMD64, I386, Section, image
from tests.build.process import IMAGE_SIZE, Process
from tests.fuzz.seeds import busy_program

# The CPUs' names in cores, and in minidumps.
CPUS = {"x86_64": "amd64", "i386": "x86", "aarch64": "arm64"}
LINUX = tuple(f"linux-{cpu}" for cpu in CPUS)
WINDOWS = ("windows-amd64", "windows-x86")
KINDS = LINUX + WINDOWS
TIDS = (4711, 4712, 4713)
EXE, DLL, STACK, TEB = 0x40_0000, 0x7BC0_0000, 0x10_0000, 0x7FFD_E000
GUID = bytes(range(16, 32))
RETURNS = (0x1014, 0x1020, 0x1030)


def linux(
    arch: str = "x86_64", *, process: Process | None = None, memory: str = "list"
) -> Minidump:
    """As Breakpad writes it: three threads, the first of which crashed."""
    if process is None:
        process = Process(arch, program=busy_program(arch))
        process.thread(TIDS[0], ["inner", "middle", "main", "_start"], signal=11)
        process.thread(TIDS[1], ["middle", "main", "_start"])
        process.thread(TIDS[2], ["inner", "inner", "main", "_start"])
    dump = Minidump(CPUS[process.arch], "linux", memory=memory)
    fill(dump, process)
    return dump


def fill(dump: Minidump, process: Process) -> None:
    first, registers, _ = process.threads[0]
    dump.exception(first, 11, 8, registers=registers)
    for (tid, registers, _), stack in zip(process.threads, process.stacks, strict=True):
        dump.thread(tid, registers, (stack.base, stack.build()), name=f"thread {tid}")
    end = process.base + IMAGE_SIZE
    dump.module(
        process.base, IMAGE_SIZE, process.path, codeview=r.build_id(process.program.build_id)
    )
    dump.memory(process.base, process.program.build()[:IMAGE_SIZE])
    lines = [f"{process.base:08x}-{end:08x} r-xp 00000000 08:01 77 {process.path}"]
    for stack in process.stacks:
        top = stack.base + 0x1000
        lines.append(f"{stack.base:08x}-{top:08x} rw-p 00000000 00:00 0")
    dump.stream(r.LINUX_MAPS, "\n".join([*lines, ""]).encode())
    dump.stream(r.LINUX_CMD_LINE, b"prog\0--flag\0")
    dump.stream(r.LINUX_PROC_STATUS, b"Name:\tprog\nPid:\t4711\n")
    word = "Q" if process.machine.bits == 64 else "I"
    pairs = {6: 4096, 9: process.base + process.program.address("_start"), 0: 0}
    flat = [number for pair in pairs.items() for number in pair]
    dump.stream(r.LINUX_AUXV, struct.pack(f"<{len(flat)}{word}", *flat))
    dump.dso_debug([(process.base, process.path, process.base + 0x100)], bits=process.machine.bits)


def windows(cpu: str = "amd64", *, memory: str = "64") -> Minidump:
    """As Windows writes it with all memory: a DLL's function that the program called."""
    wide = cpu == "amd64"
    dump = Minidump(cpu, "windows", memory=memory)
    dump.misc(4711, 0x6553_F000, size=1364)
    made = {}
    for base, name in ((EXE, "run.exe"), (DLL, "ntdll.dll")):
        functions = [(0x1000, 0x1400, 0x2000), (0x1400, 0x1500, 0x2000)] if wide else None
        made[base] = image(
            AMD64 if wide else I386,
            [Section(".text", _code(), "rx"),
             # A prologue of one instruction: sub rsp, 0x28
             Section(".xdata", b"\1\4\1\0\4\x42\0\0", "r")],
            functions=functions, exports=[("NtWait", 0x1000)], dll=base == DLL, image_base=base,
            entry=0x1000,
        )  # fmt: skip
        dump.module(
            base, made[base].size_of_image, f"C:\\windows\\{name}",
            codeview=r.rsds(f"{name[:-4]}.pdb", GUID), TimeDateStamp=0x5F5E100F,
        )  # fmt: skip
    for index, tid in enumerate(TIDS):
        low = STACK + 0x1_0000 * index
        stack = _calls(wide, low, [DLL + RETURNS[0], EXE + RETURNS[1], EXE + RETURNS[2]])
        registers = {"rip": DLL + 0x1005, "rsp": low} if wide else {
            "eip": DLL + 0x1005, "esp": low, "ebp": low + 8, "cs": 0x23,
        }  # fmt: skip
        dump.thread(tid, registers, (low, stack), Teb=TEB - 0x2000 * index, name=f"thread {tid}")
        if index == 0:
            dump.exception(tid, 0xC0000005, DLL + 0x1005, [0, 8], registers=registers)
    for base, program in made.items():
        dump.memory(base, program.memory(base))
        dump.region(base, 0x1000, 2, Type=0x100_0000)
        dump.region(base + 0x1000, 0x1000, 0x20, Type=0x100_0000)
    dump.unloaded_module(0x6000_0000, 0x1_0000, "gone.dll")
    dump.handles([(4, "File", "\\Device\\Null"), (8, "Event", "")])
    return dump


def _code() -> bytes:
    """push ebp; mov ebp, esp; and then little but a call before each return address."""
    code = bytearray(b"\x55\x8b\xec".ljust(0x500, b"\x90"))
    for place in RETURNS:
        code[place - 0x1005 : place - 0x1000] = b"\xe8" + (0xFFFF_FFFF & 0x1000 - place).to_bytes(
            4, "little"
        )
    return bytes(code)


def _calls(wide: bool, low: int, returns: Sequence[int]) -> bytes:
    """A stack on which each function was called by the next."""
    words: list[int] = []
    for address in returns:
        if wide:
            words += [0, 0, 0, 0, 0, address]
        else:
            here = low + 4 * len(words) + 8
            words += [0, 0, here + 16, address]
    return struct.pack(f"<{len(words) + 8}{'Q' if wide else 'I'}", *words, *[0] * 8)


@cache
def seed(kind: str) -> bytes:
    return honest(kind).build()


def honest(kind: str) -> Minidump:
    system, _, cpu = kind.partition("-")
    return linux(cpu) if system == "linux" else windows(cpu)


def places(data: bytes) -> list[range]:
    """Header and directory, each stream, what a thread's and a module's records point to."""
    found = [range(32)]
    count, table = struct.unpack_from("<II", data, 8)
    if not count or table + 12 * count > len(data):
        return [range(len(data))]
    found.append(range(table, table + 12 * count))
    for index in range(min(count, 64)):
        kind, size, rva = struct.unpack_from("<III", data, table + 12 * index)
        if not size or rva + size > len(data):
            continue
        found.append(range(rva, rva + min(size, 400)))
        offsets = {r.THREAD_LIST: (36, 44), r.MODULE_LIST: (24, 84), r.EXCEPTION: (164,)}
        for offset in offsets.get(kind, ()):
            if offset + 4 <= size:
                [there] = struct.unpack_from("<I", data, rva + offset)
                if 0 < there < len(data) - 64:
                    found.append(range(there, there + 64))
    found.append(range(len(data)))
    return found
