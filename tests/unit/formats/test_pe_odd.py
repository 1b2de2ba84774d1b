"""PE files that are broken, cut, hand-made or lying."""

from __future__ import annotations

import struct
import sys

import pytest

from tests.build.pe import AMD64, I386, CodeView, Section, image
from tests.fuzz.harness import within
from unspool.errors import FormatError
from unspool.formats.pe import Pe, is_pe

HEADER = 0x80
FIXED = {AMD64: 112, I386: 96}


def text() -> Section:
    return Section(".text", b"\x90" * 0x345, "rx")


@pytest.mark.parametrize("machine", [AMD64, I386])
def test_a_cut_header_is_a_format_error(machine: int) -> None:
    whole = image(machine, [text()]).file()
    needed = HEADER + 24 + FIXED[machine]
    for size in range(needed):
        with pytest.raises(FormatError):
            Pe(whole[:size])
        assert is_pe(whole[:size]) == (size >= HEADER + 4)
    assert Pe(whole[:needed]).sections == []


def test_sections_end_with_the_buffer() -> None:
    whole = image(AMD64, [text(), Section(".data", b"x"), Section(".bss", b"y")]).file()
    table = HEADER + 24 + 240
    for size in range(table, table + 130):
        assert len(Pe(whole[:size]).sections) == min((size - table) // 40, 3)


@pytest.mark.parametrize(
    ("position", "value", "word"),
    [
        (0, b"ZM", "MZ"), (0, b"\x7fELF", "MZ"), (HEADER, b"NE", "signature"),
        (HEADER, b"PE\0\1", "signature"), (HEADER + 24, b"\x07\1", "0x107"),
        (60, b"\0\0\0\0", "signature"), (60, b"\xff\xff\xff\xff", "signature"),
        (60, b"\0\x10\0\0", "signature"),
    ],
)  # fmt: skip
def test_what_is_not_a_pe_file_is_refused(position: int, value: bytes, word: str) -> None:
    data = bytearray(image(AMD64, [text()]).file())
    data[position : position + len(value)] = value
    with pytest.raises(FormatError, match=word):
        Pe(bytes(data))
    assert is_pe(bytes(data)) == (position == HEADER + 24)


@pytest.mark.parametrize("base", [-1, -0x1000, 1, 1 << 40])
def test_a_base_that_is_not_an_images_start(base: int) -> None:
    with pytest.raises(FormatError):
        Pe(image(AMD64).file(), base_offset=base)


@pytest.mark.parametrize("offset", [4, 0x20, 0x41, 0x7F, 0x81, 0x333])
def test_the_pe_header_may_be_anywhere(offset: int) -> None:
    # Hand-made small programs have it inside the DOS header (the field at 60 is then part of it).
    plain = image(AMD64, [text()]).file()
    data = bytearray(plain[:64]) + bytes(0x800)
    headers = bytearray(plain[HEADER : HEADER + 24 + 240 + 40])
    if offset < 64:
        headers[60 - offset : 64 - offset] = struct.pack("<I", offset)
    data[offset : offset + len(headers)] = headers
    data[60:64] = struct.pack("<I", offset)
    found = Pe(bytes(data))
    assert found.machine == AMD64
    assert [section.name for section in found.sections] == [".text"]


@pytest.mark.parametrize("size", [0, 4, 0x70, 0x1000, 0xFFFF])
def test_the_section_table_follows_the_optional_headers_size(size: int) -> None:
    data = image(AMD64, [text()], SizeOfOptionalHeader=size).file()
    found = Pe(data)
    assert found.directory(3) is None
    assert found.size_of_headers == 0x400
    table = HEADER + 24 + size
    expected = len(data) >= table + 40
    assert len(found.sections) == expected
    for section in found.sections:
        assert section.virtual_size == int.from_bytes(data[table + 8 : table + 12], "little")


def test_as_many_sections_as_a_header_can_count() -> None:
    count = 0xFFFF
    data = bytearray(image(AMD64, NumberOfSections=count).file()[: HEADER + 24 + 240])
    for index in range(count):
        data += struct.pack("<8sIIII12xI", b".x", 0x10, 0x1000 * (index + 1), 0x200, 0x400, 0x40)
    found = Pe(bytes(data))
    with within(5):
        assert len(found.sections) == count
        assert found.section_at(0x1000 * count) is found.sections[-1]
        assert found.section(".y") is None


@pytest.mark.parametrize("rva", [0x1000, 0xFFFFF000])
def test_sections_that_all_overlap_cost_little(rva: int) -> None:
    data = bytearray(image(AMD64, NumberOfSections=0xFFFF).file()[: HEADER + 24 + 240])
    for index in range(0xFFFF):
        row = struct.pack("<8sIIII12xI", b"/4", 0x10, rva + index % 3, 0x200, 0x400, 0x40)
        data += row
    found = Pe(bytes(data))
    with within(5):
        for probe in range(10_000):
            found.located(rva + probe)


def test_of_overlapping_sections_the_nearest_has_the_bytes() -> None:
    outer = Section(".outer", b"o" * 0x4000, rva=0x1000)
    inner = Section(".inner", b"i" * 0x800, rva=0x2000)
    found = Pe(image(AMD64, [outer, inner]).file())
    assert found.read(0x1FFF, 1) == b"o"
    assert found.read(0x2000, 1) == b"i"
    assert found.read(0x4000, 1) == b"o"
    assert found.section_at(0x1000) is found.sections[0]
    assert found.section_at(0x2FFF) is found.sections[1]


def test_sections_out_of_order() -> None:
    parts = [
        Section(name, name.encode() * 9, rva=rva) for name, rva in (("b", 0x3000), ("a", 0x1000))
    ]
    found = Pe(image(AMD64, parts).file())
    assert [section.name for section in found.sections] == ["b", "a"]
    assert found.read(0x1000, 2) == b"aa"
    assert found.read(0x3000, 2) == b"bb"


@pytest.mark.parametrize(
    "lies",
    [
        {"VirtualAddress": 0xFFFFFFFF}, {"VirtualSize": 0xFFFFFFFF}, {"SizeOfRawData": 0xFFFFFFFF},
        {"PointerToRawData": 0xFFFFFFFF}, {"PointerToRawData": 0xFFFFFE00, "SizeOfRawData": 0x400},
        {"VirtualSize": 0, "SizeOfRawData": 0}, {"VirtualAddress": 0}, {"Characteristics": 0},
    ],
)  # fmt: skip
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("alignment", [0x1000, 0x200])
def test_lies_of_a_section_cost_no_other(
    lies: dict[str, int], mapped: bool, alignment: int
) -> None:
    parts = [text(), Section(".data", b"d" * 0x123, "rw", **lies), Section(".rdata", b"r" * 0x123)]
    made = image(AMD64, parts, section_alignment=alignment, file_alignment=0x200)
    data = made.memory() if mapped else made.file()
    found = Pe(data, mapped=mapped)
    assert found.read(made[".rdata"].rva, 4) == b"rrrr"
    for rva in (0, made[".text"].rva, made[".data"].rva, 0xFFFFFFFF, sys.maxsize):
        located = found.located(rva)
        assert located is None or 0 <= located[1] < located[2] <= len(data)


@pytest.mark.parametrize(
    "lies",
    [
        {"SizeOfHeaders": 0xFFFFFFFF}, {"SizeOfHeaders": 0}, {"SectionAlignment": 0},
        {"SectionAlignment": 0xFFFFFFFF}, {"FileAlignment": 0}, {"NumberOfSections": 0xFFFF},
        {"PointerToSymbolTable": 0xFFFFFFFF}, {"NumberOfSymbols": 0xFFFFFFFF},
        {"PointerToSymbolTable": 3}, {"Machine": 0}, {"SizeOfImage": 0},
    ],
)  # fmt: skip
def test_lies_of_the_header(lies: dict[str, int]) -> None:
    made = image(AMD64, [text(), Section(".debug_info", b"x")], codeview=CodeView("a.pdb"), **lies)
    data = made.file()
    found = Pe(data)
    assert found.read(0x1000, 4) == b"\x90" * 4
    assert found.codeview() is not None
    assert found.sections[1].name
    for rva in range(0, 0x5000, 0x7F):
        located = found.located(rva)
        assert located is None or 0 <= located[1] < located[2] <= len(data)


@pytest.mark.parametrize(
    "where", [(0x3000, 28), (0x1000, 0xFFFFFFFF), (0xFFFFFFFF, 28), (0x10, 28)]
)
def test_a_debug_directory_that_lies(where: tuple[int, int]) -> None:
    made = image(AMD64, [text(), Section(".data", b"\x02" * 0x400)], directories={6: where})
    assert Pe(made.file()).codeview() is None
    assert Pe(made.memory(), mapped=True).codeview() is None


def test_a_debug_directory_that_claims_the_rest_of_the_file() -> None:
    made = image(AMD64, [Section(".rdata", bytes(0x200))], directories={6: (0x1000, 0xFFFFFFFF)})
    assert Pe(made.file()).codeview() is None


@pytest.mark.parametrize("size", range(25))
def test_a_record_that_is_cut(size: int) -> None:
    made = image(AMD64, codeview=CodeView(""))
    data = bytearray(made.file())
    at = data.index(b"RSDS") - 28 + 16
    data[at : at + 4] = size.to_bytes(4, "little")
    assert Pe(bytes(data)).codeview() is None
