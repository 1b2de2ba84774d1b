"""What first and last instructions of i386 functions do to the stack."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.arch import x86_code
from unspool.arch.x86 import EBP, EBX, ECX, EDI, ESI, ESP

PROLOGUES = [
    # (code, depth, frame, saved)
    ("55 89e5 83ec18", 4 + 0x18, 4, {EBP: 4}),
    ("8bff 55 8bec 81ec00010000 53 56 57", 0x104 + 12, 4,
     {EBP: 4, EBX: 0x108, ESI: 0x10C, EDI: 0x110}),
    ("57 56 53 83ec20", 12 + 32, None, {EDI: 4, ESI: 8, EBX: 12}),
    # GCC realigns the stack: lea 4(%esp),%ecx; and $-16,%esp; push -4(%ecx); push %ebp; ...
    ("8d4c2404 83e4f0 ff71fc 55 89e5 51 83ec14", None, None, {}),
    # MSVC with a handler: push $-1; push $handler; mov %fs:0,%eax; push %eax; sub $n,%esp
    ("55 8bec 6aff 6800104000 64a100000000 50 83ec08 a100304000 33c5 8945f0", 4 + 12 + 8, 4,
     {EBP: 4}),
    # A security cookie without a frame pointer.
    ("83ec24 a100304000 33c4 89442420 8b442428 56", 0x28, None, {ESI: 0x28}),
    # A big frame: mov $0x2010,%eax; call __chkstk, and GCC's, which takes nothing itself.
    ("55 89e5 b810200000 e800000000 53", 4 + 0x2010 + 4, 4, {EBP: 4, EBX: 0x2018}),
    ("b810200000 e800000000 29c4 53", 0x2010 + 4, None, {EBX: 0x2014}),
    # Instructions that only compute are put in between.
    ("53 8b5c2408 83ec08 0fb603 85c0 56", 16, None, {EBX: 4, ESI: 16}),
    # Saved once; what is pushed again is an argument.
    ("53 53", 8, None, {EBX: 4}),
    ("83c480", 128, None, {}),  # add $-128,%esp
    ("", 0, None, {}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "depth", "frame", "saved"), PROLOGUES)
def test_prologues(code: str, depth: int | None, frame: int | None, saved: dict[int, int]) -> None:
    raw = bytes.fromhex(code.replace(" ", ""))
    found = x86_code.prologue(raw)
    assert found.whole
    assert found.end == len(raw)
    assert found.depth == depth
    assert found.frame == frame
    assert dict(found.saved) == saved


@pytest.mark.parametrize(
    "code",
    [
        "e800000000",  # call of an ordinary function
        "b805000000 e800000000",  # the same, with a small number in eax
        "7400", "eb00", "c3", "cc", "cd80", "5b", "c9", "0f8400000000", "ffe0", "ff5508",
        "8be5", "89c4", "bc00000000", "8d65f4", "29c4", "0fa2",
    ],
)  # fmt: skip
def test_a_prologue_ends_before_anything_else(code: str) -> None:
    head = bytes.fromhex("5589e5")
    found = x86_code.prologue(head + bytes.fromhex(code.replace(" ", "")) + b"\x53")
    assert not found.whole
    assert found.depth == 4
    assert found.end == 3 or code.startswith("b8")


@given(st.binary(max_size=x86_code.MAX_PROLOGUE))
def test_any_bytes_as_a_prologue(code: bytes) -> None:
    found = x86_code.prologue(code)
    assert 0 <= found.end <= len(code)
    assert found.whole == (found.end == len(code))
    assert found.depth is None or found.depth >= 0


EPILOGUES = [
    ("c3", []),
    ("c20c00", []),
    ("f3c3", []),
    ("c9c3", [(EBP, 0), (EBP, None)]),
    ("83c41c 5b 5e 5f 5d c3", [(ESP, 0x1C), (EBX, None), (ESI, None), (EDI, None), (EBP, None)]),
    ("8be5 5d c20800", [(EBP, 0), (EBP, None)]),
    ("89ec 5d c3", [(EBP, 0), (EBP, None)]),
    ("81c400020000 c3", [(ESP, 0x200)]),
    ("8d65f4 5b 5e 5f 5d c3", [(EBP, -12), *((r, None) for r in (EBX, ESI, EDI, EBP))]),
    ("8d6424 10 c3", [(ESP, 16)]),
    # GCC's after a realignment: pop %ecx; pop %ebp; lea -4(%ecx),%esp; ret
    ("59 5d 8d61fc c3", [(ECX, None), (EBP, None), (ECX, -4)]),
]


@pytest.mark.parametrize(("code", "steps"), EPILOGUES)
def test_epilogues(code: str, steps: list[tuple[int, int | None]]) -> None:
    raw = bytes.fromhex(code.replace(" ", ""))
    assert x86_code.epilogue(raw + b"\xcc" * 8) == steps
    for length in range(len(raw) - 1 - 2 * (b"\xc2" in raw)):
        assert x86_code.epilogue(raw[:length]) is None


@pytest.mark.parametrize(
    "code", ["", "90", "31c0c3", "e800000000c3", "eb00", "5c c3", "83c4", "8d6500", "8d6425"]
)
def test_what_is_no_epilogue(code: str) -> None:
    assert x86_code.epilogue(bytes.fromhex(code.replace(" ", ""))) is None


@given(st.binary(max_size=64))
def test_any_bytes_as_an_epilogue(code: bytes) -> None:
    steps = x86_code.epilogue(code)
    assert steps is None or len(steps) <= 32


def test_lengths_are_those_of_a_disassembler(tmp_path: Path) -> None:
    iced = pytest.importorskip("iced_x86")
    compiler = "i686-w64-mingw32-gcc"
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    source, made, raw = tmp_path / "a.c", tmp_path / "a.exe", tmp_path / "a.bin"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run([compiler, "-O2", source, "-o", made], check=True)
    subprocess.run([compiler.replace("gcc", "objcopy"), "-O", "binary", "-j", ".text", made, raw],
                   check=True)  # fmt: skip
    code = raw.read_bytes()
    known = 0
    for instruction in iced.Decoder(32, code):
        length = x86_code._length(code, instruction.ip)
        if length:
            known += 1
            assert length == instruction.len, f"{instruction} at 0x{instruction.ip:x}"
    assert known > 500
