"""Separate debug files of PE modules: where they are found, and which are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.build import pe as build
from tests.unit.symbols.pe_programs import (
    BITS,
    Programs,
    module_of,
    symbols_of,
)
from unspool.formats.pe import Pe
from unspool.model import Module
from unspool.symbols.finders import DebugFiles
from unspool.symbols.ids import store_id
from unspool.symbols.pe.files import open_pe
from unspool.symbols.pe.finders import PeDebugFiles, debug_link, linux_path

Refused = list[tuple[str, str]]
GUID = bytes(range(16))


@pytest.fixture(params=BITS)
def bits(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def found(
    path: Path, symbols: tuple[Path, ...] = (), root: Path | None = None, sysroot: str | None = None
) -> tuple[Path | None, Refused]:
    """The debug file of the module at `path`, and what was refused."""
    finder = PeDebugFiles(
        DebugFiles([str(each) for each in symbols], sysroot, str(root or path / "nowhere"))
    )
    debug = finder.dwarf(module_of(path), open_pe(str(path)))
    return (Path(debug[0]) if debug else None), finder.refused


# --- by debug link ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", ".debug"])
def test_beside_the_module(bits: str, folder: str, programs: Programs, tmp_path: Path) -> None:
    program, debug = programs.split(bits, tmp_path)
    place = tmp_path / folder / debug.name
    place.parent.mkdir(exist_ok=True)
    debug.rename(place)
    assert found(program) == (place, [])


def test_in_the_system_debug_root(bits: str, programs: Programs, tmp_path: Path) -> None:
    program, debug = programs.split(bits, tmp_path / "app")
    root = tmp_path / "usr"
    place = Path(f"{root}{tmp_path}/app") / debug.name
    place.parent.mkdir(parents=True)
    debug.rename(place)
    assert found(program, root=root) == (place, [])


def test_under_symbols_by_the_links_name_in_any_case(
    bits: str, programs: Programs, tmp_path: Path
) -> None:
    program, debug = programs.split(bits, tmp_path / "app")
    place = tmp_path / "symbols" / "deep" / "Windows.DEBUG"
    place.parent.mkdir(parents=True)
    debug.rename(place)
    assert found(program, (tmp_path / "symbols",)) == (place, [])


def test_with_its_functions_and_lines(bits: str, programs: Programs, tmp_path: Path) -> None:
    pytest.importorskip("symbolic")
    program, debug = programs.split(bits, tmp_path)
    symbols = symbols_of(program)
    assert symbols.module.debug_file == str(debug)
    assert symbols.module.file == str(program)
    pe = open_pe(str(programs.mingw(bits, "-g")))
    assert pe is not None
    entry = symbols.lookup(symbols.module.base + pe.entry)
    assert entry is not None
    assert entry[0] == "entry"
    assert [Path(place.file or "").name for place in entry[2]] == ["windows.cpp"]
    assert symbols.problems == []


def test_a_changed_file_is_refused_by_its_checksum(
    bits: str, programs: Programs, tmp_path: Path
) -> None:
    program, debug = programs.split(bits, tmp_path)
    debug.write_bytes(debug.read_bytes() + b"more")
    path, [(refused, why)] = found(program)
    assert path is None
    assert refused == str(debug)
    assert "checksum" in why


def test_a_file_for_another_cpu_is_refused(programs: Programs, tmp_path: Path) -> None:
    program, debug = programs.split("x86_64", tmp_path)
    shutil.copy(programs.split("i686", tmp_path / "other")[1], debug)
    path, [(_, why)] = found(program)
    assert path is None
    assert why == "it is for another CPU"


def test_files_for_another_cpu_beside_the_right_one(
    bits: str, programs: Programs, tmp_path: Path
) -> None:
    """A WoW64 process has two ntdll.dll, and `--symbols` a file for each."""
    program, debug = programs.split(bits, tmp_path / "app")
    other = programs.split("i686" if bits == "x86_64" else "x86_64", tmp_path / "other")[1]
    for folder, path in (("1", other), ("2", debug)):
        place = tmp_path / "symbols" / folder / debug.name
        place.parent.mkdir(parents=True)
        path.rename(place)
    assert found(program, (tmp_path / "symbols",)) == (place, [])


def test_a_link_that_is_damaged() -> None:
    for data in (b"", b"name", b"a/b\0" + bytes(8), bytes(12)):
        section = build.Section(".gnu_debuglink", data, "r", virtual_size=len(data) or 4)
        assert debug_link(Pe(build.image(sections=[section]).file())) is None
    section = build.Section(".gnu_debuglink", b"a.debug\0\x01\x02\x03\x04", "r")
    assert debug_link(Pe(build.image(sections=[section]).file())) == ("a.debug", 0x04030201)


# --- without a link -----------------------------------------------------------------------


def test_the_program_before_it_was_stripped(bits: str, programs: Programs, tmp_path: Path) -> None:
    """`strip` writes the time into the file: code and layout tell."""
    program, debug = programs.split(bits, tmp_path / "app", link=False)
    debug.unlink()
    whole = programs.mingw(bits, "-g")
    assert found(program, (whole.parent,)) == (whole, [])


def test_another_build_of_the_program(bits: str, programs: Programs, tmp_path: Path) -> None:
    program, debug = programs.split(bits, tmp_path / "app", link=False)
    debug.unlink()
    other = programs.mingw(bits, "-g", "-Os")
    path, [(refused, why)] = found(program, (other.parent,))
    assert path is None
    assert refused == str(other)
    assert "section" in why


def test_one_changed_instruction_makes_another_program(
    bits: str, programs: Programs, tmp_path: Path
) -> None:
    program, debug = programs.split(bits, tmp_path / "app", link=False)
    debug.unlink()
    data = bytearray(programs.mingw(bits, "-g").read_bytes())
    text = Pe(bytes(data)).section(".text")
    assert text is not None
    data[text.raw_offset + 5] ^= 1
    (tmp_path / "windows.dll").write_bytes(data)
    path, [(_, why)] = found(program, (tmp_path / "windows.dll",))
    assert path is None
    assert why == "its code in section .text is another"


def debug_only(stamp: int = 7, size: int = 0x1000, codeview: build.CodeView | None = None) -> bytes:
    text = build.Section(".text", b"", "rx", virtual_size=size)
    info = build.Section(".debug_info", b"DWARF", "-", rva=0x9000)
    return build.image(sections=[text, info], timestamp=stamp, codeview=codeview).file()


def stripped(stamp: int = 7, size: int = 0x1000, codeview: build.CodeView | None = None) -> bytes:
    text = build.Section(".text", b"\x90" * size, "rx")
    return build.image(sections=[text], timestamp=stamp, codeview=codeview).file()


def made(folder: Path, program: bytes, debug: bytes) -> tuple[Path, Path]:
    (folder / "a.dll").write_bytes(program)
    symbols = folder / "symbols"
    symbols.mkdir()
    (symbols / "a.dll.debug").write_bytes(debug)
    return folder / "a.dll", symbols / "a.dll.debug"


def test_stamp_and_layout_tell_where_there_is_no_code(tmp_path: Path) -> None:
    program, debug = made(tmp_path, stripped(), debug_only())
    assert found(program, (debug.parent,)) == (debug, [])


@pytest.mark.parametrize(
    ("program", "debug", "why"),
    [
        (stripped(0), debug_only(0), "neither an id"),
        (stripped(7), debug_only(8), "neither an id"),
        (stripped(7), debug_only(7, 0xFF0), "it has no section at 0x1000 of the size"),
        (
            stripped(codeview=build.CodeView("", GUID, 1)),
            debug_only(codeview=build.CodeView("", GUID, 2)),
            "its id is 03020100-0504-0706-0809-0a0b0c0d0e0f-2",
        ),
    ],
    ids=["no stamp", "another stamp", "another layout", "another id"],
)
def test_files_that_nothing_ties_to_the_module(
    program: bytes, debug: bytes, why: str, tmp_path: Path
) -> None:
    path, place = made(tmp_path, program, debug)
    nothing, [(refused, reason)] = found(path, (place.parent,))
    assert nothing is None
    assert refused == str(place)
    assert reason.startswith(why)


def test_an_id_decides_whatever_else_differs(tmp_path: Path) -> None:
    """GNU ld's --build-id, which `objcopy --only-keep-debug` keeps."""
    codeview = build.CodeView("", GUID, 1)
    program, debug = made(tmp_path, stripped(7, codeview=codeview), debug_only(9, 1, codeview))
    assert found(program, (debug.parent,)) == (debug, [])


def test_a_file_without_symbols_is_no_debug_file(tmp_path: Path) -> None:
    program, debug = made(tmp_path, stripped(), stripped())
    assert found(program, (debug.parent,)) == (None, [])


# --- the module's own file ----------------------------------------------------------------


def test_a_module_of_a_report_is_found_by_its_code_id(tmp_path: Path) -> None:
    data = stripped()
    code_id = Pe(data).code_id
    (tmp_path / "a.dll").write_bytes(stripped(8))
    store = tmp_path / "a.dll" / code_id
    finder = PeDebugFiles(DebugFiles([str(tmp_path)]))
    module = Module(0, "A.dll", 0, 1, kind="pe", code_id=code_id.lower(), path=r"C:\a.dll")
    assert finder.module_file(module) is None
    (tmp_path / "b.dll").write_bytes(data)
    assert module_path(tmp_path, module) == str(tmp_path / "b.dll")
    (tmp_path / "a.dll").unlink()
    store.mkdir(parents=True)
    (store / "a.dll").write_bytes(data)
    assert module_path(tmp_path, module) == str(store / "a.dll")


def module_path(symbols: Path, module: Module, sysroot: Path | None = None) -> str | None:
    finder = PeDebugFiles(DebugFiles([str(symbols)], str(sysroot) if sysroot else None))
    found = finder.module_file(module)
    return found[0] if found else None


def test_a_module_of_a_report_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "root" / "a.dll"
    path.parent.mkdir()
    path.write_bytes(stripped())
    code_id = Pe(stripped()).code_id
    symbols = tmp_path / "none"
    here = Module(0, "a.dll", 0, 1, kind="pe", code_id=code_id, path=str(path))
    assert module_path(symbols, here) == str(path)
    there = Module(0, "a.dll", 0, 1, kind="pe", code_id=code_id, path="/a.dll")
    assert module_path(symbols, there) is None
    assert module_path(symbols, there, tmp_path / "root") == str(path)
    other = Module(0, "a.dll", 0, 1, kind="pe", code_id="1" + code_id[1:], path=str(path))
    assert module_path(symbols, other) is None
    unknown = Module(0, "a.dll", 0, 1, kind="pe", path=str(path))
    assert module_path(symbols, unknown) is None


# --- words --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("debug_id", "store"),
    [
        ("3249d99d-0c40-4931-8610-f4e4fb0b6936-1", "3249D99D0C4049318610F4E4FB0B69361"),
        ("3249d99d-0c40-4931-8610-f4e4fb0b6936-1a", "3249D99D0C4049318610F4E4FB0B69361a"),
        ("3249d99d-0c40-4931-8610-f4e4fb0b6936", "3249D99D0C4049318610F4E4FB0B69360"),
    ],
)
def test_ids_as_stores_write_them(debug_id: str, store: str) -> None:
    assert store_id(debug_id) == store


@pytest.mark.parametrize(
    ("recorded", "path"),
    [
        ("/src/a.pdb", "/src/a.pdb"),
        (r"Z:\src\a.pdb", "/src/a.pdb"),
        ("z:/src/a.pdb", "/src/a.pdb"),
        (r"C:\src\a.pdb", None),
        ("a.pdb", None),
        ("", None),
        ("/src\0/a.pdb", None),
    ],
)
def test_recorded_paths_on_linux(recorded: str, path: str | None) -> None:
    assert linux_path(recorded) == path
