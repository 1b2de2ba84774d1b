from __future__ import annotations

import pytest

from unspool import arch
from unspool.memory import Memory, Region
from unspool.model import Crash, Thread
from unspool.space import AddressSpace
from unspool.targets.fault import access_of

CODE = bytes.fromhex("c7000100000090")  # movl $1, (%rax); nop
BASE = 0x1000


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
