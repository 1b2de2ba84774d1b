"""Operands below the stack pointer, against what compilers say that they wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Tool
from unspool.arch.x86_below import Below, below_stack
from unspool.formats.elf import Elf
from unspool.symbols.elf.symbols import ElfSymbols
from unspool.symbols.functions import elf_functions

pytest.importorskip("iced_x86")

SOURCE = """
extern long outside(long);
long leaf(long a, long b) {
    volatile long x[6];
    x[0] = a; x[1] = b; x[2] = a * b; x[5] = a - b;
    return x[1] + x[2] + x[5];
}
char little(char a) { volatile char c = a; return c; }
double number(double a) { volatile double d = a; return d * 2; }
long calls(long a) { volatile long y = a; return outside(y) + y; }
long many(long a) { volatile long x[40]; x[39] = a; x[0] = a; return x[0]; }
"""
# A listing's memory operand: -24(%rsp), -8(%ebp), with an index or without.
OPERAND = re.compile(r"(-?\d*)\(%[re]?(sp|bp)[^)]*\)")


def assembled(tool: Tool, folder: Path, text: str, *flags: str) -> bytes:
    """The .text of assembly code."""
    source, made = folder / "code.s", folder / "code.o"
    source.write_text(text)
    tool("gcc", *flags, "-c", source, "-o", made)
    elf = Elf(made.read_bytes())
    section = elf.section(".text")
    assert section is not None
    buffer, start, end = elf.section_data(section)
    return bytes(buffer[start:end])


def below(tool: Tool, folder: Path, text: str, *flags: str) -> list[Below]:
    bits = 32 if "-m32" in flags else 64
    return below_stack(assembled(tool, folder, text, *flags), 0, bits=bits)


def compiled(tool: Tool, folder: Path, *flags: str) -> tuple[dict[str, list[Below]], str]:
    """What is found in each function of SOURCE, and the compiler's own listing."""
    source = folder / "leaf.c"
    source.write_text(SOURCE)
    tool("gcc", *flags, "-S", source, "-o", folder / "leaf.s")
    tool("gcc", *flags, "-c", source, "-o", folder / "leaf.o")
    if not (folder / "leaf.o").exists():
        pytest.skip(f"gcc {' '.join(flags)} makes no code here")
    elf = Elf((folder / "leaf.o").read_bytes())
    section = elf.section(".text")
    assert section is not None
    buffer, start, _ = elf.section_data(section)
    found = {}
    for each in elf_functions(elf, ElfSymbols(elf)):
        code = bytes(buffer[start + each.start : start + each.end])
        bits = 32 if "-m32" in flags else 64
        found[each.name] = below_stack(code, each.start, bits=bits)
    return found, (folder / "leaf.s").read_text()


def listed(listing: str, function: str) -> list[int]:
    """How far below the stack pointer the operands of a function in a listing are.

    A frame register is set before the stack pointer moves; what a function takes off in one
    instruction is all that it does.
    """
    body = listing.partition(f"\n{function}:\n")[2].partition(f"\t.size\t{function}")[0]
    depths = []
    moved = 0
    for line in body.splitlines():
        words = line.split()
        if not words or words[0].startswith((".", "lea", "push", "pop", "call", "ret")):
            continue
        off = re.fullmatch(r"subq?\s+\$(-?\d+), %rsp", " ".join(words))
        if off:
            moved += int(off[1])
            continue
        for distance, register in OPERAND.findall(line):
            depth = -int(distance or 0) - (moved if register == "bp" else 0)
            if depth > 0:
                depths.append(depth)
    return depths


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-Os"])
def test_the_same_as_the_compilers_listing(tool: Tool, tmp_path: Path, level: str) -> None:
    found, listing = compiled(tool, tmp_path, level)
    assert set(found) == {"leaf", "little", "number", "calls", "many"}
    for name, uses in found.items():
        assert [use.depth for use in uses] == listed(listing, name), name
    assert found["leaf"]
    assert found["little"]
    assert not found["calls"]


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-Os"])
def test_nothing_without_a_red_zone(tool: Tool, tmp_path: Path, level: str) -> None:
    found, _ = compiled(tool, tmp_path, level, "-mno-red-zone")
    assert found
    assert not any(found.values())


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_i386_never_has_one(tool: Tool, tmp_path: Path, level: str) -> None:
    found, _ = compiled(tool, tmp_path, level, "-m32", "-fno-pic")
    assert found
    assert not any(found.values())


def test_what_an_operand_is(tool: Tool, tmp_path: Path) -> None:
    code = """
        movq %rax, -8(%rsp)
        movl -24(%rsp), %eax
        addw $1, -130(%rsp)
        movups %xmm0, -16(%rsp)
        movq %rax, -64(%rsp,%rcx,8)
        lock addl $0, -4(%rsp)
        lock addl $1, -4(%rsp)
        orq $0, -4096(%rsp)
        ret
    """
    found = below(tool, tmp_path, code)
    assert [(use.depth, use.size, use.access, use.evidence) for use in found] == [
        (8, 8, "write", "operand"),
        (24, 4, "read", "operand"),
        (130, 2, "read and write", "operand"),
        (16, 16, "write", "operand"),
        (64, 8, "write", "indexed"),
        (4, 4, "barrier", "operand"),
        (4, 4, "read and write", "operand"),
        (4096, 8, "barrier", "operand"),
    ]
    assert found[0].text == "mov %rax,-8(%rsp)"


@pytest.mark.parametrize(
    "code",
    [
        "lea -8(%rsp), %rax",
        "push %rax; pop %rcx; call next; next: ret",
        "nopl -8(%rsp)",
        "mov %fs:-8(%rsp), %rax",
        "mov (%rsp), %rax; mov 8(%rsp), %rax",
        "push %rbp; mov %rsp, %rbp; sub $32, %rsp; mov %rdi, -8(%rbp); mov %rdi, -32(%rbp)",
        # Where the stack pointer is after this nobody knows.
        "push %rbp; mov %rsp, %rbp; sub %rax, %rsp; mov %rdi, -8(%rbp)",
        "push %rbp; mov %rsp, %rbp; and $-64, %rsp; mov %rdi, -8(%rbp)",
        "lea -8(%rsp), %rax; call f; f: mov %rdi, (%rax)",
        "lea -8(%rsp), %rax; mov (%rdi), %rax; mov %rdi, (%rax)",
        "lea -8(%rsp), %rax; imul %rcx; mov %rdi, (%rax)",
        "mov %rsp, %rax; xor %eax, %eax; mov %rdi, -8(%rax)",
        "ret; mov %rdi, -8(%rbp)",
    ],
)
def test_what_is_none(tool: Tool, tmp_path: Path, code: str) -> None:
    assert below(tool, tmp_path, code) == []


@pytest.mark.parametrize(
    ("code", "depth"),
    [
        ("push %rbp; mov %rsp, %rbp; mov %edi, -20(%rbp)", 20),
        ("push %rbp; mov %rsp, %rbp; sub $16, %rsp; mov %edi, -20(%rbp)", 4),
        ("push %rbp; mov %rsp, %rbp; sub $16, %rsp; leave; mov %edi, -4(%rsp)", 4),
        ("mov %rsp, %r10; sub $8, %rsp; mov %rdi, -24(%r10)", 16),
        ("lea -40(%rsp), %rax; mov %rdi, 8(%rax)", 32),
        ("mov %rsp, %rbx; sub $8, %rbx; call f; f: mov %rdi, (%rbx)", 8),
        # The state at the jump holds where it leads, not what the return before it left.
        ("test %edi, %edi; je 1f; sub $8, %rsp; add $8, %rsp; ret; 1: mov %edi, -4(%rsp)", 4),
        ("push %rbp; mov %rsp, %rbp; je 1f; pop %rbp; ret; 1: mov %edi, -12(%rbp)", 12),
    ],
)
def test_registers_that_hold_addresses_of_the_stack(
    tool: Tool, tmp_path: Path, code: str, depth: int
) -> None:
    (use,) = below(tool, tmp_path, code)
    assert use.depth == depth


def test_unwind_data_overrule_what_was_followed() -> None:
    code = bytes.fromhex("554889e5897dec5dc3")
    rows = {0: ("sp", 8), 1: ("sp", 16), 4: ("fp", 16)}
    (use,) = below_stack(code, 0, cfa_at=rows.get)
    assert (use.address, use.depth, use.evidence) == (4, 20, "cfi and code")
    assert below_stack(code, 0, cfa_at={**rows, 4: ("fp", 32)}.get) == []
    (use,) = below_stack(code, 0, cfa_at={**rows, 4: ("sp", 16)}.get)
    assert use.evidence == "cfi"
    # A part that is jumped to: nothing is known of the stack pointer but what unwind data say.
    assert below_stack(code, 0, is_whole=False) == []


def test_any_bytes_at_all() -> None:
    from random import Random

    random = Random(6)
    for bits in (64, 32):
        for use in below_stack(random.randbytes(1 << 16), 0x1000, bits=bits):
            assert use.depth > 0
            assert 0x1000 <= use.address < 0x1000 + (1 << 16)


def test_it_agrees_with_objdump_on_the_c_library(tool: Tool) -> None:
    path = Path("/lib/x86_64-linux-gnu/libc.so.6")
    if not path.exists():
        pytest.skip("no such C library here")
    elf = Elf(path.read_bytes())
    section = elf.section(".text")
    assert section is not None
    buffer, start, end = elf.section_data(section)
    listing = tool("objdump", "-d", "--no-show-raw-insn", "-j", ".text", path)
    wanted = {
        int(match[1], 16): match[2]
        for match in re.finditer(r"^ *([0-9a-f]+):\t(.*-0x[0-9a-f]+\(%rsp\).*)$", listing, re.M)
        if not match[2].startswith("lea")
    }
    found = below_stack(bytes(buffer[start:end]), section.address)
    direct = {use.address for use in found if use.evidence == "operand"}
    assert direct == set(wanted)
