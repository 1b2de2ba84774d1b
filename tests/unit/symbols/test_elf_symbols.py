"""Several tables of one module together: debug file, MiniDebugInfo, images without sections."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest

from tests.build.elf import STB_LOCAL, STT_FUNC
from tests.build.elf import Elf as Builder
from tests.build.elf import Symbol as Entry
from tests.conftest import Tool
from tests.unit.symbols.conftest import Compile, Run
from unspool.errors import FormatError
from unspool.formats.elf import Elf
from unspool.symbols.elf.dynamic import dynamic_table
from unspool.symbols.elf.symbols import ElfSymbols, mini_debug_info
from unspool.symbols.files import open_elf


def image(
    symbols: list[Entry] | None = None,
    dynamic: list[Entry] | None = None,
    mini: bytes | None = None,
) -> Elf:
    builder = Builder()
    text = builder.section(".text", data=bytes(0x1000), address=0x1000, flags="ax", align=16)
    for entries, kind in ((dynamic, True), (symbols, False)):
        if entries is not None:
            for entry in entries:
                entry.section = text
            builder.symbols(entries, dynamic=kind)
    if mini is not None:
        builder.section(".gnu_debugdata", data=mini)
    return Elf(builder.build())


def name(symbols: ElfSymbols, address: int) -> str | None:
    found = symbols.lookup(address)
    return found.name if found else None


def test_mini_debug_info_adds_what_the_dynamic_table_lacks() -> None:
    inner = image([Entry("hidden", 0x1100, 0x20, bind=STB_LOCAL)])
    packed = lzma.compress(bytes(inner.buffer))
    symbols = ElfSymbols(image(dynamic=[Entry("exported", 0x1000, 0x20)], mini=packed))
    assert [name(symbols, at) for at in (0x1010, 0x1110, 0x1200)] == ["exported", "hidden", None]
    assert symbols.problems == []


def test_a_sized_symbol_of_a_later_table_wins_over_a_label_of_an_earlier_one() -> None:
    inner = image([Entry("hidden", 0x1100, 0x20, bind=STB_LOCAL)])
    packed = lzma.compress(bytes(inner.buffer))
    symbols = ElfSymbols(image(dynamic=[Entry("label", 0x1000, 0)], mini=packed))
    assert [name(symbols, at) for at in (0x1010, 0x1110, 0x1200)] == ["label", "hidden", "label"]


def test_the_debug_file_is_asked_before_the_file() -> None:
    debug = image([Entry("everything", 0x1000, 0x100)])
    symbols = ElfSymbols(image(dynamic=[Entry("exported", 0x1000, 0x100)]), debug)
    assert name(symbols, 0x1001) == "everything"
    assert name(ElfSymbols(None, debug), 0x1001) == "everything"
    assert name(ElfSymbols(None), 0x1001) is None


def test_broken_mini_debug_info_is_a_problem_and_no_more() -> None:
    for packed in (b"", b"junk", lzma.compress(b"no ELF file"), lzma.compress(b"x" * 99)[:-20]):
        symbols = ElfSymbols(image(dynamic=[Entry("exported", 0x1000, 0x20)], mini=packed))
        assert name(symbols, 0x1010) == "exported"
        assert name(symbols, 0x1500) is None
        if packed:
            assert any(".gnu_debugdata" in problem for problem in symbols.problems)


def test_a_decompression_bomb_is_cut_off() -> None:
    problems: list[str] = []
    bomb = lzma.compress(image([]).buffer[:64] + bytes(70 << 20), preset=0)
    assert len(bomb) < 1 << 20
    inner = mini_debug_info(image(mini=bomb), problems)
    assert inner is None or inner.size == 64 << 20
    assert problems == ["section .gnu_debugdata: larger than 64 MiB, or cut short"]


def test_a_dictionary_of_gigabytes_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    packed = bytearray(lzma.compress(b"x" * 100, filters=filters))
    # The block header's filter properties: one byte that stands for the dictionary's size.
    at = packed.index(b"\x21\x01") + 2
    packed[at] = 40  # 4 GiB - 1
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = struct.pack("<I", __import__("zlib").crc32(packed[12 : end - 4]))
    problems: list[str] = []
    assert mini_debug_info(image(mini=bytes(packed)), problems) is None
    assert "emory" in problems[0]


def test_a_table_outside_of_the_file_is_a_problem() -> None:
    builder = Builder()
    builder.symbols([Entry("f", 0x1000, 8)], sh_size=1 << 40)
    symbols = ElfSymbols(Elf(builder.build()))
    assert name(symbols, 0x1000) is None
    assert symbols.problems == ["section .symtab: not inside the file"]


@pytest.mark.oracle
@pytest.mark.parametrize("flags", [[], ["-m32"], ["-Wl,--hash-style=sysv"], ["-no-pie"]])
def test_dynamic_tables_without_section_headers(
    flags: list[str], compiled: Compile, tool: Tool
) -> None:
    include = ["-isystem", "/usr/include/x86_64-linux-gnu"] if "-m32" in flags else []
    path = compiled("inlined.c", "gcc", "-O1", "-rdynamic", *flags, *include)
    elf = open_elf(str(path))
    assert elf is not None
    [section] = [section for section in elf.sections() if section.name == ".dynsym"]
    found = dynamic_table(elf)
    assert found is not None
    assert len(found) == section.size // section.entry_size
    listed = [line.split() for line in tool("nm", "-DS", "--defined-only", path).splitlines()]
    stripped = bytearray(elf.buffer)
    at, size = (0x28, 8) if elf.elf_class == 2 else (0x20, 4)
    stripped[at : at + size] = bytes(size)  # e_shoff
    symbols = ElfSymbols(Elf(bytes(stripped)))
    functions = [row for row in listed if len(row) == 4 and row[2] in "TW"]
    assert {row[3] for row in functions} >= {"main", "split", "rare"}
    for value, _, _, _ in functions:
        answer = symbols.lookup(int(value, 16))
        assert answer is not None
        assert answer.start == int(value, 16)


def relocated(bits: int, bias: int, hash_table: bool = True) -> bytes:
    """A small image as it lies in memory: tables in its first page, dynamic section behind.

    ld.so has added `bias` to the addresses in the dynamic section.
    """
    word = "Q" if bits == 64 else "I"
    names = b"\0first\0second\0"
    entries = bytes(24 if bits == 64 else 16)
    for at, offset in ((0x5000, 1), (0x5100, 7)):
        if bits == 64:
            entries += struct.pack("<IBBHQQ", offset, 0x10 | STT_FUNC, 0, 1, at, 0x20)
        else:
            entries += struct.pack("<IIIBBH", offset, at, 0x20, 0x10 | STT_FUNC, 0, 1)
    builder = Builder(bits)
    page = bytearray(0x1000)
    page[0x400 : 0x400 + len(entries)] = entries
    page[0x400 + len(entries) : 0x400 + len(entries) + len(names)] = names
    struct.pack_into("<II", page, 0x800, 1, 3)  # DT_HASH: one bucket, three chain entries
    tags = [(6, 0x400), (5, 0x400 + len(entries)), (10, None), (4, 0x800)]
    dynamic = b"".join(
        struct.pack("<" + 2 * word, tag, len(names) if where is None else where + bias)
        for tag, where in (tags if hash_table else tags[:-1])
    ) + bytes(16)
    builder.load(b"", address=0, offset=0, filesz=0x1000, memsz=0x1000, flags="r")
    builder.load(b"", address=0x2000, offset=0x1000, filesz=0x100, memsz=0x100, flags="rw")
    builder.segment(2, b"", address=0x2000, offset=0x1000, filesz=len(dynamic), memsz=0x100)
    headers = builder.build()
    page[: len(headers)] = headers
    return bytes(page) + bytes(0x1000) + dynamic.ljust(0x100, b"\0")


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("hash_table", [True, False])
def test_an_image_in_memory_has_relocated_addresses(bits: int, hash_table: bool) -> None:
    bias = 0x5655_0000 if bits == 32 else 0x7F00_1234_0000
    elf = Elf(relocated(bits, bias, hash_table))
    symbols = ElfSymbols(elf, bias=bias)
    names = [name(symbols, at) for at in (0x5000, 0x511F, 0x5120)]
    assert names == ["first", "second", None]
    assert ElfSymbols(elf).lookup(0x5000) is None  # without its bias nothing can be found


def test_hash_tables_that_lie_are_refused() -> None:
    data = bytearray(relocated(64, 0))
    # DT_HASH becomes DT_GNU_HASH with billions of buckets.
    at = data.index(struct.pack("<QQ", 4, 0x800))
    struct.pack_into("<Q", data, at, 0x6FFFFEF5)
    struct.pack_into("<IIII", data, 0x800, 0xFFFF_FFFF, 1, 0, 0)
    with pytest.raises(FormatError, match="buckets"):
        dynamic_table(Elf(bytes(data)))
    struct.pack_into("<IIII", data, 0x800, 0x10000, 1, 0, 0)
    symbols = ElfSymbols(Elf(bytes(data)))
    assert symbols.lookup(0x5000) is None
    assert symbols.problems == ["DT_GNU_HASH: not inside the image"]


@pytest.mark.oracle
def test_a_library_that_was_stripped_like_fedora_does_it(
    compiled: Compile, run: Run, tmp_path: Path, tool: Tool
) -> None:
    """strip, and give back what .dynsym lacks: the recipe in gdb's manual, "MiniDebugInfo"."""
    program = compiled("inlined.c", "gcc", "-g", "-O2", "-rdynamic")
    mini, stripped = tmp_path / "mini", tmp_path / "stripped"
    run("objcopy", "--only-keep-debug", program, mini)
    run("strip", "--strip-all", "-K", "outer", "-K", "split.cold", mini)
    run("strip", program, "-o", stripped)
    run("xz", "-k", mini)
    run("objcopy", "--add-section", f".gnu_debugdata={mini}.xz", stripped)
    elf = open_elf(str(stripped))
    assert elf is not None
    symbols = ElfSymbols(elf)
    starts = {
        row[2]: int(row[0], 16)
        for row in (line.split() for line in tool("nm", "--defined-only", program).splitlines())
    }
    assert name(symbols, starts["outer"] + 1) == "outer"
    assert name(symbols, starts["split.cold"] + 1) == "split.cold"
    assert name(symbols, starts["split"] + 1) == "split"
    assert name(symbols, starts["frame_dummy"]) is None
    assert symbols.problems == []
