"""Instructions that move the stack pointer, as assemblers write them, against what tables say."""

from __future__ import annotations

import pytest

from unspool.generated.first_instructions import _arm64_moves, _x86_moves

BEHIND = bytes.fromhex("31c0c3") + bytes(12)

# fmt: off
X86_64 = [
    ("55", 8, True),                     # push rbp
    ("4157", 8, True),                   # push r15
    ("6a05", 8, True),                   # push 5
    ("6878563412", 8, True),             # push 0x12345678
    ("f30f1efa55", 8, True),             # endbr64; push rbp
    ("55", 16, False),
    ("5d", 8, False),                    # pop rbp
    ("4883ec18", 24, True),              # sub rsp, 24
    ("4883ec18", 32, False),
    ("4883c418", 24, False),             # add rsp, 24
    ("4883c480", 128, True),             # add rsp, -128
    ("4881ec80000000", 128, True),       # sub rsp, 128
    ("4881ec80000000", 136, False),
    ("4881c400ffffff", 256, True),       # add rsp, -256
    ("488d6424f0", 16, True),            # lea rsp, [rsp - 16]
    ("488da42400ffffff", 256, True),     # lea rsp, [rsp - 256]
    ("83ec18", 24, False),               # sub esp, 24
    ("90", 8, False),
    ("b8000002004829c4", 0x20000, True), # mov eax, 0x20000; sub rsp, rax
    ("4829c4", 16, False),
    ("ff3500100000", 8, True),           # push [rip + 0x1000]
    ("64ff342528000000", 8, True),       # push fs:[0x28]
    ("ff1500100000", 8, False),          # call [rip + 0x1000]
    ("415541", 8, False),                # push r13, and half of the next one
    ("b855555555", 8, False),            # mov eax, 0x55555555
]
I386 = [
    ("55", 4, True),                     # push ebp
    ("83ec1c", 28, True),                # sub esp, 28
    ("81ec00010000", 256, True),         # sub esp, 256
    ("8d6424f0", 16, True),              # lea esp, [esp - 16]
    ("83ec1c", 24, False),
    ("83c41c", 28, False),               # add esp, 28
]
ARM64 = [
    ("fd7bbfa9", 16, True),              # stp x29, x30, [sp, #-16]!
    ("fd7bbba9", 80, True),              # stp x29, x30, [sp, #-80]!
    ("fd7bbba9", 64, False),
    ("fe0f1ff8", 16, True),              # str x30, [sp, #-16]!
    ("fe0f1ff8", 32, False),
    ("ff4300d1", 16, True),              # sub sp, sp, #16
    ("ff0744d1", 0x101000, True),        # sub sp, sp, #0x101, lsl #12
    ("ff430091", 16, False),             # add sp, sp, #16
    ("e827bf6d", 16, True),              # stp d8, d9, [sp, #-16]!
    ("fd7b02a9", 16, False),             # stp x29, x30, [sp, #32]
    ("1f2003d5", 16, False),             # nop
    ("c103bfa9", 16, False),             # stp x1, x0, [x30, #-16]!
]
# fmt: on


@pytest.mark.parametrize(("code", "by", "moves"), X86_64)
def test_x86_64(code: str, by: int, moves: bool) -> None:
    assert _x86_moves(bytes.fromhex(code) + BEHIND, len(code) // 2, by, 8) is moves


@pytest.mark.parametrize(("code", "by", "moves"), I386)
def test_i386(code: str, by: int, moves: bool) -> None:
    assert _x86_moves(bytes.fromhex(code) + BEHIND, len(code) // 2, by, 4) is moves


@pytest.mark.parametrize(("code", "by", "moves"), ARM64)
def test_aarch64(code: str, by: int, moves: bool) -> None:
    assert _arm64_moves(bytes.fromhex(code) + BEHIND, len(code) // 2, by, 8) is moves
