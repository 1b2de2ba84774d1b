"""The ELF builder against other people's readers: readelf, eu-readelf and pyelftools."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest

from tests.build.elf import (
    EM_386,
    EM_AARCH64,
    EM_X86_64,
    SHF_COMPRESSED,
    STB_LOCAL,
    Elf,
    Symbol,
)
from tests.build.notes import note
from tests.conftest import Tool

elffile = pytest.importorskip("elftools.elf.elffile")

MACHINES = [(64, EM_X86_64), (32, EM_386), (64, EM_AARCH64)]


def sample(bits: int, machine: int) -> bytes:
    image = Elf(bits, machine)
    text = image.section(".text", data=b"\x90" * 64, address=0x1000, flags="ax")
    rodata = image.section(".rodata", data=b"text", address=0x1040, flags="a")
    image.load([text, rodata], flags="rx")
    image.build_id(bytes(range(20)), address=0x2000)
    image.symbols(
        [
            Symbol("main", 0x1000, 16, section=text),
            Symbol("local", 0x1010, 4, section=text, bind=STB_LOCAL),
        ]
    )
    image.symbols([Symbol("exported", 0x1020, 16, section=text)], dynamic=True)
    image.debug_link("prog.debug", b"the debug file")
    image.section(".debug_str", data=b"hello" * 100, compress="zlib")
    image.section(".debug_line", data=b"hello" * 100, compress="gnu")
    image.nobits(".bss", 0x100, 0x3000)
    return image.build()


@pytest.mark.parametrize(("bits", "machine"), MACHINES)
def test_pyelftools_reads_what_was_built(bits: int, machine: int) -> None:
    read = elffile.ELFFile(io.BytesIO(sample(bits, machine)))
    assert read.elfclass == bits
    assert read.get_section_by_name(".text").data() == b"\x90" * 64
    assert read.get_section_by_name(".bss")["sh_size"] == 0x100
    load = read.get_segment(0)
    assert (load["p_vaddr"], load["p_filesz"], load["p_flags"]) == (0x1000, 68, 5)
    assert load.data()[64:] == b"text"
    [build_id] = [n for s in read.iter_segments("PT_NOTE") for n in s.iter_notes()]
    assert build_id["n_desc"] == bytes(range(20)).hex()
    symbols = [(s.name, s["st_value"]) for s in read.get_section_by_name(".symtab").iter_symbols()]
    assert symbols == [("", 0), ("local", 0x1010), ("main", 0x1000)]
    [_, exported] = read.get_section_by_name(".dynsym").iter_symbols()
    assert (exported.name, exported["st_size"]) == ("exported", 16)
    compressed = read.get_section_by_name(".debug_str")
    assert compressed["sh_flags"] & SHF_COMPRESSED
    assert compressed.data() == b"hello" * 100
    link = read.get_section_by_name(".gnu_debuglink").data()
    assert link == b"prog.debug\0\0" + zlib.crc32(b"the debug file").to_bytes(4, "little")


@pytest.mark.parametrize("reader", ["readelf", "eu-readelf"])
@pytest.mark.parametrize(("bits", "machine"), MACHINES)
def test_readelf_has_no_complaint(
    tool: Tool, tmp_path: Path, reader: str, bits: int, machine: int
) -> None:
    path = tmp_path / "sample"
    path.write_bytes(sample(bits, machine))
    text = tool(reader, "-W", "-h", "-l", "-S", "-s", "-n", path)
    assert "000102030405060708090a0b0c0d0e0f10111213" in text
    for name in ("main", "local", "exported", ".gnu_debuglink", ".zdebug_line"):
        assert name in text
    assert "arning" not in text
    assert "rror" not in text


def test_more_segments_than_the_header_can_count() -> None:
    image = Elf(64)
    for i in range(66_000):
        image.load(b"", address=i << 12, memsz=4096)
    read = elffile.ELFFile(io.BytesIO(image.build()))
    assert read["e_phnum"] == 0xFFFF
    assert read.num_segments() == 66_000
    assert read.get_segment(65_999)["p_vaddr"] == 65_999 << 12


def test_more_sections_than_the_header_can_count(tool: Tool, tmp_path: Path) -> None:
    image = Elf(64)
    for _ in range(0xFF10):
        image.section(".x", data=b"x")
    path = tmp_path / "many"
    path.write_bytes(image.build())
    assert f"0 ({0xFF10 + 2})" in tool("readelf", "-h", path)


def test_lies_change_the_header_alone() -> None:
    honest, lying = Elf(64), Elf(64, e_shoff=1 << 63, e_phnum=7)
    for image in (honest, lying):
        image.load(b"abc", address=0x1000)
        image.section(".x", data=b"x", sh_size=5 if image is lying else 1)
    first, second = honest.build(), lying.build()
    assert len(first) == len(second)
    changed = [i for i in range(len(first)) if first[i] != second[i]]
    assert {i for i in changed if i < 64} <= {*range(40, 48), 56}
    assert len([i for i in changed if i >= 64]) == 1


def test_notes_are_padded() -> None:
    assert note("GNU", 3, b"ab") == b"\4\0\0\0\2\0\0\0\3\0\0\0GNU\0ab\0\0"
    assert len(note("CORE", 1, b"abcde")) == 12 + 8 + 8
    assert note("x", 1, b"", descsz=9)[4] == 9
