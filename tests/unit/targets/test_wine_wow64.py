"""Which bytes of a WoW64 thread's four stacks are copied, wherever the thread is."""

from __future__ import annotations

import struct

import pytest

from tests.build.core import REGISTERS
from tests.build.wine import Block
from tests.unit.targets.wine_copies import plan
from unspool.arch.x86_64 import X86_64
from unspool.targets.live.stacks import Held

WORDS = REGISTERS["x86_64"]
CPU = "/wine/x86_64-windows/wow64cpu.dll"
TEB, TEB32 = 0x7FFC_0000, 0x7FFC_2000
NARROW, WIDE, UNIX = 0x30_0000, 0x1_0020_0000, 0x1_0010_0000
SIZE = 0x2_0000
# The 64-bit stack ends below its mapping: the registers of 32-bit code are above it.
AREA = WIDE + SIZE - 0x300
FRAME = UNIX + SIZE - 0x1000
RED_ZONE = 128


class Thread:
    """A thread in Unix code that 64-bit code called for 32-bit code."""

    def __init__(self) -> None:
        places = ((TEB, 0x1_0000), (NARROW, SIZE), (WIDE, SIZE), (UNIX, SIZE))
        self.blocks = [Block(at, bytearray(size), "rw") for at, size in sorted(places)]
        self.registers = {"rip": 0x1000, "rsp": FRAME - 0x400, "gs_base": TEB}
        self.esp, self.rsp = NARROW + 0x1_9000, WIDE + 0x1_8000
        for at, value in (
            (0x08, AREA), (0x10, WIDE + 0x2000), (0x30, TEB), (0x60, 0x7FFD_0000), (0x328, FRAME),
            (0x1478, WIDE), (0x1488, AREA), (0x180C, 0x2000),
        ):  # fmt: skip
            self.store(TEB + at, value)
        for at, value in (
            (0x04, NARROW + SIZE), (0x08, NARROW + 0x2000), (0x18, TEB32), (0x30, 0x7FFD_1000),
            (0xE0C, NARROW),
        ):  # fmt: skip
            self.store(TEB32 + at, value, 4)
        self.store(FRAME + 0x88, self.rsp)
        self.store(FRAME + 0x60, self.esp)
        self.store_esp(self.esp + 4)

    def store(self, address: int, value: int, size: int = 8) -> None:
        block = next(each for each in self.blocks if each.address <= address < each.end)
        at = address - block.address
        block.data[at : at + size] = value.to_bytes(size, "little")

    def store_esp(self, value: int) -> None:
        self.store(AREA + 4 + 0xC4, value, 4)

    def lowest(self) -> dict[int, int]:
        """The lowest copied address of each stack that anything was copied of."""
        words = [self.registers.get(name, 0) for name in WORDS]
        sp = self.registers["rsp"]
        planner, copied = plan(self.blocks, [Held(7, 0x1000, sp, 0, words)], X86_64, CPU)
        assert not planner.cut
        found: dict[int, int] = {}
        for part in copied:
            for low, high in part.ranges:
                base = next(each.address for each in self.blocks if each.address <= low < each.end)
                if high - low > 8 and base != TEB:
                    found[base] = min(low, found.get(base, low))
        return found


def below(*pointers: int) -> dict[int, int]:
    """Stacks that are copied from these stack pointers up."""
    return {pointer & -SIZE: pointer - RED_ZONE for pointer in pointers}


def test_in_unix_code() -> None:
    thread = Thread()
    assert thread.lowest() == below(thread.registers["rsp"], thread.rsp, thread.esp)


@pytest.mark.parametrize("saved", [False, True])
def test_in_a_system_call_that_replaces_the_32_bit_registers(saved: bool) -> None:
    """NtRaiseException: where the caller's stack pointer was, r14 or what saved it knows."""
    thread = Thread()
    thread.store_esp(thread.esp + 0x1200)
    if saved:
        thread.store(FRAME + 0x60, 0x7FFC_5A5A)
        thread.store(thread.rsp + 0x340, thread.esp)
        # Where the stack begins is no stack pointer, though it is a pointer to the stack.
        thread.store(thread.rsp + 0x348, NARROW + 0x2000)
    assert thread.lowest() == below(thread.registers["rsp"], thread.rsp, thread.esp)


def test_in_64_bit_code() -> None:
    """The frame is that of an older system call."""
    thread = Thread()
    rsp = thread.rsp + 0x800
    thread.registers.update(rsp=rsp, r14=thread.esp)
    thread.store_esp(thread.esp - 0x500)
    assert thread.lowest() == below(rsp, thread.esp) | {UNIX & -SIZE: FRAME}


def test_in_64_bit_code_that_has_used_r14() -> None:
    thread = Thread()
    thread.registers.update(rsp=thread.rsp, r14=0x55)
    assert thread.lowest() == below(thread.rsp, thread.esp + 4) | {UNIX & -SIZE: FRAME}


def test_in_32_bit_code() -> None:
    """Both the frame and the 32-bit registers in memory are those of an older system call."""
    thread = Thread()
    esp, rsp = thread.esp + 0x700, thread.rsp + 0x900
    thread.registers.update(rsp=esp, r14=rsp)
    assert thread.lowest() == below(esp, rsp) | {UNIX & -SIZE: FRAME}


def test_suspended_in_32_bit_code() -> None:
    """Its registers are in a signal frame, with the selector of 32-bit code."""
    thread = Thread()
    esp, rsp = thread.esp + 0x700, thread.rsp + 0x900
    frame = TEB + 0xF000
    thread.registers["rsp"] = frame - 0x200
    registers = [0] * 23
    registers[6], registers[15], registers[18] = rsp, esp, 0x2B_0000_0000_0023
    for at, value in enumerate(registers):
        thread.store(frame + 40 + 8 * at, value)
    assert thread.lowest() == below(esp, rsp) | {UNIX & -SIZE: FRAME}


def test_words_that_look_like_a_32_bit_stack_pointer_are_bounded() -> None:
    """A stack's own bounds lie on the other stack: nothing of what is below is in use."""
    thread = Thread()
    thread.store(FRAME + 0x60, 0)
    thread.store(thread.rsp + 8, NARROW)
    thread.store(thread.rsp + 16, struct.unpack("<I", b"abcd")[0])
    low = thread.lowest()[NARROW & -SIZE]
    assert low == thread.esp + 4 - RED_ZONE
