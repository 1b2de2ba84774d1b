"""A64 loads and stores below the stack pointer, against objdump, which knows all of them."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

import pytest

from tests.conftest import Tool
from unspool.arch.aarch64_below import below_stack, is_padding

NAMED = re.compile(r"^\s*([0-9a-f]+):\t[0-9a-f]{8} \t(\S+)\t(.*\[sp, #-\d+\])(?:\s|$)")
# Prefetches read nothing; tags of memory are no memory.
OTHERS = ("prfum", "stg", "st2g", "stzg", "stz2g", "ldg", "stgp")


def listed(tool: Tool, folder: Path, code: bytes) -> list[tuple[int, str]]:
    (folder / "code").write_bytes(code)
    text = tool(
        "aarch64-linux-gnu-objdump", "-D", "-b", "binary", "-m", "aarch64", folder / "code"
    )
    found = []
    for line in text.splitlines():
        row = NAMED.match(line)
        if row and row[2] not in OTHERS and "{z" not in row[3]:
            found.append((int(row[1], 16), f"{row[2]} {row[3]}"))
    return found


def below(code: bytes) -> list[tuple[int, str]]:
    """As `listed`; objdump calls it undefined to load two words into one register."""
    found = [(use.address - 0x1000, use.text) for use in below_stack(code, 0x1000)]
    return [each for each in found if not re.match(r"ldpsw (x\w+), \1,", each[1])]


def words(*bits: int) -> bytes:
    return struct.pack(f"<{len(bits)}I", *bits)


def test_every_form_with_every_offset(tool: Tool, tmp_path: Path) -> None:
    """All loads and stores that have the stack pointer as base, by their upper bits."""
    code = bytearray()
    for upper in range(1 << 11):  # bits 31 to 21
        if upper >> 6 & 1 and not upper >> 4 & 1:  # bits 27 and 25: loads and stores
            for low in range(4):  # bits 11 and 10
                for offset in (0x1FF, 0x1F0, 0x100, 0x0F0, 0x010):
                    code += words(upper << 21 | offset << 12 | low << 10 | 31 << 5 | 3)
    found = below(bytes(code))
    assert found == listed(tool, tmp_path, bytes(code))
    assert len(found) > 500


def test_words_of_any_kind(tool: Tool, tmp_path: Path) -> None:
    chosen = random.Random(7)
    code = words(*(chosen.getrandbits(32) & ~(31 << 5) | 31 << 5 for _ in range(40_000)))
    found = below(code)
    assert found == listed(tool, tmp_path, code)
    assert len(found) > 500


@pytest.mark.parametrize(
    ("word", "depth", "size", "access", "text"),
    [
        (0xF81F03E0, 16, 8, "write", "stur x0, [sp, #-16]"),
        (0xA93C03E0, 64, 16, "write", "stp x0, x0, [sp, #-64]"),
        (0x385FF3E9, 1, 1, "read", "ldurb w9, [sp, #-1]"),
        (0x3C9E03E0, 32, 16, "write", "stur q0, [sp, #-32]"),
        (0xD91F83E0, 8, 8, "write", "stlur x0, [sp, #-8]"),
    ],
)
def test_what_is_said_of_one(word: int, depth: int, size: int, access: str, text: str) -> None:
    (use,) = below_stack(words(word), 0x400)
    assert (use.address, use.depth, use.size, use.access, use.text) == (
        0x400, depth, size, access, text,
    )  # fmt: skip


@pytest.mark.parametrize(
    "word", [0xF81F0FE0, 0xF84107E0, 0xA9BE07E0, 0xF89F83E0, 0xF90007E0, 0xD10083FF]
)
def test_what_moves_the_stack_pointer_or_lies_above(word: int) -> None:
    assert below_stack(words(word), 0) == []


def test_padding_and_odd_ends() -> None:
    assert is_padding(words(0xD503201F, 0))
    assert not is_padding(words(0xD65F03C0))
    assert below_stack(words(0xF81F03E0)[:3], 0) == []
