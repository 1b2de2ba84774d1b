"""The PE reader on files and images whose every byte is known."""

from __future__ import annotations

import mmap
import tempfile

import pytest

from tests.build.pe import (
    AMD64,
    ARM64,
    DEBUG,
    EXPORT,
    I386,
    WINE_BUILTIN,
    WINE_PLACEHOLDER,
    CodeView,
    Image,
    Section,
    Symbol,
    image,
)
from unspool.errors import FormatError
from unspool.formats import pe
from unspool.formats.pe import Pe

MACHINES = [AMD64, I386, ARM64]
HEADER = 0x80  # where the builder puts the PE header


def pattern(size: int, seed: int) -> bytes:
    return bytes((i * 7 + seed + (i >> 8) * 13) & 0xFF for i in range(size))


def sections() -> list[Section]:
    return [
        Section(".text", pattern(0x1345, 1), "rx"),
        Section(".data", pattern(0x345, 2), "rw", virtual_size=0x2345),
        Section(".bss", b"", "rwb", virtual_size=0x1100),
        Section(".rdata", pattern(0x900, 3), "r"),
    ]


def differences(made: Image, memory: bytes | None = None) -> tuple[int, int]:
    """(wrong bytes, bytes that memory has and the file lacks), reading each at every RVA."""
    file, loaded = Pe(made.file()), memory or made.memory()
    image = Pe(loaded, mapped=True)
    wrong = absent = 0
    for rva, byte in enumerate(loaded):
        in_file, in_memory = file.located(rva), image.located(rva)
        if in_file is None:
            absent += byte != 0
        else:
            wrong += in_file[0][in_file[1]] != byte
        if in_memory is not None:
            assert in_memory[1] == rva
        elif in_file is not None:
            wrong += 1
    return wrong, absent


@pytest.mark.parametrize("machine", MACHINES)
def test_headers(machine: int) -> None:
    made = image(
        machine, sections(), timestamp=0xABC, entry=0x1010, checksum=0x1234, image_base=0x7B600000,
        section_alignment=0x2000, file_alignment=0x400,
    )  # fmt: skip
    found = Pe(made.file())
    assert (found.machine, found.is_64) == (machine, machine != I386)
    assert (found.timestamp, found.checksum, found.entry) == (0xABC, 0x1234, 0x1010)
    assert (found.section_alignment, found.file_alignment) == (0x2000, 0x400)
    assert (found.image_base, found.size_of_image) == (0x7B600000, 0xC000)
    assert found.size_of_headers == 0x400
    assert found.code_id == "00000ABCc000"
    assert found.is_dll
    assert not Pe(image(machine, dll=False).file()).is_dll
    assert found.characteristics & 2


def test_the_code_id_keeps_the_time_stamps_zeros() -> None:
    assert Pe(image(timestamp=0x0F00000A).file()).code_id == "0F00000A1000"
    assert Pe(image(timestamp=0).file()).code_id == "000000001000"


@pytest.mark.parametrize("machine", MACHINES)
def test_sections(machine: int) -> None:
    found = Pe(image(machine, sections()).file())
    text, data, bss, rdata = found.sections
    assert (text.name, text.rva, text.virtual_size) == (".text", 0x1000, 0x1345)
    assert (text.raw_offset, text.raw_size) == (0x400, 0x1400)
    assert (text.executable, text.writable) == (True, False)
    assert (data.executable, data.writable) == (False, True)
    assert (bss.raw_offset, bss.raw_size, bss.virtual_size) == (0, 0, 0x1100)
    assert found.section(".rdata") is rdata
    assert found.section(".pdata") is None


def test_a_section_has_its_last_page_whole() -> None:
    found = Pe(image(AMD64, sections()).file())
    text, data, bss, rdata = found.sections
    expected = {
        0: None, 0xFFF: None, 0x1000: text, 0x2344: text, 0x2345: text, 0x2FFF: text,
        0x3000: data, 0x5FFF: data, 0x6000: bss, 0x7FFF: bss, 0x8000: rdata, 0x8FFF: rdata,
        0x9000: None, 1 << 40: None, -1: None,
    }  # fmt: skip
    assert {rva: found.section_at(rva) for rva in expected} == expected


def test_a_low_alignment_has_no_pages() -> None:
    parts = [Section(".text", b"t" * 0x123, "rx"), Section(".data", b"d" * 0x10, "rw", rva=0x800)]
    made = image(AMD64, parts, section_alignment=0x40, file_alignment=0x40)
    for found in (Pe(made.file()), Pe(made.memory(), mapped=True)):
        text = made[".text"].rva
        assert found.section_at(text + 0x122) is found.sections[0]
        assert found.section_at(text + 0x123) is None
        assert found.section_at(0x810) is None


def test_bytes_are_located_in_the_file() -> None:
    made = image(AMD64, sections())
    data = made.file()
    found = Pe(data)
    assert found.located(0) == (data, 0, 0x400)
    assert found.located(0x3F0) == (data, 0x3F0, 0x400)
    assert found.located(0x400) is None
    assert found.located(0x1000) == (data, 0x400, 0x400 + 0x1345)
    assert found.located(0x2344) == (data, 0x1744, 0x1745)
    # Behind the section's end the last page has what the file has there.
    assert found.located(0x2345) == (data, 0x1745, 0x1800)
    assert found.located(0x23FF) == (data, 0x17FF, 0x1800)
    assert found.located(0x2400) is None
    # Only raw data: the rest of .data is zeros when it starts, and .bss is nothing but that.
    assert found.located(0x3000) == (data, 0x1800, 0x1C00)
    assert found.located(0x3400) is None
    assert found.located(0x6000) is None


def test_bytes_are_located_in_memory() -> None:
    made = image(AMD64, sections())
    data = made.memory()
    found = Pe(data, mapped=True)
    assert found.located(0x10) == (data, 0x10, 0x400)
    assert found.located(0x1234) == (data, 0x1234, 0x2345)
    assert found.located(0x2345) == (data, 0x2345, 0x3000)
    assert found.located(0x6000) == (data, 0x6000, 0x7100)
    assert found.located(0x9000) is None


def test_memory_may_hold_the_header_page_alone() -> None:
    made = image(AMD64, sections(), codeview=CodeView("a.pdb"), exports=[("f", 0x1000)])
    for buffer in (made.memory()[:4096], memoryview(made.memory())[:4096]):
        found = Pe(buffer, mapped=True)
        assert [section.name for section in found.sections][:2] == [".text", ".data"]
        assert found.located(0x1000) is None
        assert found.directory(EXPORT) is not None
        assert found.codeview() is None
        with pytest.raises(FormatError, match="RVA 0x1000"):
            found.read(0x1000, 1)
    half = Pe(made.memory()[:0x1800], mapped=True)
    located = half.located(0x1010)
    assert located is not None
    assert located[1:] == (0x1010, 0x1800)


def test_reading_stays_in_a_section() -> None:
    found = Pe(image(AMD64, sections()).file())
    assert found.read(0x1000, 0x1345) == pattern(0x1345, 1)
    assert found.read(0x8010, 4) == pattern(0x900, 3)[0x10:0x14]
    assert found.read(0x1000, 0) == b""
    for rva, size in ((0x1000, 0x1346), (0x6000, 1), (0x1000, -1), (-4, 2), (1 << 40, 1)):
        with pytest.raises(FormatError, match="not in the image"):
            found.read(rva, size)


@pytest.mark.parametrize("base", [0, 1, 0x1000])
@pytest.mark.parametrize("mapped", [False, True])
def test_an_image_may_start_inside_a_buffer(base: int, mapped: bool) -> None:
    text = Section(".text", pattern(0x345, 1), "rx")
    made = image(
        AMD64, [text, Section(".a_long_name", b"zz")], codeview=CodeView("a.pdb"),
        symbols=[Symbol("main", 0, text)],
    )  # fmt: skip
    data = made.memory() if mapped else made.file()
    found = Pe(b"\xff" * base + data, mapped=mapped, base_offset=base)
    assert found.read(0x1000, 0x345) == pattern(0x345, 1)
    record = found.codeview()
    assert record is not None
    assert record.path == "a.pdb"
    assert found.sections[1].name == ("/4" if mapped else ".a_long_name")
    table = found.coff_symbols()
    assert (table is None) if mapped else (table is not None and table[0] > base)


def test_a_mapped_file_may_be_the_buffer() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(image(AMD64, sections(), codeview=CodeView("a.pdb")).file())
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            found = Pe(buffer)
            assert pe.is_pe(buffer)
            assert found.read(0x1000, 8) == pattern(8, 1)
            assert found.codeview() is not None
            del found


# --- as loaders do it -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("section_alignment", "file_alignment"),
    [(0x1000, 0x200), (0x1000, 0x1000), (0x10000, 0x200), (0x200, 0x200), (0x40, 0x40), (16, 16)],
)
def test_the_file_has_what_memory_has(section_alignment: int, file_alignment: int) -> None:
    made = image(
        AMD64, sections(), section_alignment=section_alignment, file_alignment=file_alignment
    )
    assert differences(made) == (0, 0)


@pytest.mark.parametrize("size", [0, 1, 0x123, 0x345, 0x1000])
@pytest.mark.parametrize("data", [0x345, 0x1900])
def test_a_virtual_size_that_is_not_the_datas(size: int, data: int) -> None:
    parts = sections()
    parts[1] = Section(".data", pattern(data, 2), "rw", virtual_size=size)
    assert differences(image(AMD64, parts)) == (0, 0)


@pytest.mark.parametrize(
    ("lies", "first", "held"),
    [
        # What Wine 8.0 has loaded from such a file.
        ({"PointerToRawData": 0x1873}, 0x1800, 0x600),
        ({"PointerToRawData": 0x1873, "SizeOfRawData": 0x200}, 0x1800, 0x400),
        ({"SizeOfRawData": 0x123}, 0x1800, 0x200),
        ({"PointerToRawData": 0x123}, 0, 0x600),
        ({"PointerToRawData": 0}, 0, 0),
        ({"SizeOfRawData": 0}, 0, 0),
        ({"SizeOfRawData": 0xFFFFFFFF}, 0x1800, 0xE00),
        ({"PointerToRawData": 0xFFFFFFFF}, 0, 0),
    ],
)
def test_raw_data_are_whole_sectors(lies: dict[str, int], first: int, held: int) -> None:
    parts = sections()
    parts[1] = Section(".data", pattern(0x345, 2), "rw", virtual_size=0x2345, **lies)
    data = image(AMD64, parts).file()
    assert len(data) == 0x2600
    located = Pe(data).located(0x3000)
    assert located == ((data, first, first + held) if held else None)


# --- directories ----------------------------------------------------------------------


def test_directories() -> None:
    made = image(AMD64, sections(), directories={0: (0x8000, 40), 5: (0x8100, 0), 15: (0, 8)})
    found = Pe(made.file())
    assert found.directory(0) == (0x8000, 40)
    assert [found.directory(index) for index in (-1, 1, 5, 15, 16, 1 << 30)] == [None] * 6
    # The section table is no more directories, whatever the count.
    found = Pe(image(AMD64, sections(), NumberOfRvaAndSizes=0xFFFFFFFF).file())
    assert [found.directory(index) for index in range(30)] == [None] * 30


@pytest.mark.parametrize(("count", "expected"), [(0, None), (3, None), (4, 8), (0xFFFFFFFF, 8)])
def test_the_number_of_directories_is_the_headers(count: int, expected: int | None) -> None:
    made = image(AMD64, sections(), directories={3: (0x1000, 8)}, NumberOfRvaAndSizes=count)
    found = Pe(made.file()).directory(3)
    assert (found and found[1]) == expected


def test_directories_end_with_the_buffer() -> None:
    data = image(AMD64, directories={3: (0x1000, 8)}).file()
    start = HEADER + 24 + 112
    assert Pe(data[: start + 32]).directory(3) == (0x1000, 8)
    assert Pe(data[: start + 31]).directory(3) is None


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("machine", MACHINES)
def test_codeview(machine: int, mapped: bool) -> None:
    made = image(machine, sections(), codeview=CodeView("c:\\ü\\a.pdb", bytes(range(16)), 0x1B))
    found = Pe(made.memory() if mapped else made.file(), mapped=mapped).codeview()
    assert found is not None
    assert (found.path, found.guid, found.age) == ("c:\\ü\\a.pdb", bytes(range(16)), 0x1B)
    assert found.debug_id == "03020100-0504-0706-0809-0a0b0c0d0e0f-1b"
    assert found.store_id == "030201000504070608090A0B0C0D0E0F1b"


def test_a_record_in_the_file_alone() -> None:
    made = image(AMD64, codeview=CodeView("a.pdb", in_file_only=True), file_alignment=0x1000)
    found = Pe(made.file()).codeview()
    assert found is not None
    assert found.path == "a.pdb"
    assert Pe(made.memory(), mapped=True).codeview() is None


def test_a_path_has_a_limit() -> None:
    found = Pe(image(AMD64, codeview=CodeView("a" * 9000)).file()).codeview()
    assert found is not None
    assert 1000 < len(found.path) < 4096


def test_an_id_without_a_path_and_an_age() -> None:
    found = Pe(image(AMD64, codeview=CodeView("", age=0)).file()).codeview()
    assert found is not None
    assert (found.path, found.debug_id) == ("", "03020100-0504-0706-0809-0a0b0c0d0e0f")


def test_the_first_record_of_the_right_form_counts() -> None:
    entry = b"".join(n.to_bytes(4, "little") for n in (0, 0, 0, 2, 30, 0x1100, 0))
    other = entry[:12] + b"\x10" + entry[13:]
    record = CodeView("a.pdb").record
    data = other * 2 + entry
    data = data.ljust(0x100, b"\0") + record
    made = image(AMD64, [Section(".rdata", data)], directories={DEBUG: (0x1000, 84)})
    found = Pe(made.file()).codeview()
    assert found is not None
    assert found.path == "a.pdb"
    made = image(AMD64, [Section(".rdata", data)], directories={DEBUG: (0x1000, 83)})
    assert Pe(made.file()).codeview() is None


@pytest.mark.parametrize("signature", [b"NB10", b"RSDT"])
def test_records_of_other_forms_are_none(signature: bytes) -> None:
    made = image(AMD64, codeview=CodeView("a.pdb", signature=signature))
    assert Pe(made.file()).codeview() is None


# --- names ----------------------------------------------------------------------------


def test_long_names_are_in_the_files_string_table() -> None:
    names = [".text", ".eight_c", ".nine_chr", ".debug_aranges"]
    made = image(I386, [Section(name, b"x") for name in names])
    assert [section.name for section in Pe(made.file()).sections] == names
    assert [section.name for section in Pe(made.memory(), mapped=True).sections] == [
        ".text", ".eight_c", "/4", "/14",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"/4", ".nine_chr"), (b"/5", "nine_chr"), (b"//AAAAAE", ".nine_chr"),
        (b"/0", "/0"), (b"/3", "/3"), (b"/14", "/14"), (b"/9999999", "/9999999"), (b"/", "/"),
        (b"//", "//"), (b"/x", "/x"), (b"//AA=", "//AA="), (b"//////", "//////"), (b"/-4", "/-4"),
        (b".t\0junk", ".t"), (b"\xe4", "ä"), (b"", ""),
    ],
)  # fmt: skip
def test_names_that_lead_into_the_string_table(raw: bytes, name: str) -> None:
    data = bytearray(image(I386, [Section(".nine_chr", b"x")]).file())
    at = data.index(b"/4\0\0\0\0\0\0")
    data[at : at + 8] = raw.ljust(8, b"\0")
    assert Pe(bytes(data)).sections[0].name == name


def test_a_name_far_into_the_string_table() -> None:
    data = image(I386, [Section("n" * 70, b"x"), Section(".nine_chr", b"x")]).file()
    assert Pe(data).sections[1].name == ".nine_chr"
    changed = data.replace(b"/75\0\0\0\0\0", b"//AAAABL")
    assert changed != data
    assert Pe(changed).sections[1].name == ".nine_chr"


def test_the_symbol_table_is_in_the_file() -> None:
    text = Section(".text", b"x" * 64, "rx")
    data = image(AMD64, [text], symbols=[Symbol("main", 0, text, auxiliary=[b"y"])]).file()
    found = Pe(data).coff_symbols()
    assert found == (0x600, 2, 0x600 + 36)
    assert Pe(data, mapped=True).coff_symbols() is None
    assert Pe(data[:-5]).coff_symbols() is None
    assert Pe(data[:-4]).coff_symbols() == found


def test_a_stripped_file_may_have_a_string_table_alone() -> None:
    found = Pe(image(AMD64, [Section(".debug_info", b"x")]).file())
    assert found.section(".debug_info") is not None
    assert found.coff_symbols() is None


def test_wines_signatures() -> None:
    for mapped in (False, True):
        builtin, placeholder, other = (
            Pe(made.memory() if mapped else made.file(), mapped=mapped)
            for made in (image(stub=WINE_BUILTIN), image(stub=WINE_PLACEHOLDER), image())
        )
        assert (builtin.is_wine_builtin, builtin.is_wine_placeholder) == (True, False)
        assert (placeholder.is_wine_builtin, placeholder.is_wine_placeholder) == (False, True)
        assert (other.is_wine_builtin, other.is_wine_placeholder) == (False, False)
