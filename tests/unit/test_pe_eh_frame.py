"""Call frame information in 32-bit PE images: by name in the file, by its shape in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build import cfi as b
from tests.build import pe
from tests.build.cfi import FrameSection
from tests.conftest import Tool
from tests.unit.formats import oracles
from tests.wine.install import libraries
from unspool.formats.cfi import CfiSection
from unspool.formats.cfi_index import index_of
from unspool.formats.pe import Pe
from unspool.memory import Memory, Region
from unspool.pe_eh_frame import find_debug_frame, find_eh_frame

EM_386 = 3
PREFERRED, MOVED = 0x1000_0000, 0x2350_0000
TEXT, FRAMES = 0x1000, 0x2000
ENTRY = b.def_cfa(4, 4) + b.offset(8, 1)


def frames(base: int, encoding: int = b.PCREL | b.SDATA4, **keywords: int) -> bytes:
    """The section of an image at `base` with two functions, as GCC or clang write it."""
    made = FrameSection(address=base + FRAMES, address_size=4)
    values = {"data_align": -4, "return_register": 8} | keywords
    cie = made.cie(fde_encoding=encoding, initial=ENTRY, **values)  # type: ignore[arg-type]
    for start in (0x10, 0x40):
        made.fde(cie, base + TEXT + start, 0x20, b.advance_loc(1) + b.def_cfa_offset(8))
    return made.build()


def image(data: bytes, name: str = ".eh_frame", machine: int = pe.I386) -> pe.Image:
    text = pe.Section(".text", bytes(0x100), "rx")
    return pe.image(machine, [text, pe.Section(name, data)], image_base=PREFERRED)


def in_memory(made: pe.Image, base: int, data: bytes | None = None, **keywords: bool) -> Memory:
    raw = bytearray(made.memory(base, **keywords))
    if data is not None:
        raw[FRAMES : FRAMES + len(data)] = data
    return Memory([Region(base, base + len(raw), lambda: (bytes(raw), 0, len(raw)))])


def mapped(memory: Memory, base: int) -> Pe:
    return Pe(memory.read_available(base, 0x1000), mapped=True)


def check(found: CfiSection | None) -> None:
    assert found is not None
    for start in (0x10, 0x40):
        fde = found.find(PREFERRED + TEXT + start + 0x1F)
        assert fde is not None
        assert (fde.start, fde.end) == (PREFERRED + TEXT + start, PREFERRED + TEXT + start + 0x20)
    assert found.find(PREFERRED + TEXT + 0x30) is None


ENCODINGS = [b.PCREL | b.SDATA4, b.ABSPTR]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", [".eh_frame", ".eh_fram"])
@pytest.mark.parametrize("base", [PREFERRED, MOVED])
@pytest.mark.parametrize("with_file", [True, False])
def test_in_memory_absolute_addresses_are_relocated(
    encoding: int, name: str, base: int, with_file: bool
) -> None:
    made = image(frames(PREFERRED, encoding), name)
    memory = in_memory(made, base, frames(base, encoding))
    file = Pe(made.file()) if with_file else None
    check(find_eh_frame(memory, base, mapped(memory, base), file))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_in_the_file_they_are_not(encoding: int) -> None:
    made = image(frames(PREFERRED, encoding))
    headers = mapped(in_memory(made, MOVED), MOVED)
    check(find_eh_frame(Memory(), MOVED, headers, Pe(made.file())))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("from_memory", [True, False])
def test_a_loader_that_writes_the_new_base_into_the_header(
    encoding: int, from_memory: bool
) -> None:
    # File addresses count from the base in the headers, which then is where the image lies.
    made = image(frames(PREFERRED, encoding))
    memory = in_memory(made, MOVED, frames(MOVED, encoding), rebased=True)
    headers = mapped(memory, MOVED)
    assert headers.image_base == MOVED
    file = Pe(made.file())
    found = find_eh_frame(memory if from_memory else Memory(), MOVED, headers, file)
    assert found is not None
    fde = found.find(MOVED + TEXT + 0x10)
    assert fde is not None
    assert fde.start == MOVED + TEXT + 0x10


def test_a_section_held_in_part_is_read_from_the_file() -> None:
    made = image(frames(PREFERRED))
    raw = made.memory(MOVED)[: FRAMES + 0x20]
    memory = Memory([Region(MOVED, MOVED + len(raw), lambda: (raw, 0, len(raw)))])
    check(find_eh_frame(memory, MOVED, mapped(memory, MOVED), Pe(made.file())))


def test_without_a_file_what_is_held_is_used() -> None:
    whole = frames(PREFERRED)
    raw = image(whole).memory(MOVED)[: FRAMES + len(whole) - 4 - 20]
    memory = Memory([Region(MOVED, MOVED + len(raw), lambda: (raw, 0, len(raw)))])
    found = find_eh_frame(memory, MOVED, mapped(memory, MOVED), None)
    assert found is not None
    assert found.find(PREFERRED + TEXT + 0x10)
    assert not found.find(PREFERRED + TEXT + 0x40)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(64),
        b"\xff" * 64,
        b"some text that is no table at all" * 3,
        frames(PREFERRED + 0x100_0000, b.ABSPTR),  # of other code
        frames(PREFERRED, return_register=16),  # of another CPU
    ],
)
def test_a_section_of_something_else_is_not_taken(data: bytes) -> None:
    made = image(data or b"\0")
    memory = in_memory(made, PREFERRED)
    assert find_eh_frame(memory, PREFERRED, mapped(memory, PREFERRED), None) is None


def test_functions_that_the_linker_dropped_do_not_hide_the_section() -> None:
    made = FrameSection(address=PREFERRED + FRAMES, address_size=4)
    cie = made.cie(data_align=-4, return_register=8, initial=ENTRY)
    made.fde(cie, 0, 0x20)
    for start in (0x10, 0x40):
        made.fde(cie, PREFERRED + TEXT + start, 0x20)
    memory = in_memory(image(made.build()), PREFERRED)
    check(find_eh_frame(memory, PREFERRED, mapped(memory, PREFERRED), None))


def test_x86_64_has_other_tables() -> None:
    made = image(frames(PREFERRED), machine=pe.AMD64)
    memory = in_memory(made, PREFERRED)
    headers = mapped(memory, PREFERRED)
    assert find_eh_frame(memory, PREFERRED, headers, Pe(made.file())) is None
    assert find_debug_frame(headers, Pe(made.file())) is None


@pytest.mark.parametrize("rebased", [True, False])
def test_debug_frame_is_in_the_file_alone(rebased: bool) -> None:
    made_frames = FrameSection("debug_frame", PREFERRED + FRAMES, address_size=4)
    cie = made_frames.cie(augmentation="", data_align=-4, return_register=8, initial=ENTRY)
    made_frames.fde(cie, PREFERRED + TEXT, 0x20)
    made = image(made_frames.build(), ".debug_frame")
    headers = mapped(in_memory(made, MOVED, rebased=rebased), MOVED)
    found = find_debug_frame(headers, Pe(made.file()))
    assert found is not None
    fde = found.find(headers.image_base + TEXT + 0x1F)
    assert fde is not None
    assert fde.start == headers.image_base + TEXT
    assert find_debug_frame(headers, None) is None


# --- real files ------------------------------------------------------------------------

SOURCE = """
__attribute__((noinline)) int leaf(int n) { volatile char b[64]; b[n] = 1; return b[0]; }
__attribute__((noinline)) int outer(int n, char *p) { return n ? outer(n - 1, p) + *p : leaf(n); }
int main(int c, char **v) { char *p = __builtin_alloca(c * 64); *p = 1; return outer(9, p); }
"""


@pytest.fixture(scope="module", params=["-O2", "-O2 -g", "-O0", "-O2 -fomit-frame-pointer"])
def program(request: pytest.FixtureRequest, tool: Tool, tmp_path_factory: object) -> Path:
    folder: Path = tmp_path_factory.mktemp("mingw")  # type: ignore[attr-defined]
    source, made = folder / "prog.c", folder / "prog.exe"
    source.write_text(SOURCE)
    tool("i686-w64-mingw32-gcc", *request.param.split(), source, "-o", made)
    assert made.is_file()
    return made


def compare_with_objdump(tool: Tool, path: Path) -> int:
    data = path.read_bytes()
    file = Pe(data)
    oracle = oracles.from_readelf(
        tool("i686-w64-mingw32-objdump", "-WF", path), ".eh_frame", EM_386
    )
    parts = [(0, data[: file.size_of_headers], False)] + [
        (each.rva, data[each.raw_offset : each.raw_offset + each.raw_size], each.executable)
        for each in file.sections
        if each.raw_offset and each.virtual_size
    ]
    base = file.image_base
    memory = Memory(
        Region(base + rva, base + rva + len(raw), lambda raw=raw: (raw, 0, len(raw)), executable=x)  # type: ignore[misc]
        for rva, raw, x in parts
    )
    headers = mapped(memory, base)
    for section in (
        find_eh_frame(memory, base, headers, file),
        find_eh_frame(Memory(), base, headers, file),
        find_eh_frame(memory, base, headers, None),
    ):
        assert section is not None
        assert oracles.differences(section, oracle, whole=False) == []
        for start, end, _ in oracle.values():
            fde = section.find(start)
            assert fde is not None
            assert (fde.start, fde.end) == (start, end)
    return len(oracle)


def test_rows_of_a_mingw_program_are_those_of_objdump(tool: Tool, program: Path) -> None:
    assert compare_with_objdump(tool, program) > 20


@pytest.mark.parametrize("name", ["ntdll.dll", "kernelbase.dll", "user32.dll"])
def test_rows_of_wines_libraries_are_those_of_objdump(tool: Tool, name: str) -> None:
    assert compare_with_objdump(tool, libraries("i686") / name) > 500


def test_a_linker_that_strips_cuts_the_name_short(tool: Tool, tmp_path: Path) -> None:
    source = tmp_path / "prog.c"
    source.write_text(SOURCE)
    ranges = []
    for options in (["-s"], []):
        made = tmp_path / "prog.exe"
        tool("i686-w64-mingw32-gcc", "-O2", *options, source, "-o", made)
        file = Pe(made.read_bytes())
        assert (file.section(".eh_frame") is None) == bool(options)
        section = find_eh_frame(Memory(), file.image_base, file, file)
        assert section is not None
        ranges.append(index_of(section)[0])
    assert ranges[0] == ranges[1]


def test_registers_have_the_numbers_of_the_system_v_abi(tool: Tool, program: Path) -> None:
    # Every function is entered with the return address at the stack pointer.
    text = tool("i686-w64-mingw32-objdump", "-Wf", program)
    assert "DW_CFA_def_cfa: r4 (esp) ofs 4" in text
    assert "r5 (ebp) ofs 4\n" not in text


def test_code_without_eh_frame_has_debug_frame(tool: Tool, tmp_path: Path) -> None:
    source, made = tmp_path / "prog.c", tmp_path / "prog.exe"
    source.write_text(SOURCE)
    tool("i686-w64-mingw32-gcc", "-O2", "-g", "-fno-asynchronous-unwind-tables", source, "-o", made)
    file = Pe(made.read_bytes())
    section = find_debug_frame(file, file)
    assert section is not None
    text = tool("i686-w64-mingw32-objdump", "-WF", made)
    oracle = oracles.from_readelf(text, ".debug_frame", EM_386)
    assert len(oracle) >= 3
    assert oracles.differences(section, oracle, whole=False) == []
