"""DWARF in PE files: against addr2line, with names as they are in the source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.build import pe as build
from tests.conftest import Tool
from tests.unit.symbols.conftest import SOURCES
from tests.unit.symbols.pe_programs import (
    BASE,
    Programs,
    calls_in,
    function_at,
    symbols_of,
)
from tests.wine.install import libraries
from unspool.formats.elf import Elf
from unspool.formats.pe import Pe
from unspool.symbols.demangle import function_name
from unspool.symbols.pe.dwarf import as_elf
from unspool.symbols.pe.files import open_pe
from unspool.symbols.pe.module import PeModuleSymbols

pytest.importorskip("symbolic")

Place = tuple[str, str, int]
MACHINES = ("x86_64", "i686")


def undecorated(name: str) -> str:
    """`f@8` and `@f@8`, as DWARF has stdcall and fastcall functions of i386."""
    return re.sub(r"^@?(.+)@\d+$", r"\1", name)


def places(symbols: PeModuleSymbols, rva: int) -> list[Place]:
    """(function, file without folders, line), innermost first; empty without lines."""
    found = symbols.lookup(BASE + rva)
    assert found is not None
    return [(p.function, Path(p.file or "?").name, p.line or 0) for p in found[2]]


def addr2line(path: Path, bits: str, rvas: list[int], tool: Tool) -> dict[int, list[Place]]:
    pe = open_pe(str(path))
    assert pe is not None
    base = pe.image_base
    output = tool(
        f"{bits}-w64-mingw32-addr2line", "-fia", "-e", path, *(hex(base + rva) for rva in rvas)
    )
    result: dict[int, list[Place]] = {}
    current: list[Place] = []
    names = iter(output.splitlines())
    for line in names:
        if re.fullmatch(r"0x[0-9a-f]+", line):
            current = result.setdefault(int(line, 16) - base, [])
            continue
        file, _, number = next(names).split(" (")[0].rpartition(":")
        # Code without lines is called "fake", "??" or what else the compilation unit is called.
        if number.isdecimal():
            current.append((undecorated(line), Path(file).name, int(number)))
    return result


def check(path: Path, symbols: PeModuleSymbols, bits: str, tool: Tool, least: int) -> None:
    rvas = calls_in(path, bits, tool)
    theirs = addr2line(path, bits, rvas, tool)
    inlined = 0
    for rva in rvas:
        ours = places(symbols, rva)
        if theirs[rva] or ours:
            assert ours == theirs[rva], hex(rva)
        inlined += len(ours) > 1
    assert len(rvas) >= least
    assert inlined >= 2


@pytest.mark.oracle
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
@pytest.mark.parametrize("bits", MACHINES)
def test_calls_are_in_the_functions_and_lines_that_addr2line_says(
    bits: str, version: str, programs: Programs, tool: Tool
) -> None:
    path = programs.mingw(bits, version)
    symbols = symbols_of(path)
    check(path, symbols, bits, tool, 10)
    assert symbols.problems == []


@pytest.mark.oracle
@pytest.mark.parametrize("bits", MACHINES)
def test_a_file_that_prefers_another_base(bits: str, programs: Programs, tool: Tool) -> None:
    path = programs.mingw(bits, "-g", "-Wl,--image-base,0x3210000")
    check(path, symbols_of(path), bits, tool, 10)


@pytest.mark.oracle
@pytest.mark.parametrize("bits", MACHINES)
def test_wines_own_libraries(bits: str, tool: Tool) -> None:
    path = libraries(bits) / "kernelbase.dll"
    symbols = symbols_of(path)
    rvas = calls_in(path, bits, tool)[::50]
    theirs = addr2line(path, bits, rvas, tool)
    assert len(rvas) > 100
    with_lines = 0
    for rva in rvas:
        found = symbols.lookup(BASE + rva)
        if theirs[rva]:
            assert found is not None
            assert places(symbols, rva) == theirs[rva], hex(rva)
            with_lines += 1
    assert with_lines > len(rvas) / 2


# --- names --------------------------------------------------------------------------------


def calls_of(
    path: Path, symbols: PeModuleSymbols, bits: str, tool: Tool
) -> dict[str, list[list[str]]]:
    """For each function, the inlined functions around each of its calls."""
    result: dict[str, list[list[str]]] = {}
    for rva in calls_in(path, bits, tool):
        found = symbols.lookup(BASE + rva)
        assert found is not None
        name = function_name(found[0])
        inlined = [function_name(place.function) for place in found[2][:-1]]
        result.setdefault(name, []).append(inlined)
    return result


@pytest.mark.oracle
@pytest.mark.parametrize("bits", MACHINES)
def test_names_are_those_of_the_source(bits: str, programs: Programs, tool: Tool) -> None:
    """`symbolic` by itself takes an underscore from each of `_under` and `_ZN4shop…`."""
    pytest.importorskip("pydemumble")
    path = programs.mingw(bits, "-g")
    calls = calls_of(path, symbols_of(path), bits, tool)
    assert set(calls) == {
        "shop::Box<int>::get", "shop::(anonymous namespace)::hidden", "shop::outer", "_under",
        "std_call", "fast_call", "api", "entry",
    }  # fmt: skip
    assert ["shop::deep", "shop::middle"] in calls["shop::outer"]
    assert ["__two_under"] in calls["fast_call"]


@pytest.mark.oracle
@pytest.mark.parametrize("bits", MACHINES)
def test_names_are_the_same_without_lines(bits: str, programs: Programs, tool: Tool) -> None:
    """By COFF symbols; what a compiler made of a function has a mark that DWARF lacks."""
    path = programs.mingw(bits, "-g")
    with_lines, without = symbols_of(path), symbols_of(path, lines=False)
    for rva in calls_in(path, bits, tool):
        name = function_at(without, rva)
        assert name is not None
        assert name.split(".")[0] == function_at(with_lines, rva)
        found = without.lookup(BASE + rva)
        assert found is not None
        assert found[2] == []
        full = with_lines.lookup(BASE + rva)
        assert full is not None
        assert full[1] == found[1]


@pytest.mark.oracle
@pytest.mark.parametrize("bits", MACHINES)
def test_a_stripped_file_has_its_exports(
    bits: str, programs: Programs, tool: Tool, tmp_path: Path
) -> None:
    whole = programs.mingw(bits, "-g")
    path = tmp_path / "windows.dll"
    programs.run(f"{bits}-w64-mingw32-strip", whole, "-o", path)
    symbols, full = symbols_of(path), symbols_of(whole)
    named = 0
    for rva in calls_in(whole, bits, tool):
        name, true = function_at(symbols, rva), function_at(full, rva)
        assert name == (true if true in ("api", "_under") else None)
        named += name is not None
    assert named >= 2


# --- the frame around DWARF ---------------------------------------------------------------


@pytest.mark.parametrize("machine", [build.I386, build.AMD64])
def test_sections_are_carried_over_as_they_are(machine: int) -> None:
    sections = [
        build.Section(".text", b"\x90" * 16, "rx"),
        build.Section(".debug_info", b"information", "-"),
        build.Section(".debug_line", b"lines", "-", virtual_size=3),
        build.Section(".debug_str", b"", "-", virtual_size=10),
    ]
    pe = Pe(build.image(machine, sections).file())
    elf = Elf(as_elf(pe))
    assert elf.elf_class == (2 if pe.is_64 else 1)
    held = {}
    for section in elf.sections():
        buffer, start, end = elf.section_data(section)
        held[section.name] = bytes(buffer[start:end])
    assert held[".debug_info"] == b"information"
    assert held[".debug_line"] == b"lin"
    assert ".text" not in held
    assert ".debug_str" not in held
    [segment] = elf.program_headers()
    assert (segment.vaddr, segment.memsz) == (pe.image_base, pe.size_of_image)


def test_sections_that_claim_more_than_the_file_has() -> None:
    section = build.Section(".debug_info", b"x" * 16, "-", virtual_size=1 << 31)
    section.lies = {"SizeOfRawData": 0xFFFF_FFF0}
    data = build.image(build.AMD64, [section]).file()
    assert len(as_elf(Pe(data))) < 2 * len(data)


def test_damaged_dwarf_is_a_problem_in_words(programs: Programs, tmp_path: Path) -> None:
    data = bytearray(programs.mingw("x86_64", "-g").read_bytes())
    pe = Pe(bytes(data))
    section = pe.section(".debug_abbrev")
    assert section is not None
    data[section.raw_offset : section.raw_offset + section.raw_size] = b"\xff" * section.raw_size
    path = tmp_path / "windows.dll"
    path.write_bytes(data)
    symbols = symbols_of(path)
    [problem] = symbols.problems
    assert "its DWARF cannot be read" in problem
    assert "\n" not in problem


def test_the_source_is_there() -> None:
    assert (SOURCES / "windows.cpp").is_file()
