"""Objects that are placed: as a linker leaves them, or left out where that cannot be told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.elf import ET_DYN, ET_REL, Elf, Symbol
from tests.build.jit import LAYOUTS, Function, JitObject
from tests.programs.build import tool
from unspool.errors import FormatError
from unspool.formats import elf_placed
from unspool.formats.elf import PT_LOAD
from unspool.formats.elf import Elf as Parsed
from unspool.formats.elf_placed import Header, placed

SOURCE = Path(__file__).parents[2] / "programs" / "made.c"
CODE, FRAMES = 0x5000_0000, 0x5001_0000
MADE = [Function("made", 0x10, 0x20)]
# Compilers with their linkers: by their flags for this CPU, the address of code.
COMPILERS = {
    "x86-64": (["gcc"], ["ld"], 0x6000_0000_0000),
    "i386": (["gcc", "-m32", "-fno-pic"], ["ld", "-m", "elf_i386"], CODE),
    "aarch64": (["aarch64-linux-gnu-gcc"], ["aarch64-linux-gnu-ld"], 0x6000_0000_0000),
    "arm": (["arm-linux-gnueabihf-gcc", "-marm"], ["arm-linux-gnueabihf-ld"], CODE),
}
# Without those that refer to strings: a linker merges them.
COMPARED = (
    ".eh_frame", ".debug_aranges", ".debug_line", ".debug_loc", ".debug_ranges", ".debug_frame",
)  # fmt: skip


def with_addresses(data: bytes, addresses: dict[str, int]) -> bytes:
    """The object as a loader leaves it: nothing but the sections' addresses is changed."""
    out = bytearray(data)
    parsed = Parsed(data)
    word = parsed.address_size
    for index, section in enumerate(parsed.sections()):
        if section.name in addresses and section.size:
            at = parsed.shoff + index * parsed.shentsize + (16 if word == 8 else 12)
            out[at : at + word] = addresses[section.name].to_bytes(word, "little")
    return bytes(out)


def content(elf: Parsed, name: str) -> bytes | None:
    section = elf.section(name)
    if section is None:
        return None
    buffer, start, end = elf.section_data(section)
    return bytes(buffer[start:end])


@pytest.mark.parametrize("cpu", COMPILERS)
@pytest.mark.parametrize("tables", [[], ["-fno-asynchronous-unwind-tables"]], ids=["eh", "debug"])
def test_as_the_linker_does_it(cpu: str, tables: list[str], tmp_path: Path) -> None:
    compiler, linker, code = COMPILERS[cpu]
    tool(compiler[0])
    made, linked = tmp_path / "made.o", tmp_path / "made"
    subprocess.run(
        [*compiler, "-O2", "-gdwarf-4", *tables, "-c", SOURCE, "-o", made], check=True
    )  # fmt: skip
    addresses = {".text": code, ".eh_frame": code + 0x10000}
    places = [f"--section-start={name}={at:#x}" for name, at in addresses.items()]
    subprocess.run(
        [*linker, "-static", "-nostdlib", "-e0", *places, made, "-o", linked],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ours = Parsed(placed(with_addresses(made.read_bytes(), addresses), code))
    theirs = Parsed(linked.read_bytes())
    names = [name for name in COMPARED if content(theirs, name) is not None]
    assert len(names) >= 4
    for name in names:
        expected, found = content(theirs, name), content(ours, name)
        assert expected is not None and found == expected[: len(found or b"")], name


@pytest.mark.parametrize("arch", list(LAYOUTS))
def test_the_result_has_a_segment_and_addresses(arch: str) -> None:
    data = JitObject(arch, CODE, MADE, frames_address=FRAMES).build()
    elf = Parsed(placed(data, CODE))
    [segment] = elf.program_headers()
    assert (segment.type, segment.vaddr, segment.memsz) == (PT_LOAD, CODE, 0x100)
    assert (elf.type, elf.machine) == (ET_DYN, LAYOUTS[arch].machine)
    assert data[:16] == bytes(elf.buffer[:16])


def test_a_linked_file_stays_as_it_is() -> None:
    made = Elf(64)
    made.load([made.section(".text", data=bytes(64), address=0x1000, flags="ax")], flags="rx")
    data = made.build()
    assert placed(data, 0x1000) is data


def test_a_section_that_cannot_be_relocated_is_left_out() -> None:
    data = JitObject("x86_64", CODE, MADE, frames_address=FRAMES, relocation=42).build()
    assert Parsed(data).section(".eh_frame") is not None
    assert Parsed(placed(data, CODE)).section(".eh_frame") is None


def test_too_many_relocations_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf_placed, "_MAX_RELOCATIONS", 1)
    many = [Function(f"made{n}", 0x10 * n, 0x10) for n in range(2)]
    data = JitObject("x86_64", CODE, many, frames_address=FRAMES).build()
    assert Parsed(placed(data, CODE)).section(".eh_frame") is None


def test_symbols_of_no_section_keep_their_values() -> None:
    made = Elf(64, kind=ET_REL)
    text = made.section(".text", data=bytes(64), flags="ax", sh_addr=CODE)
    made.symbols(
        [Symbol("here", 8, 4, section=text), Symbol("fixed", 8, section=0xFFF1), Symbol("no", 8)]
    )
    table = content(Parsed(placed(made.build(), CODE)), ".symtab")
    assert table is not None
    values = [int.from_bytes(table[at + 8 : at + 16], "little") for at in range(24, 96, 24)]
    assert values == [CODE + 8, 8, 8]


@pytest.mark.parametrize("data", [b"", b"\x7fELF", bytes(64), b"\x7fELF\2\1\1" + bytes(57)])
def test_what_is_no_object(data: bytes) -> None:
    with pytest.raises(FormatError):
        placed(data, 0)
    with pytest.raises(FormatError):
        Header(data)


def test_a_header_says_where_code_is() -> None:
    data = JitObject("x86_64", CODE, MADE, frames_address=FRAMES).build()
    header = Header(data[: Header.SIZE])
    table = data[header.table : header.table + header.table_size]
    assert header.code(table) == [(CODE, CODE + 0x100)]
    assert header.code(table[:-1]) == [(CODE, CODE + 0x100)]
    assert header.code(b"") == []
    assert (header.machine, header.type) == (62, ET_REL)


SEEDS = [JitObject(arch, CODE, MADE, frames_address=FRAMES).build() for arch in LAYOUTS]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=9))
def test_broken_objects_are_placed_or_refused(seed: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(seed)
    for at, value in changes:
        data[at % len(data)] = value
    try:
        result = placed(bytes(data), CODE)
    except FormatError:
        return
    assert len(result) < 2 * len(data)
