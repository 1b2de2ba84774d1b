"""Which AArch64 instructions read and which write, against objdump."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import Tool
from unspool.arch.access import aarch64_access

_ATOMIC = ("ldadd", "ldclr", "ldeor", "ldset", "ldsmax", "ldsmin", "ldumax", "ldumin")


def expected(mnemonic: str) -> str | None:
    if mnemonic.startswith(_ATOMIC) or mnemonic.startswith(("cas", "swp")):
        return "write"
    if mnemonic.startswith("prf"):
        return ""
    if mnemonic.startswith(("ldg", "st2g", "stg", "stz", "ld64", "st64")):
        return None  # memory tags, and 64 bytes at once: rare enough
    if mnemonic.startswith("ld"):
        return "read"
    return "write" if mnemonic.startswith("st") else None


def test_aarch64_agrees_with_objdump(tool: Tool, tmp_path: Path) -> None:
    rnd = random.Random(7)
    words = []
    while len(words) < 20_000:
        word = rnd.getrandbits(32)
        if word >> 25 & 0b0101 == 0b0100:
            words.append(word)
    path = tmp_path / "code"
    path.write_bytes(b"".join(word.to_bytes(4, "little") for word in words))
    out = tool("aarch64-linux-gnu-objdump", "-D", "-b", "binary", "-m", "aarch64", path)
    compared = 0
    for line in out.splitlines():
        parts = line.split("\t")
        if len(parts) < 3 or parts[2].startswith("."):
            continue
        wanted = expected(parts[2].split()[0])
        if wanted is None:
            continue
        compared += 1
        assert aarch64_access(int(parts[1], 16)) == wanted, line
    assert compared > 5_000


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        (0xB9000008, "write"),  # str w8, [x0]
        (0xF9400508, "read"),  # ldr x8, [x8, #8]
        (0xA9BF7BFD, "write"),  # stp x29, x30, [sp, #-16]!
        (0xA8C17BFD, "read"),  # ldp x29, x30, [sp], #16
        (0x38001C01, "write"),  # strb w1, [x0, #1]!
        (0x885FFC01, "read"),  # ldaxr w1, [x0]
        (0x88027C01, "write"),  # stxr w2, w1, [x0]
        (0x3DC00000, "read"),  # ldr q0, [x0]
        (0x3D800000, "write"),  # str q0, [x0]
        (0xB8210002, "write"),  # ldadd w1, w2, [x0]
        (0xF8A04820, ""),  # prfm
        (0xD50B7423, "write"),  # dc zva, x3
        (0xD503201F, ""),  # nop
        (0x8B010000, ""),  # add
    ],
)
def test_aarch64(word: int, kind: str) -> None:
    assert aarch64_access(word) == kind
