"""Which instructions read and which write, against iced-x86 and objdump."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import Tool
from unspool.arch.access import aarch64_access, access_kind, x86_access, x86_role


def role(code: str, wide: bool = True) -> str:
    return x86_role(bytes.fromhex(code) + bytes(8), wide)


@pytest.mark.parametrize(
    ("code", "letter"),
    [
        ("c7 00 01 00 00 00", "w"),  # movl $1, (%rax)
        ("8b 00", "r"),  # mov (%rax), %eax
        ("88 10", "w"),  # mov %dl, (%rax)
        ("0f b6 00", "r"),  # movzbl (%rax), %eax
        ("83 38 00", "r"),  # cmpl $0, (%rax)
        ("83 00 01", "w"),  # addl $1, (%rax)
        ("89 c0", "."),  # mov %eax, %eax
        ("8d 00", "."),  # lea
        ("90", "."),
        ("55", "K"),  # push %rbp
        ("e8 00 00 00 00", "K"),  # call
        ("ff 10", "k"),  # call *(%rax)
        ("ff d0", "K"),  # call *%rax
        ("c3", "O"),
        ("48 a5", "S"),  # movsq
        ("f3 aa", "W"),  # rep stosb
        ("66 0f d6 00", "w"),  # movq %xmm0, (%rax)
        ("f3 0f 7e 00", "r"),  # movq (%rax), %xmm0
        ("c5 fe 6f 00", "r"),  # vmovdqu (%rax), %ymm0
        ("c5 fe 7f 00", "w"),
        ("62 f1 7c 48 11 00", "w"),  # vmovups %zmm0, (%rax)
        ("f2 0f 38 f1 00", "r"),  # crc32l (%rax), %eax
        ("0f 38 f1 00", "w"),  # movbe %eax, (%rax)
        ("0f 18 08", "."),  # prefetcht0
    ],
)
def test_common_instructions(code: str, letter: str) -> None:
    assert role(code) == letter


def test_code_that_is_cut_off_is_not_known() -> None:
    for code in ("", "48", "0f", "66 0f", "8b", "0f 38", "62 f1", "c5 fe", "66" * 20):
        assert x86_role(bytes.fromhex(code), True) == "."


def access(code: str, address: int, sp: int = 0x1000, di: int = 0x2000) -> str:
    return x86_access(bytes.fromhex(code), address, sp, di, wide=True)


def test_registers_decide_where_an_instruction_does_both() -> None:
    assert access("48 a5", 0x2000) == "write"  # movsq to rdi
    assert access("48 a5", 0x3000) == "read"
    assert access("ff 10", 0xFF8) == "write"  # call *(%rax): no room for the return address
    assert access("ff 10", 0x20) == "read"
    assert access("8f 00", 0x1000) == "read"  # pop (%rax)
    assert access("8f 00", 0x20) == "write"
    assert access("55", 0xFF8) == "write"
    assert access("c3", 0x1000) == "read"
    assert access("90", 0x1000) == ""


def test_registers_are_found_by_architecture() -> None:
    wide: list[int | None] = [None] * 17
    wide[7], wide[5] = 0x1000, 0x2000
    assert access_kind("x86_64", b"\x48\xa5", 0x2000, wide) == "write"
    narrow: list[int | None] = [None] * 9
    narrow[4], narrow[7] = 0x1000, 0x2000
    assert access_kind("x86", b"\xa5", 0x2000, narrow) == "write"
    assert access_kind("aarch64", bytes.fromhex("080000b9"), 0x8, []) == "write"
    assert access_kind("aarch64", b"\x08", 0x8, []) == ""
    assert access_kind("m68k", bytes(16), 8, []) == ""


@pytest.mark.parametrize("wide", [True, False])
def test_x86_agrees_with_iced(wide: bool) -> None:
    iced = pytest.importorskip("iced_x86")
    info = iced.InstructionInfoFactory()
    reads = {iced.OpAccess.READ, iced.OpAccess.COND_READ}
    nothing = {iced.OpAccess.NO_MEM_ACCESS, iced.OpAccess.NONE}
    rnd = random.Random(wide)
    prefixes = [b"", b"\x66", b"\xf2", b"\xf3"] + [b"\x48", b"\x66\x41", b"\xf3\x4c"] * wide
    maps = [b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a", b"\xc5", b"\xc4\xe2", b"\xc4\xe3", b"\x62\xf2"]
    compared = unknown = 0
    for _ in range(30_000):
        code = rnd.choice(prefixes) + rnd.choice(maps) + rnd.randbytes(15)
        instruction = iced.Decoder(64 if wide else 32, code[:15]).decode()
        if instruction.is_invalid:
            continue
        used = [memory.access for memory in info.info(instruction).used_memory()]
        kinds = {"r" if each in reads else "w" for each in used if each not in nothing}
        letter = x86_role(code[:15], wide)
        compared += 1
        if letter == ".":
            unknown += bool(kinds)
        elif letter in "kKoOS":
            assert kinds <= {"r", "w"}
            assert kinds
        else:
            assert letter.lower() in kinds, (code.hex(), str(instruction))
            assert kinds == {letter.lower()} or letter == "W", (code.hex(), str(instruction))
    assert compared > 5_000
    # What we do not know: instructions of hypervisors, of shadow stacks, of VIA, of 3DNow.
    assert unknown < compared // 100


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
