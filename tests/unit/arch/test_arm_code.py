"""32-bit Arm code: calls, their targets, what instructions do to the stack; against objdump."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Tool
from tests.programs.build import build
from tests.programs.table import BY_NAME
from tests.unit.arch.arm_disassembly import (
    Instruction,
    disassembled,
    every_t16,
    parse,
    random_a32,
    random_t32,
)
from unspool.arch import arm_stack
from unspool.arch.arm_code import arm_call_before, arm_call_target, arm_return_word
from unspool.arch.arm_stack import CALL, FRAME, JUMP, LINK, MOVE, POP, PUSH, RETURN, UNKNOWN

REGISTERS = {f"r{n}": n for n in range(16)} | {
    "sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15,
}  # fmt: skip
CONDITIONS = "eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|hs|lo"
CALLS = re.compile(f"^(bl|blx)({CONDITIONS})?$")
RETURNS = re.compile(f"^bx({CONDITIONS})$")


@pytest.fixture(scope="module")
def real(tool: Tool, programs_root: Path) -> tuple[list[Instruction], list[Instruction]]:
    """All of a static program: glibc's hand-written A32 code, and T32 code of GCC."""
    program = build(BY_NAME["chain-arm-static"], programs_root)
    text = tool("arm-linux-gnueabihf-objdump", "-d", program)
    return list(parse(text, is_thumb=False)), list(parse(text, is_thumb=True))


def is_call(instruction: Instruction) -> bool:
    return bool(CALLS.match(instruction.name))


def looks_like_blx(half: bytes) -> bool:
    return int.from_bytes(half, "little") & 0xFF87 == 0x4780


def check_calls(instructions: list[Instruction], *, is_thumb: bool) -> int:
    calls = 0
    for instruction in instructions:
        end = instruction.address + len(instruction.code)
        code = (b"\0\0\0\0" + instruction.code)[-8:]
        word = end | is_thumb
        if not is_thumb and end % 4:
            continue
        found = arm_return_word(code, len(code), word)
        # The second half of another instruction may look like BLX (register).
        is_odd = len(instruction.code) == 4 and is_thumb and looks_like_blx(instruction.code[2:])
        if "UNPREDICTABLE" not in instruction.operands and not is_odd:
            assert found == is_call(instruction), instruction
        if found and is_call(instruction):
            calls += 1
            assert arm_call_before(code, len(code))
            check_target(instruction, arm_call_target(code, len(code), word), is_thumb=is_thumb)
    return calls


def check_target(instruction: Instruction, target: int | None, *, is_thumb: bool) -> None:
    match = re.match(r"(0x)?([0-9a-f]+)( <|$)", instruction.operands)
    if instruction.operands.split()[0] in REGISTERS or not match:
        assert target is None
        return
    switches = instruction.name.startswith("blx")
    assert target is not None
    assert target & ~1 == int(match[2], 16) & 0xFFFFFFFF, instruction
    assert target & 1 == (is_thumb != switches), instruction


def test_calls_of_real_code(real: tuple[list[Instruction], list[Instruction]]) -> None:
    a32, t32 = real
    # What is before in memory makes a call of nothing here: `mov lr, pc` is left out.
    assert check_calls(a32, is_thumb=False) > 5
    assert check_calls(t32, is_thumb=True) > 3000


def test_calls_among_random_instructions(tool: Tool, tmp_path: Path) -> None:
    a32 = disassembled(tool, tmp_path, random_a32(10_000, 3), is_thumb=False)
    assert check_calls(a32, is_thumb=False) > 300
    t32 = disassembled(tool, tmp_path, random_t32(10_000, 3), is_thumb=True)
    assert check_calls(t32, is_thumb=True) > 500
    t16 = disassembled(tool, tmp_path, every_t16(), is_thumb=True)
    assert check_calls(t16, is_thumb=True) == 16


def test_a_call_as_armv4_makes_it() -> None:
    for jump in ("1cff2fe1", "00f09ce5", "0cf0a0e1"):  # bx ip; ldr pc, [ip]; mov pc, ip
        code = bytes.fromhex("0fe0a0e1" + jump)
        assert arm_return_word(code, 8, 0x8008)
        assert not arm_return_word(bytes.fromhex("0ee0a0e1" + jump), 8, 0x8008)
        assert arm_call_target(code, 8, 0x8008) is None


def test_a_return_address_in_the_middle_of_an_a32_instruction() -> None:
    assert not arm_return_word(bytes.fromhex("00000000000000eb"), 8, 0x8006)


@given(st.binary(max_size=12), st.integers(0, 12), st.integers(0, (1 << 32) - 1))
def test_any_bytes_will_do(code: bytes, at: int, word: int) -> None:
    at = min(at, len(code))
    arm_call_before(code, at)
    arm_return_word(code, at, word)
    target = arm_call_target(code, at, word)
    assert target is None or 0 <= target < 1 << 32
    for is_thumb in (False, True):
        effect = arm_stack.effect(code, at, is_thumb=is_thumb)
        assert effect is None or at + effect.length <= len(code)


# --- the stack ----------------------------------------------------------------------------


def numbers(text: str) -> int:
    """A mask of the registers in a list like {r4, r5, lr}."""
    mask = 0
    for part in text.strip("{}^").split(","):
        first, _, last = part.strip().partition("-")
        for number in range(REGISTERS[first], REGISTERS[last or first] + 1):
            mask |= 1 << number
    return mask


def expected(instruction: Instruction) -> tuple[str, int, int] | None:
    """Kind, mask and size; None where the text has nothing of which we know all."""
    name, operands = instruction.name, instruction.operands
    if name in ("push", "pop") or (name in ("stmdb", "ldmia") and operands.startswith("sp!")):
        listed = operands[operands.index("{") :]
        mask = numbers(listed)
        kind = PUSH if name in ("push", "stmdb") else POP
        return kind, mask, 4 * mask.bit_count()
    if name in ("vpush", "vpop"):
        first, _, last = operands.strip("{}").partition("-")
        count = int(last[1:] or first[1:]) - int(first[1:]) + 1
        size = count * (8 if first[0] == "d" else 4)
        return MOVE, 0, -size if name == "vpush" else size
    match = re.match(r"(add|sub)w?$", name)
    parts = operands.split(", ")
    if match and parts[0] == "sp" and parts[-1].startswith("#") and parts[-2] == "sp":
        size = int(parts[-1][1:], 0)
        return MOVE, 0, size if match[1] == "add" else -size
    if name == "bx":
        return (RETURN if operands == "lr" else JUMP), 0, 0
    if is_call(instruction):
        return CALL, 0, 0
    return None


def check_effects(instructions: list[Instruction], *, is_thumb: bool) -> int:
    count = 0
    for instruction in instructions:
        effect = arm_stack.effect(instruction.code, 0, is_thumb=is_thumb)
        assert effect is not None
        assert effect.length == len(instruction.code)
        wanted = expected(instruction)
        if wanted is None:
            if RETURNS.match(instruction.name):
                continue  # depends on what the instruction before has said
            assert effect.kind not in (RETURN, CALL), instruction
            continue
        count += 1
        kind, mask, size = wanted
        assert (effect.kind, effect.mask, effect.size) == (kind, mask, size), instruction
    return count


def test_effects_of_real_code(real: tuple[list[Instruction], list[Instruction]]) -> None:
    a32, t32 = real
    assert check_effects(a32, is_thumb=False) > 20
    assert check_effects(t32, is_thumb=True) > 5000


@pytest.mark.parametrize(
    ("code", "is_thumb", "kind", "mask", "size"),
    [
        ("4df804ed", True, PUSH, 1 << 14, 4),  # str.w lr, [sp, #-4]!
        ("5df804fb", True, POP, 1 << 15, 4),  # ldr.w pc, [sp], #4
        ("6de90243", True, PUSH, 1 << 3 | 1 << 4, 8),  # strd r4, r3, [sp, #-8]!
        ("6f46", True, FRAME, 7, 0),  # mov r7, sp
        ("00af", True, FRAME, 7, 0),  # add r7, sp, #0
        ("02af", True, FRAME, 7, 8),  # add r7, sp, #8
        ("bd46", True, UNKNOWN, 0, 0),  # mov sp, r7
        ("8546", True, UNKNOWN, 0, 0),  # mov sp, r0
        ("ade b030d".replace(" ", ""), True, UNKNOWN, 0, 0),  # sub.w sp, sp, r3
        ("ddf840e0", True, LINK, 0, 0),  # ldr.w lr, [sp, #64]
        ("adf5805d", True, MOVE, 0, -4096),  # sub.w sp, sp, #4096
        ("adf2045d", True, MOVE, 0, -1284),  # subw sp, sp, #1284
        ("0de0", True, JUMP, 0, 0),  # b
        ("dfe800f0", True, JUMP, 0, 0),  # tbb [pc, r0]
        ("0db0a0e1", False, FRAME, 11, 0),  # mov fp, sp
        ("04b08de2", False, FRAME, 11, 4),  # add fp, sp, #4
        ("04b04ce2", False, "other", 0, 0),  # sub fp, ip, #4
        ("04e02de5", False, PUSH, 1 << 14, 4),  # str lr, [sp, #-4]!
        ("04f09de4", False, POP, 1 << 15, 4),  # ldr pc, [sp], #4
        ("f040 2de1".replace(" ", ""), False, "other", 0, 0),  # strd r4, [sp, -r0]!
        ("00d04be2", False, UNKNOWN, 0, 0),  # sub sp, fp, #0
        ("00a89de8", False, UNKNOWN, 0, 0),  # ldm sp, {fp, sp, pc}
        ("0fe0a0e1", False, LINK, 0, 0),  # mov lr, pc
        ("00f09ce5", False, JUMP, 0, 0),  # ldr pc, [ip]
        ("010000ea", False, JUMP, 0, 0),  # b
        ("0100000a", False, "other", 0, 0),  # beq
        ("03d04de2", False, MOVE, 0, -3),  # sub sp, sp, #3
        ("016a4de2", False, FRAME, 6, -4096),  # sub r6, sp, #4096
        ("01da4de2", False, MOVE, 0, -4096),  # sub sp, sp, #4096
    ],
)
def test_what_instructions_do(code: str, is_thumb: bool, kind: str, mask: int, size: int) -> None:
    effect = arm_stack.effect(bytes.fromhex(code), 0, is_thumb=is_thumb)
    assert effect is not None
    if kind in (UNKNOWN, LINK, JUMP, "other"):
        assert effect.kind == kind
    else:
        assert (effect.kind, effect.mask, effect.size) == (kind, mask, size)


def test_the_instruction_set_can_be_told(
    real: tuple[list[Instruction], list[Instruction]],
) -> None:
    for instructions, is_thumb in zip(real, (False, True), strict=True):
        code = b"".join(instruction.code for instruction in instructions)
        pieces = [code[at : at + 64] for at in range(0, min(len(code), 64_000) - 64, 64)]
        right = sum(arm_stack.looks_like_thumb(piece) == is_thumb for piece in pieces)
        assert right > 0.8 * len(pieces)
