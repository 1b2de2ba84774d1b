"""The architecture tables: their invariants, and other people's numbers."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from tests.build.core import REGISTERS
from unspool import arch as architectures
from unspool.arch.base import Arch

MACHINES = {"x86_64": (62, 2), "i386": (3, 1), "aarch64": (183, 2), "arm": (40, 1)}


def get(name: str) -> Arch:
    found = architectures.by_machine(*MACHINES[name])
    assert found is not None
    return found


@pytest.mark.parametrize("name", MACHINES)
def test_a_table_is_consistent(name: str) -> None:
    arch = get(name)
    count = len(arch.register_names)
    assert len(set(arch.register_names)) == count
    roles = [arch.pc, arch.sp, arch.fp, arch.ra_column, *([arch.link] if arch.link else [])]
    assert all(0 <= number < count for number in roles)
    assert arch.mask == (1 << 8 * arch.pointer_size) - 1
    assert arch.code_address_mask & arch.mask == arch.code_address_mask
    order = [number for number in arch.prstatus.order if number is not None]
    assert len(set(order)) == len(order)
    assert {arch.pc, arch.sp, arch.fp} <= set(order)
    end = arch.prstatus.registers_offset + arch.pointer_size * len(arch.prstatus.order)
    assert end <= arch.prstatus.size
    assert arch.prpsinfo.arguments_offset + 80 == arch.prpsinfo.size
    assert arch.prpsinfo.name_offset + 16 == arch.prpsinfo.arguments_offset
    for frame in arch.signal_frames:
        numbers = [number for number, _ in frame.saved]
        offsets = [offset for _, offset in frame.saved]
        assert len(set(numbers)) == len(numbers)
        assert len(set(offsets)) == len(offsets)
        assert {arch.pc, arch.sp, arch.fp} <= set(numbers)


@pytest.mark.parametrize("name", MACHINES)
def test_the_order_of_prstatus_is_that_of_the_kernel(name: str) -> None:
    arch = get(name)
    assert len(arch.prstatus.order) == len(REGISTERS[name])
    for number, register in zip(arch.prstatus.order, REGISTERS[name], strict=True):
        if number is not None:
            assert arch.register_names[number] == register


def test_other_machines_are_none_and_have_names() -> None:
    assert architectures.by_machine(62, 1) is None
    assert architectures.by_machine(3, 2) is None
    assert "x32" in architectures.machine_name(62, 1)
    assert "RISC-V" in architectures.machine_name(243, 2)
    assert "4711" in architectures.machine_name(4711, 2)
    assert architectures.machine_name(62, 2) == "x86-64"


def test_a_code_mask_changes_nothing_else() -> None:
    arch = get("aarch64")
    other = arch.with_code_mask(0xFF)
    assert other.code_address_mask == 0xFF
    assert arch.code_address_mask != 0xFF
    assert other.register_names is arch.register_names


PROGRAM = r"""
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <ucontext.h>
#define P(name, member) printf(name " %zu\n", offsetof(ucontext_t, member));
int main(void) {
    P("alt_stack", uc_stack)
#if defined(__x86_64__)
    P("rip", uc_mcontext.gregs[REG_RIP]) P("rsp", uc_mcontext.gregs[REG_RSP])
    P("rbp", uc_mcontext.gregs[REG_RBP]) P("rbx", uc_mcontext.gregs[REG_RBX])
    P("rax", uc_mcontext.gregs[REG_RAX]) P("rcx", uc_mcontext.gregs[REG_RCX])
    P("rdx", uc_mcontext.gregs[REG_RDX]) P("rsi", uc_mcontext.gregs[REG_RSI])
    P("rdi", uc_mcontext.gregs[REG_RDI]) P("r8", uc_mcontext.gregs[REG_R8])
    P("r9", uc_mcontext.gregs[REG_R9]) P("r10", uc_mcontext.gregs[REG_R10])
    P("r11", uc_mcontext.gregs[REG_R11]) P("r12", uc_mcontext.gregs[REG_R12])
    P("r13", uc_mcontext.gregs[REG_R13]) P("r14", uc_mcontext.gregs[REG_R14])
    P("r15", uc_mcontext.gregs[REG_R15])
#elif defined(__i386__)
    P("eip", uc_mcontext.gregs[REG_EIP]) P("esp", uc_mcontext.gregs[REG_ESP])
    P("ebp", uc_mcontext.gregs[REG_EBP]) P("ebx", uc_mcontext.gregs[REG_EBX])
    P("eax", uc_mcontext.gregs[REG_EAX]) P("ecx", uc_mcontext.gregs[REG_ECX])
    P("edx", uc_mcontext.gregs[REG_EDX]) P("esi", uc_mcontext.gregs[REG_ESI])
    P("edi", uc_mcontext.gregs[REG_EDI])
#elif defined(__arm__)
    P("r0", uc_mcontext.arm_r0) P("r10", uc_mcontext.arm_r10) P("r11", uc_mcontext.arm_fp)
    P("r12", uc_mcontext.arm_ip) P("sp", uc_mcontext.arm_sp) P("lr", uc_mcontext.arm_lr)
    P("pc", uc_mcontext.arm_pc)
#else
    P("pc", uc_mcontext.pc) P("sp", uc_mcontext.sp)
    P("x0", uc_mcontext.regs[0]) P("x29", uc_mcontext.regs[29]) P("x30", uc_mcontext.regs[30])
#endif
}
"""
COMPILERS = {
    "x86_64": (["gcc"], []),
    "i386": (["gcc", "-m32", "-isystem", "/usr/include/x86_64-linux-gnu"], []),
    "aarch64": (["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64"]),
    "arm": (["arm-linux-gnueabihf-gcc", "-static"], ["qemu-arm"]),
}
# Where the ucontext lies from the stack pointer at the trampoline.
CONTEXTS = {"x86_64": 0, "i386": 140, "aarch64": 128, "arm": 128}


@pytest.mark.parametrize("name", MACHINES)
def test_signal_frames_have_the_offsets_of_the_c_library(name: str, tmp_path: Path) -> None:
    source, program = tmp_path / "offsets.c", tmp_path / "offsets"
    source.write_text(PROGRAM)
    compiler, runner = COMPILERS[name]
    try:
        subprocess.run(
            [*compiler, "-D_GNU_SOURCE", "-o", program, source], check=True, capture_output=True
        )
        result = subprocess.run([*runner, program], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot build or run a program for {name}: {error}")
    offsets = {key: int(value) for key, value in map(str.split, result.stdout.splitlines())}
    arch = get(name)
    frame = arch.signal_frames[0]
    assert frame.alt_stack is not None
    assert frame.alt_stack - CONTEXTS[name] == offsets.pop("alt_stack")
    saved = {arch.register_names[number]: offset for number, offset in frame.saved}
    for register, offset in offsets.items():
        assert saved[register] - CONTEXTS[name] == offset, register


@pytest.mark.parametrize("name", MACHINES)
def test_trampolines_are_what_the_assembler_makes_of_them(name: str) -> None:
    arch = get(name)
    codes = {frame.code for frame in arch.signal_frames}
    if name == "aarch64":
        movz = 0xD2800000 | 139 << 5 | 8  # MOVZ x8, #__NR_rt_sigreturn
        assert struct.pack("<II", movz, 0xD4000001) in codes
    elif name == "arm":
        for number in (119, 173):  # __NR_sigreturn, __NR_rt_sigreturn
            a32 = struct.pack("<I", 0xE3A07000 | number)  # MOV r7, #number
            t16 = struct.pack("<HH", 0x2700 | number, 0xDF00)
            t32 = struct.pack("<HHH", 0xF04F, 0x0700 | number, 0xDF00)
            swi = struct.pack("<I", 0xEF000000), struct.pack("<I", 0xEF900000 | number)
            assert {a32 + swi[0], a32 + swi[1], t16, t32} <= codes
    elif name == "x86_64":
        assert bytes.fromhex("48c7c00f0000000f05") in codes
    else:
        assert bytes.fromhex("b8ad000000cd80") in codes
        assert bytes.fromhex("58b877000000cd80") in codes
