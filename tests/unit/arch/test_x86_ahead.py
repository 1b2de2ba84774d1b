"""Code from a pc to the function's return."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.arch.x86_ahead import FP, SP, CodeAhead, Return

BASE, STACK = 0x40_0000, 0x7000
RBX, R11, R14 = 3, 11, 14
CALL = "e800000000"


def returns(code: str, *, word: int = 8, at: int = 0, fp: int | None = None) -> list[Return]:
    """Word number n of the stack holds n."""
    ahead = CodeAhead(
        bytes.fromhex(code.replace(" ", "")), BASE, word,
        lambda address: (address - STACK) // word if address >= STACK else None,
    )  # fmt: skip
    registers: list[int | None] = [0x100 + number for number in range(16)]
    registers[SP], registers[FP] = STACK, fp
    return list(ahead.returns(BASE + at, registers))


def depth(code: str, *, word: int = 8, fp: int | None = None) -> int | None:
    """Which word has the return address, by the first way."""
    found = returns(code, word=word, fp=fp)
    sp = found[0].registers[SP] if found else None
    return None if sp is None else (sp - STACK) // word


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("c3", 0),
        ("f3c3", 0),
        ("c20800", 0),
        ("90 4889c3 c3", 0),  # nop; mov %rax,%rbx
        ("4883c428 c3", 5),  # add $0x28,%rsp
        ("4881c428010000 c3", 0x25),
        ("4883c410 5b 5d 415c 415e c3", 6),
        ("50 51 4883c410 c3", 0),
        ("6a05 6800000000 5859 c3", 0),
        ("c7042545000000 05000000 c3", 0),  # movl $5,0x45
        ("c4a17e7f4409a0 c5f877 c3", 0),  # vmovdqu %ymm0,-0x60(%rcx,%r9,1); vzeroupper
        ("4c8d5c2430 498be3 5f c3", 7),  # lea 0x30(%rsp),%r11; mov %r11,%rsp; pop %rdi
        ("eb02 ffff 4883c408 c3", 1),
        ("7401 58 c3", 1),  # the straight way first
        ("4883e4f0 c3", None),  # and: by how much?
        ("4889c4 c3", None),  # mov %rax,%rsp
        ("4829c4 c3", None),  # sub %rax,%rsp
        ("ffe0", None),  # jmp *%rax
        ("0f0b c3", None),  # ud2
        ("cc c3", None),
        (f"{CALL} 90 c3", None),  # nothing comes back to padding
        (f"{CALL} 0f1f4000 c3", None),
        ("48", None),
        ("", None),
    ],
)
def test_ways_to_the_return_address(code: str, expected: int | None) -> None:
    assert depth(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("c9 c3", 11),
        ("488d65f0 5b 415e 5d c3", 11),  # lea -0x10(%rbp),%rsp
        ("4889ec 5d c3", 11),
        (f"{CALL} c9 c3", 11),
    ],
)
def test_frame_pointers(code: str, expected: int) -> None:
    assert depth(code, fp=STACK + 80) == expected
    assert depth(code) is None


def test_32_bit_calls_take_what_they_like_off_the_stack() -> None:
    assert depth(f"{CALL} 83c408 c3", word=4) is None
    assert depth(f"{CALL} c9 c3", word=4, fp=STACK + 40) == 11
    assert depth(f"{CALL} 8da5cc000000 5d c3", word=4, fp=STACK) == 0xD0 // 4
    assert depth("83c408 5b 5e c21400", word=4) == 4


def test_registers_are_restored() -> None:
    found = returns("488b5c2430 4883c420 415e 5d c3")  # mov 0x30(%rsp),%rbx
    [back] = found
    assert [back.registers[number] for number in (RBX, R14, FP)] == [6, 4, 5]
    assert back.calls == 0
    [back] = returns("53 50 58 5b c3")
    assert back.registers[RBX] == 0x100 + RBX
    assert back.registers[0] == 0x100


def test_all_ways_are_tried_the_straightest_first() -> None:
    found = returns("7405 4883c408 c3 4883c410 c3")
    assert [(back.registers[SP] or 0) - STACK for back in found] == [8, 16]
    # In a circle, and out of the code.
    assert returns("ebfe") == []
    assert returns("7480 c3", at=0)[0].registers[SP] == STACK
    assert returns("e9ffffff7f") == []


def tails(code: str, fp: int | None = None) -> int | None:
    """Like `depth`, for code that ends in jumps to other functions."""
    ahead = CodeAhead(
        bytes.fromhex(code.replace(" ", "")), BASE, 8, lambda address: (address - STACK) // 8,
        tails=True,
    )  # fmt: skip
    registers: list[int | None] = [0x100 + number for number in range(16)]
    registers[SP], registers[FP] = STACK, fp
    found = next(ahead.returns(BASE, registers), None)
    sp = found.registers[SP] if found else None
    return None if sp is None else (sp - STACK) // 8


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("4883c408 ffe1", 1),  # jmp *%rcx
        ("4883c408 41ffe2", 1),  # jmp *%r10
        ("4883c408 41ffa5a0310000", 1),  # jmp *0x31a0(%r13)
        ("4883c408 41ff6508", 1),  # jmp *8(%r13)
        ("4883c408 e900000001", 1),  # jmp to somewhere else
        ("4883c408 ffa5a0310000", None),  # jmp *0x31a0(%rbp)
        ("4883c408 41ff24ca", None),  # jmp *(%r10,%rcx,8): a switch
        ("4883c408 ff2500000000", None),  # jmp *0(%rip)
        ("4883c408 eb70", None),
        ("4889c4 ffe1", None),
        ("c3", 0),
    ],
)
def test_jumps_to_other_functions(code: str, expected: int | None) -> None:
    assert tails(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("4883c408 c3", 1),
        ("c9 c3", 11),
        ("5b 415e 5d c3", 3),
        ("7402 58 c3", None),  # there are two ways
        (f"{CALL} c3", None),
        ("90" * 11 + "c3", 0),
        ("90" * 12 + "c3", None),
        ("ffe1", None),
    ],
)
def test_what_ends_at_once(code: str, expected: int | None) -> None:
    ahead = CodeAhead(
        bytes.fromhex(code.replace(" ", "")), BASE, 8, lambda address: (address - STACK) // 8
    )
    registers: list[int | None] = [None] * 16
    registers[SP], registers[FP] = STACK, STACK + 80
    found = ahead.ending(BASE, registers)
    sp = found.registers[SP] if found else None
    assert (None if sp is None else (sp - STACK) // 8) == expected


@given(st.binary(max_size=80), st.sampled_from([4, 8]), st.integers(-4, 90))
def test_anything_ends(code: bytes, word: int, at: int) -> None:
    ahead = CodeAhead(code, BASE, word, lambda address: address & 0xFF)
    registers: list[int | None] = [STACK] * 16
    assert len(list(ahead.returns(BASE + at, registers))) <= 16
