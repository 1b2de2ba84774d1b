from __future__ import annotations

import sys

import pytest

from unspool import arch
from unspool.memory import Memory, Region
from unspool.model import Crash, Thread
from unspool.space import AddressSpace
from unspool.targets.fault import access_of

CODE = bytes.fromhex("c7000100000090")  # movl $1, (%rax); nop
BASE = 0x40000


def space(code: bytes) -> AddressSpace:
    x86_64 = arch.by_machine(62, 2)
    assert x86_64 is not None
    region = Region(
        BASE, BASE + len(code), lambda: (code, 0, len(code)), writable=False, executable=True
    )
    return AddressSpace(x86_64, Memory([region]), [], lambda _: None)


def thread(pc: int | None) -> Thread:
    registers: list[int | None] = [0] * 17
    registers[16] = pc
    return Thread(0, 1, registers)


def segv(address: int | None, number: int = 11, index: int | None = 0) -> Crash:
    return Crash("SIGSEGV", number, 1, address, index)


def test_the_instruction_at_the_pc_tells() -> None:
    pytest.importorskip("iced_x86")
    assert access_of(segv(8), [thread(BASE)], space(CODE)) == "write"
    assert access_of(segv(8, number=7), [thread(BASE)], space(CODE)) == "write"
    assert access_of(segv(8), [thread(BASE + 6)], space(CODE)) is None


def test_a_jump_faults_at_the_pc_itself_or_behind_the_page() -> None:
    assert access_of(segv(0x10), [thread(0x10)], space(CODE)) == "execute"
    end = BASE + len(CODE)
    assert access_of(segv(end), [thread(end - 2)], space(CODE)) == "execute"


@pytest.mark.parametrize(
    ("crash", "threads"),
    [
        (segv(None), [thread(BASE)]),
        (segv(8, number=8), [thread(BASE)]),
        (segv(8, index=None), [thread(BASE)]),
        (segv(8, index=1), [thread(BASE)]),
        (segv(8), [thread(None)]),
        (segv(8), [Thread(0, 1, None)]),
        (segv(8), [thread(0x999000)]),
    ],
)
def test_without_an_address_a_thread_or_code_nothing_is_told(
    crash: Crash, threads: list[Thread]
) -> None:
    assert access_of(crash, threads, space(CODE)) is None


def access(code: str, address: int, machine: int = 62) -> str | None:
    """What `code` does at `address` with rsp 0x1000, rdi 0x2000 and rsi 0x3000."""
    pytest.importorskip("iced_x86")
    table = arch.by_machine(machine, 2 if machine == 62 else 1)
    assert table is not None
    data = bytes.fromhex(code)
    where = Region(BASE, BASE + len(data), lambda: (data, 0, len(data)), executable=True)
    values = {"sp": 0x1000, "di": 0x2000, "si": 0x3000, "ip": BASE}
    registers: list[int | None] = [values.get(name[1:], 0) for name in table.register_names]
    faulting = Thread(0, 1, registers)
    target = AddressSpace(table, Memory([where]), [], lambda _: None)
    return access_of(segv(address), [faulting], target)


@pytest.mark.parametrize(
    ("code", "address", "kind"),
    [
        ("c7 00 01 00 00 00", 0, "write"),  # movl $1, (%rax)
        ("8b 00", 0, "read"),  # mov (%rax), %eax
        ("83 00 01", 0, "write"),  # addl $1, (%rax)
        ("48 a5", 0x2000, "write"),  # movsq to rdi
        ("48 a5", 0x3000, "read"),
        ("ff 10", 0xFF8, "write"),  # call *(%rax): no room for the return address
        ("ff 10", 0x0, "read"),
        ("55", 0xFF8, "write"),  # push %rbp
        ("c3", 0x1000, "read"),
        ("90", 0x1000, None),
        ("0f 0b", 0, None),  # ud2
        ("c5 fe 7f 00", 0, "write"),  # vmovdqu %ymm0, (%rax)
    ],
)
def test_x86_64(code: str, address: int, kind: str | None) -> None:
    assert access(code, address) == kind


def test_i386() -> None:
    assert access("89 10", 0, machine=3) == "write"
    assert access("8b 10", 0, machine=3) == "read"
    assert access("a5", 0x2000, machine=3) == "write"


def test_without_the_decoder_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "iced_x86", None)
    assert access_of(segv(8), [thread(BASE)], space(CODE)) is None


@pytest.mark.parametrize(
    ("code", "flags", "kind"),
    [
        ("0860", 0x30, "write"),  # T32: str r0, [r1]
        ("0868", 0x30, "read"),  # T32: ldr r0, [r1]
        ("000081e5", 0x10, "write"),  # A32: str r0, [r1]
        ("000091e5", 0x10, "read"),  # A32: ldr r0, [r1]
        ("00bf", 0x30, None),  # T32: nop
    ],
)
def test_the_instruction_of_an_arm_thread(code: str, flags: int, kind: str | None) -> None:
    """Its flags say of which instruction set it is."""
    arm = arch.by_machine(40, 1)
    assert arm is not None
    data = bytes.fromhex(code)
    region = Region(BASE, BASE + len(data), lambda: (data, 0, len(data)), executable=True)
    made = AddressSpace(arm, Memory([region]), [], lambda _: None)
    registers: list[int | None] = [*[0] * 15, BASE]
    stopped = Thread(0, 1, registers, special={"cpsr": flags})
    assert access_of(segv(8), [stopped], made) == kind
