"""The system calls of holding and reading, as far as they can be tried without a tracee."""

from __future__ import annotations

import ctypes
import os
import struct
from types import SimpleNamespace

import pytest

from unspool.arch.aarch64 import AARCH64
from unspool.arch.arm import ARM
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.errors import InputError
from unspool.targets.live import ptrace
from unspool.targets.live.ptrace import Calls
from unspool.targets.live.target import to_registers, to_special


def on(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ptrace, "uname", lambda: SimpleNamespace(machine=host))


def test_copies_more_ranges_than_one_call_takes() -> None:
    data = bytearray(os.urandom(200_000))
    start = ctypes.addressof(ctypes.c_char.from_buffer(data))
    ranges = [(start + at, start + at + 1 + at % 63) for at in range(0, 199_000, 64)]
    wanted = b"".join(bytes(data[low - start : high - start]) for low, high in ranges)
    buffer = bytearray(len(wanted))
    assert len(ranges) > 3 * 1024
    assert Calls(1).read_memory(os.getpid(), ranges, buffer) == len(wanted)
    assert buffer == wanted


def test_says_how_much_was_copied_before_an_unmapped_range() -> None:
    data = bytearray(b"x" * 100)
    start = ctypes.addressof(ctypes.c_char.from_buffer(data))
    buffer = bytearray(200)
    ranges = [(start, start + 100), (16, 116)]
    assert Calls(1).read_memory(os.getpid(), ranges, buffer) == 100
    assert Calls(1).read_memory(os.getpid(), ranges[1:], buffer) <= 0


def test_other_hosts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    on("riscv64", monkeypatch)
    with pytest.raises(InputError, match="riscv64"):
        Calls(1)


def test_a_thread_that_is_none_of_ours_has_no_registers() -> None:
    calls = Calls(1)
    assert not calls.read_registers(os.getpid(), 0)
    assert not calls.interrupt(os.getpid())
    assert calls.seize(1 << 22) == 3  # ESRCH


def test_registers_of_aarch64_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """By made-up answers of the kernel: two register sets, each into an iovec's place."""
    on("aarch64", monkeypatch)
    calls = Calls(3)
    asked = []

    def answer(request: int, tid: int, kind: int, vector: int) -> int:
        asked.append((request, tid, kind))
        base, size = struct.unpack("<QQ", ctypes.string_at(vector, 16))
        if tid == 9:
            return -1
        if kind == 1:  # NT_PRSTATUS: x0 to x30, sp, pc, pstate
            assert size == 34 * 8
            ctypes.memmove(base, struct.pack("<34Q", *range(tid, tid + 34)), size)
        else:
            assert (kind, size) == (0x401, 8)
            ctypes.memmove(base, struct.pack("<Q", tid * 1000), size)
        return 0

    calls._ptrace = answer
    assert calls.read_registers(7, 0)
    assert not calls.read_registers(9, 1)
    assert calls.read_registers(8, 2)
    assert asked == [(0x4204, 7, 1), (0x4204, 7, 0x401), (0x4204, 9, 1), (0x4204, 8, 1),
                     (0x4204, 8, 0x401)]  # fmt: skip
    layout = calls.layout
    words = struct.unpack("<105Q", calls.registers)
    first, third = words[:35], words[70:]
    assert first[layout.sp] == 7 + 31 and first[layout.pc] == 7 + 32 and first[layout.tls] == 7000
    assert third[layout.sp] == 8 + 31 and third[layout.tls] == 8000
    registers = to_registers(AARCH64, first)
    assert registers[AARCH64.pc] == 7 + 32 and registers[AARCH64.sp] == 7 + 31
    assert registers[:31] == list(range(7, 38)) and registers[33:] == [None, None]


def test_registers_of_x86_threads() -> None:
    """By their places in struct user_regs_struct (asm/user_64.h)."""
    names = [
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
        "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds",
        "es", "fs", "gs",
    ]  # fmt: skip
    words = [0xABCD_0000_0000 + index for index in range(27)]
    wide = to_registers(X86_64, words)
    for name, value in zip(X86_64.register_names, wide, strict=True):
        assert value == words[names.index(name)]
    narrow = to_registers(X86, words)
    for name, value in zip(X86.register_names, narrow, strict=True):
        assert value == names.index("r" + name[1:])


@pytest.mark.parametrize("host", ["aarch64", "armv7l"])
def test_registers_of_arm_threads(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By made-up answers of the kernel: a 64-bit one has the thread pointer in a register set,
    a 32-bit one has a request of its own for it.
    """
    on(host, monkeypatch)
    if host != "aarch64":
        monkeypatch.setattr(ptrace, "calcsize", lambda _: 4)
    calls = Calls(2, "arm")

    def answer(request: int, tid: int, kind: int | None, place: int) -> int:
        if request == 22:  # PTRACE_GET_THREAD_AREA
            assert host != "aarch64"
            ctypes.memmove(place, struct.pack("<I", tid * 1000), 4)
            return 0
        base, size = struct.unpack("<QQ", ctypes.string_at(place, 16))
        if kind == 1:  # NT_PRSTATUS: r0 to r15, cpsr, orig_r0
            assert size == 18 * 4
            ctypes.memmove(base, struct.pack("<18I", *range(tid, tid + 18)), size)
        else:
            assert (kind, size, host) == (0x401, 4, "aarch64")
            ctypes.memmove(base, struct.pack("<I", tid * 1000), size)
        return 0

    calls._ptrace = answer
    assert calls.read_registers(7, 0) and calls.read_registers(8, 1)
    layout = calls.layout
    words = memoryview(calls.registers).cast(layout.code).tolist()
    first, second = words[: layout.words], words[layout.words :]
    assert first[layout.sp] == 7 + 13 and first[layout.pc] == 7 + 15
    assert first[layout.tls_32] == 7000 and second[layout.tls_32] == 8000
    assert to_registers(ARM, first) == list(range(7, 23))
    assert to_special(ARM, first) == {"cpsr": 7 + 16}


def test_vector_registers_of_arm_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    on("aarch64", monkeypatch)
    calls = Calls(2, "arm", floating_point=True)

    def answer(request: int, tid: int, kind: int, vector: int) -> int:
        base, size = struct.unpack("<QQ", ctypes.string_at(vector, 16))
        assert (request, kind, size) == (0x4204, 0x400, 260)
        ctypes.memset(base, tid, size)
        return 0

    calls._ptrace = answer
    assert calls.read_floating(5, 1)
    assert calls.floating[260:] == b"\5" * 260


@pytest.mark.parametrize(
    ("host", "word", "names"),
    [
        ("x86_64", 8, ("x86-64", "i386")), ("aarch64", 8, ("aarch64", "arm")),
        ("aarch64", 4, ("arm",)), ("armv7l", 4, ("arm",)), ("x86_64", 4, ()), ("riscv64", 8, ()),
    ],
)  # fmt: skip
def test_what_a_host_can_read(
    host: str, word: int, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ptrace, "calcsize", lambda _: word)
    assert ptrace.architectures_of(host) == names
