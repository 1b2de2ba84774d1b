"""A64 code from a pc to the function's return: assembled by binutils, decoded again by capstone,
and held against the unwind tables that gcc has made for the C library."""

from __future__ import annotations

import itertools
import random
import struct
from pathlib import Path

import capstone
import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Tool
from unspool.arch.aarch64_ahead import LINK, SP, CodeAhead, Return

BASE, STACK, FRAME = 0x40_0000, 0x7000, 0x7100
# (code, which word of the stack has the return address or None for the link register, how many
# words the caller's stack pointer is above). Word n of the stack holds n.
WAYS: dict[str, tuple[int | None, int | None]] = {
    "ret": (None, 0),
    "retaa": (None, 0),
    "autiasp; ret": (None, 0),
    "nop; mov x3, x4; cmp x0, x1; ret": (None, 0),
    "ldp x29, x30, [sp], #32; ret": (1, 4),
    "ldp x29, x30, [sp, #16]; add sp, sp, #48; retab": (3, 6),
    "ldr x30, [sp], #16; ret": (0, 2),
    "ldr x30, [sp, #8]; ldp x19, x20, [sp, #16]; add sp, sp, #1, lsl #12; ret": (1, 512),
    "ldur x30, [sp, #24]; add sp, sp, #64; ret": (3, 8),
    "sub sp, sp, #16; str x30, [sp]; bl far; ldr x30, [sp], #16; ret": (None, 0),
    "stp x29, x30, [sp, #-32]!; mov x29, sp; blr x3; ldp x29, x30, [sp], #32; ret": (None, 0),
    "bl far; ldp x29, x30, [sp], #16; ret": (1, 2),
    "blraa x3, x4; ldp x29, x30, [sp], #16; ret": (1, 2),
    "mov sp, x29; ldp x29, x30, [sp], #16; ret": (33, 34),
    "sub sp, x29, #16; ldp x19, x20, [sp], #16; ldp x29, x30, [sp], #16; ret": (33, 34),
    "add x9, sp, #32; ldp x29, x30, [x9, #16]; mov sp, x9; ret": (7, 4),
    "mov x16, #32; add sp, sp, x16; ldr x30, [sp]; ret": (-1, -1),
    "ldp x29, x30, [sp]; add sp, sp, x0, lsl #3; ret": (1, 0x10_0000),
    "ldp x29, x30, [sp]; add sp, sp, w0, uxtw #3; ret": (1, -1),  # arguments by their number
    "ldp x29, x30, [sp], #16; mov x9, x30; ret x9": (1, 2),
    "cbz x0, 1f; ldp x29, x30, [sp], #16; ret; 1: ldp x29, x30, [sp], #32; ret": (1, 2),
    "b 1f; udf #0; 1: ldr x30, [sp], #16; ret": (0, 2),
    "tbnz w0, #3, . + 0x4000; ret": (None, 0),
    "svc #0; ret": (None, 0),
    "mrs x30, tpidr_el0; ret": (-1, -1),
    "addvl sp, sp, #1; ldr x30, [sp]; ret": (-1, -1),
    "st2g sp, [sp], #32; ldr x30, [sp]; ret": (-1, -1),
    "ldr w30, [sp]; ret": (-1, -1),
    "ldaxr x30, [sp]; ret": (-1, -1),
    "ldr x30, [sp, x1]; ret": (-1, -1),
    "ldp q29, q30, [sp], #32; ret": (None, 4),
    "ldr d30, [sp], #16; ret": (None, 2),
    "str q0, [sp]; ldr x30, [sp], #16; ret": (-1, -1),  # what was stored is not known
    "bl far; ret": (-1, -1),  # a call has taken the link register
    "bl far; udf #0; ret": (-1, -1),  # nothing comes back from it
    "bl far; brk #1; ret": (-1, -1),
    "brk #1; ret": (-1, -1),
    "br x17": (-1, -1),
    "1: b 1b": (-1, -1),
    "b far": (-1, -1),
}
TAILS: dict[str, tuple[int | None, int | None]] = {
    "ldp x29, x30, [sp], #16; b far": (1, 2),
    "ldp x29, x30, [sp], #16; br x16": (1, 2),
    "ldp x29, x30, [sp], #16; mov x17, x2; br x17": (1, 2),
    "ldr x2, [x21, x3, lsl #3]; mov x17, x2; br x17": (None, 0),  # a table of handlers
    "autiasp; braa x16, x17": (None, 0),
    "br x3": (-1, -1),
    "adr x16, 1f; add x17, x16, w1, uxtw #2; 1: br x17": (-1, -1),  # a switch
    "adr x16, 1f; ldr x17, [x16, w1, uxtw #3]; 1: br x17": (-1, -1),
}  # fmt: skip


def words(code: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(code) // 4}I", code))


def assembled(tool: Tool, folder: Path, snippets: list[str]) -> list[bytes]:
    """Each behind the other, with a number that is no instruction of theirs between them."""
    (folder / "code.s").write_text(
        ".arch armv8.5-a+sve+memtag\nfar = 0x7000000\n"
        + "".join(f"{each.replace(';', chr(10))}\n.word 0xdead0000\n" for each in snippets)
    )
    tool("aarch64-linux-gnu-as", folder / "code.s", "-o", folder / "code.o")
    tool("aarch64-linux-gnu-ld", "-Ttext=0", "-e0", folder / "code.o", "-o", folder / "linked")
    tool("aarch64-linux-gnu-objcopy", "-O", "binary", folder / "linked", folder / "code")
    parts = (folder / "code").read_bytes().split(struct.pack("<I", 0xDEAD0000))
    assert len(parts) == len(snippets) + 1
    return parts[:-1]


def registers() -> list[int | None]:
    found: list[int | None] = [0x10_0000 + number for number in range(32)]
    found[SP], found[29] = STACK, FRAME
    return found


def first(code: bytes, *, tails: bool = False) -> Return | None:
    ahead = CodeAhead(code, BASE, lambda address: (address - STACK) // 8, tails=tails)
    return next(ahead.returns(BASE, registers()), None)


@pytest.mark.parametrize(("cases", "tails"), [(WAYS, False), (TAILS, True)], ids=["ret", "tails"])
def test_ways_to_the_return_address(
    cases: dict[str, tuple[int | None, int | None]], tails: bool, tool: Tool, tmp_path: Path
) -> None:
    found: dict[str, tuple[int | None, int | None]] = {}
    for text, code in zip(cases, assembled(tool, tmp_path, list(cases)), strict=True):
        back = first(code, tails=tails)
        if back is None:
            found[text] = -1, -1
            continue
        sp = back.registers[SP]
        address = None if back.address == 0x10_0000 + LINK else back.address
        found[text] = address, -1 if sp is None else (sp - STACK) // 8
    assert found == cases


def test_what_is_kept_and_what_a_call_takes(tool: Tool, tmp_path: Path) -> None:
    text = "ldp x19, x20, [sp, #16]; mov w21, w3; bl far; ldp x29, x30, [sp], #32; ret"
    back = first(assembled(tool, tmp_path, [text])[0])
    assert back is not None
    kept = {number: back.registers[number] for number in (0, 9, 18, 19, 20, 21, 22, 29)}
    assert kept == {
        0: None, 9: None, 18: None, 19: 2, 20: 3, 21: None, 22: 0x10_0000 + 22, 29: 0
    }  # fmt: skip
    assert (back.calls, back.restored) == (1, True)


def test_what_ends_at_once(tool: Tool, tmp_path: Path) -> None:
    texts = {
        "ldp x29, x30, [sp], #16; ret": 1,
        "bl far; ldp x29, x30, [sp], #16; ret": None,
        "cbz x0, 1f; 1: ldp x29, x30, [sp], #16; ret": None,
        "nop;" * 10 + "ldr x30, [sp]; ret": 0,
        "nop;" * 11 + "ldr x30, [sp]; ret": None,
    }
    for text, code in zip(texts, assembled(tool, tmp_path, list(texts)), strict=True):
        ahead = CodeAhead(code, BASE, lambda address: (address - STACK) // 8)
        back = ahead.ending(BASE, registers())
        assert (None if back is None else back.address) == texts[text], text


# capstone says that comparisons write what they compare, and of st1 that it writes the index.
_NOT_WRITTEN = ("cmp", "cmn", "tst", "svc", "st1", "st2", "st3", "st4")


def test_whatever_an_instruction_writes_has_no_old_value() -> None:
    """Words of any kind: a register that capstone says is written keeps nothing it had."""
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, 0)
    disassembler.detail = True
    numbers = {f"{kind}{number}": number for number in range(31) for kind in "xw"}
    numbers |= {"fp": 29, "lr": 30, "sp": 31, "wsp": 31}
    chosen = random.Random(3)
    seen = 0
    for _ in range(60_000):
        code = struct.pack("<I", chosen.getrandbits(32))
        known = next(disassembler.disasm(code, BASE), None)
        if known is None or known.mnemonic in _NOT_WRITTEN or "#0]!" in known.op_str:
            continue
        if known.op_str.endswith("], #0"):
            continue  # post-indexed by nothing
        before = registers()
        ahead = CodeAhead(code + struct.pack("<I", 0xD65F03C0), BASE, lambda address: None)
        back = next(ahead.returns(BASE, list(before)), None)
        if back is None or back.calls:
            continue
        for name in known.regs_access()[1]:
            number = numbers.get(known.reg_name(name))
            if number is not None and number != LINK:
                seen += 1
                assert back.registers[number] != before[number], str(known)
    assert seen > 5_000


def test_returns_are_where_the_c_librarys_unwind_tables_say() -> None:
    """From places all over a library: the first return that is reached is the right one."""
    path = Path("/usr/aarch64-linux-gnu/lib/libc.so.6")
    if not path.exists():
        pytest.skip("there is no C library of aarch64 (libc6-dev-arm64-cross)")
    chosen = random.Random(5)
    reached = saved = 0
    with path.open("rb") as file:
        elf = ELFFile(file)
        text = elf.get_section_by_name(".text")
        low, code = text["sh_addr"], text.data()
        entries = [each for each in elf.get_dwarf_info().EH_CFI_entries() if isinstance(each, FDE)]
        for entry in chosen.sample(entries, 400):
            start, size = entry["initial_location"], entry["address_range"]
            rows = entry.get_decoded().table
            for pc in chosen.sample(range(start, start + size, 4), min(4, size // 4)):
                row = [each for each in rows if each["pc"] <= pc][-1]
                at = pc - low
                if row["cfa"].reg != SP or not 0 <= at < len(code):
                    continue
                before = words(code[max(at - 64, 0) : at])
                if _restores_link(before) and 30 in row:
                    continue  # it is in both places, and which of them counts nothing says
                least = max(at - 2048, 0)
                around = code[least : at + 2048]
                ahead = CodeAhead(around, low + least, lambda address: address ^ 1 << 60)
                back = next(ahead.returns(pc, registers()), None)
                if back is None:
                    continue
                cfa = STACK + row["cfa"].offset
                reached += 1
                if 30 in row:
                    saved += 1
                    assert back.address == cfa + row[30].arg ^ 1 << 60, hex(pc)
                else:
                    assert back.address == 0x10_0000 + LINK, hex(pc)
                assert back.registers[SP] in (cfa, None), hex(pc)
    assert reached > 900
    assert 500 < saved < reached - 100


def _restores_link(before: list[int]) -> bool:
    """Whether a load of the link register is behind the last call: ldp REGISTER, x30, [sp, #N]."""
    since = itertools.takewhile(lambda word: word >> 26 != 0b100101, reversed(before))
    return any(word & 0xFE407FE0 == 0xA8407BE0 or word & 0xFFC003FF == 0xF94003FE for word in since)


@given(st.binary(max_size=120), st.integers(-8, 130), st.booleans())
def test_anything_ends(code: bytes, at: int, tails: bool) -> None:
    ahead = CodeAhead(code, BASE, lambda address: address & 0xFF, tails=tails)
    assert len(list(ahead.returns(BASE + at, registers()))) <= 16
    ahead.ending(BASE + at, registers())
