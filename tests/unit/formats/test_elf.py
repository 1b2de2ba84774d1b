"""The ELF reader on files whose every byte is known."""

from __future__ import annotations

import pytest

from tests.build.elf import (
    EM_386,
    EM_AARCH64,
    EM_X86_64,
    ET_CORE,
    PT_NOTE,
    SHT_NOTE,
    Elf,
    Symbol,
)
from tests.build.notes import note
from unspool.errors import FormatError
from unspool.formats import elf

MACHINES = [(64, EM_X86_64), (32, EM_386), (64, EM_AARCH64)]


def read(image: Elf) -> elf.Elf:
    return elf.Elf(image.build())


@pytest.mark.parametrize(("bits", "machine"), MACHINES)
def test_header_segments_and_sections(bits: int, machine: int) -> None:
    image = Elf(bits, machine, e_entry=0x1010)
    text = image.section(".text", data=b"\x90" * 64, address=0x1000, flags="ax")
    image.load([text], flags="rx", memsz=0x2000)
    image.load(b"stack", address=0x7000_0123, flags="rw")
    found = read(image)
    assert (found.machine, found.entry, found.address_size) == (machine, 0x1010, bits // 8)
    code, data = found.program_headers()
    assert (code.type, code.flags, code.vaddr, code.filesz, code.memsz) == (
        elf.PT_LOAD, elf.PF_R | elf.PF_X, 0x1000, 64, 0x2000,
    )  # fmt: skip
    assert (data.vaddr, data.filesz, data.flags) == (0x7000_0123, 5, elf.PF_R | elf.PF_W)
    assert found.buffer[data.offset : data.offset + 5] == b"stack"
    section = found.section(".text")
    assert section is not None
    assert (section.address, section.size) == (0x1000, 64)
    buffer, start, end = found.section_data(section)
    assert buffer[start:end] == b"\x90" * 64
    assert found.section(".data") is None


@pytest.mark.parametrize("compress", ["zlib"])
@pytest.mark.parametrize("bits", [32, 64])
def test_compressed_sections_are_unpacked(bits: int, compress: str) -> None:
    image = Elf(bits)
    image.section(".debug_frame", data=b"hello" * 1000, compress=compress)
    found = read(image)
    section = found.section(".debug_frame")
    assert section is not None
    buffer, start, end = found.section_data(section)
    assert bytes(buffer[start:end]) == b"hello" * 1000


@pytest.mark.parametrize("claim", [0, 10, 1 << 40])
def test_a_compressed_section_gives_no_more_than_it_claims(claim: int) -> None:
    image = Elf(64)
    made = image.section(".debug_frame", data=bytes(50 << 20), compress="zlib")
    made.data = made.data[:8] + claim.to_bytes(8, "little") + made.data[16:]
    found = read(image)
    section = found.section(".debug_frame")
    assert section is not None
    try:
        _, start, end = found.section_data(section)
        assert end - start <= claim
    except FormatError:
        assert claim in (1 << 40, 0)


@pytest.mark.parametrize("damage", [slice(24, 40), slice(0, 4), slice(10, None)])
def test_a_damaged_compressed_section_is_a_format_error(damage: slice) -> None:
    image = Elf(64)
    made = image.section(".debug_frame", data=bytes(range(256)) * 20, compress="zlib")
    made.data = made.data[: damage.start] + b"\xff" * 8 + made.data[damage.start + 8 :]
    if damage.stop is None:
        made.data = made.data[:10]
    found = read(image)
    section = found.section(".debug_frame")
    assert section is not None
    with pytest.raises(FormatError):
        found.section_data(section)


def test_sections_without_bytes_in_this_file_are_passed_over() -> None:
    # A file made by objcopy --only-keep-debug has an .eh_frame header without bytes.
    image = Elf(64)
    image.nobits(".eh_frame", 0x100, 0x4000)
    found = read(image)
    assert found.section(".eh_frame") is None
    header = next(section for section in found.sections() if section.name == ".eh_frame")
    with pytest.raises(FormatError):
        found.section_data(header)


@pytest.mark.parametrize("count", [0xFFFE, 0xFFFF, 70_000])
def test_more_segments_than_the_header_can_count(count: int) -> None:
    image = Elf(64, kind=ET_CORE)
    for i in range(count):
        image.load(b"", address=(i + 1) << 12, memsz=4096)
    found = read(image)
    assert found.segment_count() == count
    headers = found.program_headers()
    assert len(headers) == count
    assert headers[-1].vaddr == count << 12


@pytest.mark.parametrize("lies", [{"e_phnum": 0xFFFF}, {"e_phnum": 0xFFFF, "e_shoff": 1 << 62}])
def test_an_escaped_count_without_its_section_header_gives_what_is_there(
    lies: dict[str, int],
) -> None:
    image = Elf(64, **lies)
    image.load(b"x", address=0x1000)
    first = read(image).program_headers()[0]
    assert first.vaddr == 0x1000


def test_a_program_header_table_cut_in_the_middle_gives_those_before() -> None:
    image = Elf(64)
    for i in range(5):
        image.load(b"", address=(i + 1) << 12)
    whole = image.build()
    for length in range(64, 64 + 5 * 56 + 1):
        assert len(elf.Elf(whole[:length]).program_headers()) == (length - 64) // 56


@pytest.mark.parametrize("length", [*range(64)])
def test_a_cut_header_is_a_format_error(length: int) -> None:
    with pytest.raises(FormatError):
        elf.Elf(Elf(64).build()[:length])


@pytest.mark.parametrize(
    ("position", "value", "word"),
    [(0, 0, "magic"), (4, 3, "class"), (4, 0, "class"), (5, 2, "big-endian"), (5, 0, "endian")],
)
def test_what_is_not_a_little_endian_elf_is_refused(position: int, value: int, word: str) -> None:
    data = bytearray(Elf(64).build())
    data[position] = value
    with pytest.raises(FormatError, match=word):
        elf.Elf(bytes(data))


LIES = [
    {"e_phoff": 1 << 63}, {"e_phoff": 0}, {"e_phoff": (1 << 64) - 1}, {"e_phentsize": 0},
    {"e_phentsize": 1}, {"e_phentsize": 0xFFFF}, {"e_phnum": 0xFFFE}, {"e_shoff": 1 << 63},
    {"e_shoff": 3}, {"e_shentsize": 0}, {"e_shentsize": 0xFFFF}, {"e_shnum": 0xFFFF},
    {"e_shnum": 0}, {"e_shstrndx": 0xFFFF}, {"e_shstrndx": 0x7777}, {"e_shstrndx": 0},
]  # fmt: skip


@pytest.mark.parametrize("lies", LIES, ids=str)
def test_lying_headers_cost_only_what_they_describe(lies: dict[str, int]) -> None:
    image = Elf(64, **lies)
    image.load(b"data", address=0x1000)
    image.build_id(b"\1" * 20)
    found = read(image)
    for header in found.program_headers():
        assert header.memsz >= 0
    found.sections()
    found.build_id()
    found.debug_link()
    found.load_bias(0x1000)


@pytest.mark.parametrize(
    "lies",
    [
        {"sh_offset": 1 << 63},
        {"sh_size": 1 << 63},
        {"sh_size": (1 << 64) - 1},
        {"sh_name": 1 << 31},
    ],
    ids=str,
)
def test_lying_section_headers(lies: dict[str, int]) -> None:
    image = Elf(64)
    image.section(".eh_frame", data=b"1234", **lies)
    found = read(image)
    section = found.section(".eh_frame")
    if section is None:
        assert "sh_name" in lies
        return
    with pytest.raises(FormatError):
        found.section_data(section)


@pytest.mark.parametrize("segment", [True, False])
@pytest.mark.parametrize("size", [8, 16, 20, 64])
def test_build_id(size: int, segment: bool) -> None:
    image = Elf(64)
    image.build_id(bytes(range(size)), segment=segment)
    assert read(image).build_id() == bytes(range(size)).hex()


def test_the_build_id_among_other_notes() -> None:
    raw = note("GNU", 1, bytes(16)) + note("Linux", 3, b"no") + note("GNU", 3, b"\xab" * 20)
    image = Elf(64)
    image.segment(PT_NOTE, raw, align=4)
    assert read(image).build_id() == "ab" * 20


@pytest.mark.parametrize("size", [0, 65, 4000])
def test_build_ids_of_impossible_size_are_none(size: int) -> None:
    image = Elf(64)
    image.build_id(bytes(size))
    assert read(image).build_id() is None


def test_property_notes_are_padded_to_eight() -> None:
    # .note.gnu.property of 64-bit files: alignment 8, the only notes that pad so.
    raw = note("GNU", 5, bytes(12), align=8) + note("GNU", 3, b"\x12" * 20, align=8)
    image = Elf(64)
    image.segment(PT_NOTE, raw, align=8)
    assert read(image).build_id() == "12" * 20


def test_notes_give_name_type_and_place() -> None:
    raw = note("CORE", 1, b"abcde") + note("", 7, b"") + note("LINUX", 0x202, b"xyz")
    found = [
        (entry.name, entry.type, raw[entry.offset : entry.offset + entry.size])
        for entry in elf.iter_notes(raw, 0, len(raw))
    ]
    assert found == [(b"CORE", 1, b"abcde"), (b"", 7, b""), (b"LINUX", 0x202, b"xyz")]


def test_notes_cut_anywhere_give_the_whole_ones() -> None:
    parts = [note("CORE", i, bytes(5 * i)) for i in range(1, 6)]
    raw = b"".join(parts)
    ends = [sum(map(len, parts[: i + 1])) for i in range(5)]
    for length in range(len(raw) + 1):
        found = list(elf.iter_notes(raw[:length], 0, len(raw)))
        # The padding after the last descriptor may be missing.
        assert (
            sum(end <= length for end in ends)
            <= len(found)
            <= sum(end - 3 <= length for end in ends)
        )
        assert all(entry.offset + entry.size <= length for entry in found)


@pytest.mark.parametrize("field", ["namesz", "descsz"])
@pytest.mark.parametrize("value", [0xFFFFFFFF, 0x7FFFFFFF, 100_000])
def test_notes_of_absurd_size_end_the_list(field: str, value: int) -> None:
    raw = note("CORE", 1, b"good") + note("CORE", 2, b"bad", **{field: value}) + bytes(64)
    assert [entry.type for entry in elf.iter_notes(raw, 0, len(raw))] == [1]


def test_a_note_section_of_a_file_without_segments() -> None:
    image = Elf(64, kind=1)
    image.section(".note", SHT_NOTE, note("GNU", 3, b"\7" * 20), align=4)
    assert read(image).build_id() == "07" * 20


def test_debug_link() -> None:
    image = Elf(64)
    image.debug_link("prog.debug", b"content")
    import zlib

    assert read(image).debug_link() == ("prog.debug", zlib.crc32(b"content"))


@pytest.mark.parametrize("raw", [b"", b"\0" * 8, b"a", b"../x\0\0\0\0abcd", b"x" * 5000])
def test_debug_links_that_make_no_sense_are_none(raw: bytes) -> None:
    image = Elf(64)
    image.section(".gnu_debuglink", data=raw)
    assert read(image).debug_link() is None


def test_load_bias() -> None:
    pie, fixed = Elf(64), Elf(64, kind=2)
    pie.load(b"x", address=0, offset=0, filesz=1, memsz=0x1000)
    fixed.load(b"y", address=0x401000)
    fixed.load(b"x", address=0x400000, offset=0, filesz=1, memsz=0x1000)
    assert read(pie).load_bias(0x5555_0000) == 0x5555_0000
    assert read(fixed).load_bias(0x400000) == 0
    odd = Elf(64)
    odd.load(b"z", address=0x201234)
    assert read(odd).load_bias(0x7F00_0000) == 0x7F00_0000 - 0x201000
    assert read(Elf(64)).load_bias(0x1000) == 0x1000


@pytest.mark.parametrize("as_view", [False, True])
def test_names_that_no_symbol_has(as_view: bool) -> None:
    def opened(made: Elf) -> elf.Elf:
        data = made.build()
        return elf.Elf(memoryview(data) if as_view else data)

    made = Elf(64)
    made.symbols([Symbol("a_name", 0x1000), Symbol("the_end", 0x2000)])
    file = opened(made)
    assert file.may_name("a_name")
    assert file.may_name("the_end")
    assert not file.may_name("name")
    assert not file.may_name("a_nam")
    # What cannot be looked into may have any name.
    made = Elf(64)
    made.symbols([Symbol("a_name", 0x1000)])
    made.mini_debug_info(b"\x7fELF")
    assert opened(made).may_name("other")
    assert opened(Elf(64)).may_name("other")
    lying = Elf(64)
    lying.section(".strtab", 3, b"\0a\0", sh_offset=(1 << 64) - 1, sh_size=(1 << 64) - 1)
    assert not opened(lying).may_name("a")
