"""Which 32-bit Arm instructions read and which write, against objdump."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.unit.arch.arm_disassembly import (
    Instruction,
    disassembled,
    every_t16,
    random_a32,
    random_t32,
)
from unspool.arch.arm_access import arm_access

_LOADS = ("ldr", "ldm", "ldrex", "ldaex", "lda", "vldr", "vldm", "vld", "pop", "vpop", "tbb", "tbh")
_STORES = ("str", "stm", "strex", "stlex", "stl", "vstr", "vstm", "vst", "push", "vpush", "swp")


def expected(instruction: Instruction) -> str | None:
    name = instruction.name
    if "UNDEFINED" in instruction.mnemonic + instruction.operands or "<" in name:
        return None
    if "UNPREDICTABLE" in instruction.operands or "illegal" in instruction.operands:
        return None
    if name.startswith(("ldc", "stc")):
        return None  # of a coprocessor that nobody has
    if instruction.operands.startswith("pc") and name != "ldr":
        return None  # of less than a word: hints, or nothing that is defined
    if name.startswith(("pld", "pli")):
        return ""
    if name.startswith(_LOADS):
        return "read"
    return "write" if name.startswith(_STORES) else None


def compared(instructions: list[Instruction], *, is_thumb: bool) -> int:
    count = 0
    for instruction in instructions:
        wanted = expected(instruction)
        if wanted is not None:
            count += 1
            assert arm_access(instruction.code, is_thumb=is_thumb) == wanted, instruction
    return count


def test_a32_agrees_with_objdump(tool: Tool, tmp_path: Path) -> None:
    code = random_a32(20_000, 7)
    assert compared(disassembled(tool, tmp_path, code, is_thumb=False), is_thumb=False) > 4000


def test_t32_agrees_with_objdump(tool: Tool, tmp_path: Path) -> None:
    code = random_t32(20_000, 7)
    assert compared(disassembled(tool, tmp_path, code, is_thumb=True), is_thumb=True) > 2500


def test_t16_agrees_with_objdump(tool: Tool, tmp_path: Path) -> None:
    instructions = disassembled(tool, tmp_path, every_t16(), is_thumb=True)
    assert compared(instructions, is_thumb=True) > 20_000


@pytest.mark.parametrize("is_thumb", [False, True])
@pytest.mark.parametrize("code", [b"", b"\x01", b"\x00\xf8", b"\x00\xf8\x00"])
def test_what_is_cut_tells_nothing(code: bytes, is_thumb: bool) -> None:
    assert arm_access(code, is_thumb=is_thumb) == ""
