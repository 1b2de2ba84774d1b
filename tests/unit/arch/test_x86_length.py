"""Lengths of x86 instructions, against another decoder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.programs.build import tool
from unspool.arch.x86_length import instruction_length, instruction_length_64
from unspool.formats.elf import Elf


@pytest.mark.parametrize(
    ("code", "length"),
    [
        ("90", 1), ("55", 1), ("8bec", 2), ("83ec10", 3), ("81ec00010000", 6), ("c20c00", 3),
        ("64a100000000", 6), ("ff742404", 4), ("ff248500104000", 7), ("660f1f840000000000", 9),
        ("0f8400000000", 6), ("66b80100", 4), ("c8100000", 4), ("f7c001000000", 6), ("f7d0", 2),
        ("f60001", 3), ("f61000", 2), ("c5f877", 3), ("c4e3790f c001", 6), ("0f3a0fc108", 5),
        ("9a000000000000", 7), ("d9442408", 4), ("8d0c8500000000", 7),
        ("", 0), ("83", 0), ("83ec", 0), ("0f", 0), ("8b84", 0), ("6766", 0), ("d6", 0),
        ("66666666666666666666666666666666", 0),
    ],
)  # fmt: skip
def test_lengths(code: str, length: int) -> None:
    raw = bytes.fromhex(code.replace(" ", ""))
    assert instruction_length(raw, 0) == length
    assert instruction_length(b"\x90" * 7 + raw, 7) == length
    if length > 1:
        assert instruction_length(raw[: length - 1], 0) == 0


@pytest.mark.parametrize(
    ("code", "length"),
    [
        ("90", 1), ("4157", 2), ("4883ec28", 4), ("48b80102030405060708", 10), ("b801020304", 5),
        ("66b80100", 4), ("48a10102030405060708", 10), ("488b0510000000", 7), ("c3", 1),
        ("4c8b5c2430", 5), ("c4a17e7f4409a0", 7), ("c5f877", 3), ("62f17c48104801", 7),
        ("67488d442408", 6), ("c20800", 3), ("f3c3", 2), ("48c7c070 1c4000", 7), ("41ffe3", 3),
        ("64483314 2528000000", 9), ("0f8400000000", 6), ("f2e900000000", 6),
        ("", 0), ("48", 0), ("c4", 0), ("62", 0), ("0f", 0), ("06", 0), ("60", 0), ("9a00", 0),
    ],
)  # fmt: skip
def test_lengths_64(code: str, length: int) -> None:
    raw = bytes.fromhex(code.replace(" ", ""))
    assert instruction_length_64(raw, 0) == length
    assert instruction_length_64(b"\x90" * 7 + raw, 7) == length
    if length > 1:
        assert instruction_length_64(raw[: length - 1], 0) == 0


def test_every_instruction_of_a_64_bit_library() -> None:
    iced = pytest.importorskip("iced_x86")
    library = Path("/lib/x86_64-linux-gnu/libc.so.6")
    if not library.exists():
        pytest.skip(f"no {library}")
    data = library.read_bytes()
    elf = Elf(data)
    text = elf.section(".text")
    assert text is not None
    buffer, start, end = elf.section_data(text)
    code = bytes(buffer[start : min(end, start + 200_000)])
    wrong = [
        hex(instruction.ip)
        for instruction in iced.Decoder(64, code)
        if not instruction.is_invalid
        and instruction.ip + 16 < len(code)
        and instruction_length_64(code, instruction.ip) != instruction.len
    ]
    assert wrong == []


@given(st.binary(max_size=20), st.integers(0, 19))
def test_no_64_bit_instruction_reaches_past_the_code(code: bytes, at: int) -> None:
    if at < len(code):
        assert 0 <= at + instruction_length_64(code, at) <= len(code)


@given(st.binary(min_size=16, max_size=16))
@settings(max_examples=examples(2000))
def test_random_bytes(code: bytes) -> None:
    iced = pytest.importorskip("iced_x86")
    instruction = next(iter(iced.Decoder(32, code)))
    length = instruction_length(code, 0)
    # A few are not known to us, and none in compiled code.
    known = not instruction.is_invalid and length and code[0] not in (0x62, 0x8F, 0x66)
    if known and not (code[0] == 0x0F and 0x20 <= code[1] <= 0x27):
        assert length == instruction.len


@given(st.binary(max_size=20), st.integers(0, 19))
def test_no_instruction_reaches_past_the_code(code: bytes, at: int) -> None:
    if at < len(code):
        assert 0 <= at + instruction_length(code, at) <= len(code)


def test_every_instruction_of_a_program(tmp_path: Path) -> None:
    iced = pytest.importorskip("iced_x86")
    compiler = tool("i686-w64-mingw32-gcc")
    source, made, raw = tmp_path / "a.c", tmp_path / "a.exe", tmp_path / "a.bin"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run([compiler, "-O2", source, "-o", made], check=True)
    objcopy = compiler.replace("gcc", "objcopy")
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", made, raw], check=True)
    code = raw.read_bytes()
    count = 0
    for instruction in iced.Decoder(32, code):
        if not instruction.is_invalid:
            count += 1
            assert instruction_length(code, instruction.ip) == instruction.len, instruction
    assert count > 1000
