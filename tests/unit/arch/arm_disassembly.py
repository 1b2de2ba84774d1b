"""Random and real 32-bit Arm instructions as the cross binutils' objdump shows them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import Tool

LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f ]+)\t(.*)$")


class Instruction:
    """`code` are its bytes; `name` is without condition and width."""

    def __init__(self, address: int, code: bytes, text: str) -> None:
        self.address = address
        self.code = code
        mnemonic, _, operands = text.partition("\t")
        self.mnemonic = mnemonic.strip()
        self.name = self.mnemonic.partition(".")[0]
        self.operands = operands.partition("@")[0].partition(";")[0].strip()

    def __repr__(self) -> str:
        return f"{self.address:x}: {self.code.hex()} {self.mnemonic} {self.operands}"


def parse(text: str, *, is_thumb: bool) -> Iterator[Instruction]:
    for line in text.splitlines():
        match = LINE.match(line)
        if not match or match[3].startswith("."):
            continue
        size = 2 if is_thumb else 4
        parts = match[2].split()
        if any(len(part) != 2 * size for part in parts):
            continue  # data
        code = b"".join(int(part, 16).to_bytes(size, "little") for part in parts)
        yield Instruction(int(match[1], 16), code, match[3])


def disassembled(tool: Tool, folder: Path, code: bytes, *, is_thumb: bool) -> list[Instruction]:
    path = folder / ("t32" if is_thumb else "a32")
    path.write_bytes(code)
    mode = ["-M", "force-thumb"] if is_thumb else []
    name = "arm-linux-gnueabihf-objdump"
    out = tool(name, "-D", "-b", "binary", "-m", "arm", *mode, path)
    return list(parse(out, is_thumb=is_thumb))


def random_a32(count: int, seed: int) -> bytes:
    rnd = random.Random(seed)
    conditions = (0xE, 0xE, 0xE, 0xF, 0x1)
    words = (rnd.getrandbits(28) | rnd.choice(conditions) << 28 for _ in range(count))
    return b"".join(word.to_bytes(4, "little") for word in words)


def random_t32(count: int, seed: int) -> bytes:
    """As many instructions of two halfwords; between them one that is a halfword alone."""
    rnd = random.Random(seed)
    parts = []
    for _ in range(count):
        first = rnd.choice((0b11101, 0b11110, 0b11111)) << 11 | rnd.getrandbits(11)
        parts += [first, rnd.getrandbits(16), 0xBF00]
    return b"".join(half.to_bytes(2, "little") for half in parts)


def every_t16() -> bytes:
    return b"".join(half.to_bytes(2, "little") for half in range(0xE800))
