"""Naming reports on "another machine": the same names as on their own, by ids alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.peers import install as peers
from tests.unit.symbols.conftest import Compile, Run, module_of
from tests.unit.symbols.pe_programs import Programs
from tests.unit.symbols.pe_programs import module_of as pe_module_of
from tests.unit.symbols.test_symbolicate import report_of
from unspool import api
from unspool.formats.elf import Elf
from unspool.formats.pe import Pe
from unspool.memory import Memory
from unspool.model import Finding, Location, Module, Report
from unspool.pe_image import PeImage
from unspool.render.json import dumps
from unspool.render.json_reader import loads
from unspool.symbols import native
from unspool.symbols.files import open_elf
from unspool.symbols.ids import store_id
from unspool.symbols.symbolicate import locate, symbolicate
from unspool.targets.base import Options

BASE = 0x5555_0000_0000


@pytest.fixture
def program(classes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(classes, tmp_path / "classes"))


def addresses(path: Path, tool: Tool) -> list[int]:
    """Some addresses of every function in a program."""
    rows = (line.split() for line in tool("nm", "-S", "--defined-only", path).splitlines())
    code = [row for row in rows if len(row) == 4 and row[2] in "tTwW"]
    starts = [(int(row[0], 16), int(row[1], 16)) for row in code]
    return sorted({start + at for start, size in starts for at in range(0, size, 5)})


def here(path: Path, tool: Tool) -> tuple[Report, Report]:
    """A report without names, and the same named beside its program."""
    elf = Elf(path.read_bytes())
    module = module_of(elf, path, BASE, debug_id=None)
    report = report_of([module], [BASE + at for at in addresses(path, tool)])
    return locate(report), symbolicate(report, lambda _: open_elf(str(path)), Options())


def sent(report: Report, program: Path | None = None) -> Report:
    """The report as another machine reads it, which has no such program."""
    if program is not None:
        program.unlink()
    return loads(dumps(report).encode())


def build_id_of(path: Path) -> str:
    found = Elf(path.read_bytes()).build_id()
    assert found is not None
    return found


Layout = Callable[[str], str]
LAYOUTS: dict[str, Layout] = {
    "build-id": lambda id: f".build-id/{id[:2]}/{id[2:]}.debug",
    "build-id-inside": lambda id: f"{id[:2]}/{id[2:]}.debug",
    "program-by-build-id": lambda id: f".build-id/{id[:2]}/{id[2:]}",
    "unified": lambda id: f"{id[:2]}/{id[2:]}/debuginfo",
    "unified-program": lambda id: f"{id[:2]}/{id[2:]}/executable",
    "client-cache": lambda id: f"{id}/debuginfo",
    "plain": lambda _: "any/name",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_names_of_the_machine_itself(
    layout: str, program: Path, tool: Tool, tmp_path: Path
) -> None:
    bare, expected = here(program, tool)
    place = tmp_path / "symbols" / LAYOUTS[layout](build_id_of(program))
    place.parent.mkdir(parents=True)
    shutil.copy(program, place)
    named, missing = api.symbolicate(sent(bare, program), symbols=[str(tmp_path / "symbols")])
    assert missing == []
    assert named.complete
    assert named.locations == expected.locations
    assert sum(bool(each.line) for each in named.locations.values()) > 50


def test_a_stripped_program_and_its_debug_file(
    program: Path, tool: Tool, tmp_path: Path
) -> None:
    bare, expected = here(program, tool)
    folder = tmp_path / "symbols"
    folder.mkdir()
    tool("objcopy", "--only-keep-debug", program, folder / "a")
    tool("strip", program, "-o", folder / "b")
    named, missing = api.symbolicate(sent(bare, program), symbols=[str(folder)])
    assert (named.locations, missing) == (expected.locations, [])
    # Exported functions alone: of a program, none.
    (folder / "a").unlink()
    named, [lacking] = api.symbolicate(sent(bare), symbols=[str(folder)])
    assert (lacking.kind, lacking.id) == ("debuginfo", bare.modules[0].code_id)
    assert lacking.purpose == "functions, files and lines"
    assert not named.complete


@pytest.mark.parametrize("kind", ["debuginfo", "executable"])
def test_the_cache_of_debuginfods_client(
    kind: str, program: Path, tool: Tool, own_cache: Path
) -> None:
    bare, expected = here(program, tool)
    place = own_cache.parents[1] / "debuginfod_client" / build_id_of(program) / kind
    place.parent.mkdir(parents=True)
    shutil.copy(program, place)
    named, missing = api.symbolicate(sent(bare, program))
    assert (named.locations, missing) == (expected.locations, [])


def test_where_the_module_lies_on_this_machine_too(
    program: Path, tool: Tool, tmp_path: Path
) -> None:
    bare, expected = here(program, tool)
    assert api.symbolicate(sent(bare))[0].locations == expected.locations
    inside = tmp_path / f"sysroot{program}"
    inside.parent.mkdir(parents=True)
    shutil.copy(program, inside)
    named, _ = api.symbolicate(sent(bare, program), sysroot=str(tmp_path / "sysroot"))
    assert named.locations == expected.locations


def test_another_build_at_the_same_place_is_not_believed(
    program: Path, compiled: Compile, tool: Tool
) -> None:
    bare, _ = here(program, tool)
    shutil.copy(compiled("classes.cpp", "g++", "-std=c++20", "-g", "-O2"), program)
    named, missing = api.symbolicate(sent(bare))
    assert [each.function for each in named.locations.values() if each.function] == []
    assert len(missing) == 1


def test_a_program_without_a_build_id_is_given_by_its_own_path(
    compiled: Compile, tool: Tool, tmp_path: Path
) -> None:
    path = Path(shutil.copy(
        compiled("inlined.c", "gcc", "-g", "-O2", "-Wl,--build-id=none"), tmp_path / "inlined"
    ))  # fmt: skip
    bare, expected = here(path, tool)
    folder = tmp_path / "symbols"
    folder.mkdir()
    shutil.copy(path, folder / "inlined")
    named, [lacking] = api.symbolicate(sent(bare, path), symbols=[str(folder)])
    assert (lacking.kind, lacking.name, lacking.id) == ("executable", "inlined", None)
    named, missing = api.symbolicate(sent(bare), symbols=[str(folder / "inlined")])
    assert (named.locations, missing) == (expected.locations, [])


def test_names_that_a_report_has_are_kept(program: Path, tool: Tool) -> None:
    _, full = here(program, tool)
    named, missing = api.symbolicate(sent(full, program))
    assert named.locations == full.locations
    assert (missing, named.complete) == ([], True)


def test_functions_are_kept_and_get_lines(program: Path, tool: Tool, tmp_path: Path) -> None:
    bare, full = here(program, tool)
    functions = symbolicate(bare, lambda _: open_elf(str(program)), Options(), lines=False)
    copy = shutil.copy(program, tmp_path / "copy")
    received = sent(functions, program)
    named, [lacking] = api.symbolicate(received)
    assert named.locations == functions.locations
    assert lacking.purpose == "files and lines"
    assert api.symbolicate(received, lines=False)[1] == []
    again, missing = api.symbolicate(named, symbols=[copy])
    assert (again.locations, missing) == (full.locations, [])
    assert again.complete  # what was missing before is not said any more


def test_what_is_missing_is_a_finding(program: Path, tool: Tool) -> None:
    bare, _ = here(program, tool)
    named, _ = api.symbolicate(sent(bare, program))
    assert named.findings == [
        Finding(
            "missing_files",
            "not all is named: files are missing for classes",
            detail="unspool symbolicate --missing lists them, with their ids",
            incomplete=True,
        )
    ]


def test_a_report_that_lies_of_its_ids(tmp_path: Path) -> None:
    for build_id in ("../../etc/passwd", "", "a", "AB" * 20, "ab" * 4000, "\0", "é"):
        module = Module(0, "../x", BASE, BASE + 0x1000, code_id=build_id, debug_id="/../..")
        report = report_of([module], [BASE + 16])
        named, missing = api.symbolicate(sent(report), symbols=[str(tmp_path)])
        assert len(missing) == 1
        assert named.locations == {BASE + 16: Location(0)}


def test_without_the_library_for_lines(
    program: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, expected = here(program, tool)
    copy = shutil.copy(program, tmp_path / "copy")
    monkeypatch.setattr(native, "available", lambda: False)
    named, missing = api.symbolicate(sent(bare, program), symbols=[str(copy)])
    assert missing == []
    assert "no_lines" in [each.kind for each in named.findings]
    functions = {pc: each.function for pc, each in named.locations.items()}
    assert functions == {pc: each.function for pc, each in expected.locations.items()}
    assert not any(each.file for each in named.locations.values())
    # With it, nothing of that is said any more.
    monkeypatch.undo()
    again, _ = api.symbolicate(named, symbols=[str(copy)])
    assert again.findings == []


# --- Breakpad's symbol files ---------------------------------------------------------------


def dump_syms(path: Path) -> bytes:
    program = peers.breakpad("dump_syms")
    done = subprocess.run([program, path], capture_output=True, timeout=60, check=True)
    return done.stdout


@pytest.mark.parametrize("tree", [True, False])
def test_breakpads_symbol_files(tree: bool, program: Path, tool: Tool, tmp_path: Path) -> None:
    bare, expected = here(program, tool)
    text = dump_syms(program)
    identity = text.split(None, 4)[3].decode()
    place = tmp_path / "symbols" / (f"classes/{identity}/classes.sym" if tree else "some.sym")
    place.parent.mkdir(parents=True)
    place.write_bytes(text)
    report = sent(bare, program)
    report.modules[0].debug_id = identity
    named, missing = api.symbolicate(report, symbols=[str(tmp_path / "symbols")])
    assert missing == []
    assert named.modules[0].debug_file == str(place)
    compared = 0
    for pc, location in named.locations.items():
        other = expected.locations[pc]
        # GNU's demangler, which made these names, writes a lambda otherwise than LLVM's, and
        # dump_syms does not know of anonymous namespaces.
        if location.line and "lambda" not in str(other.function):
            compared += 1
            # Without records of inlined calls a line is that of the innermost one.
            innermost = other.inlines[0] if other.inlines else other
            assert location.file == innermost.file
            assert str(other.function).endswith(str(location.function))
    assert compared > 50


def test_a_symbol_file_of_another_build(program: Path, tool: Tool, tmp_path: Path) -> None:
    bare, _ = here(program, tool)
    identity = "0123456789ABCDEF0123456789ABCDEF0"
    place = tmp_path / f"symbols/classes/{identity}/classes.sym"
    place.parent.mkdir(parents=True)
    place.write_bytes(dump_syms(program))
    report = sent(bare, program)
    report.modules[0].debug_id = identity
    named, missing = api.symbolicate(report, symbols=[str(tmp_path / "symbols")])
    assert [each.kind for each in named.findings] == ["debug_file_refused", "missing_files"]
    assert len(missing) == 1


# --- Windows -------------------------------------------------------------------------------


def windows_report(path: Path, tool: Tool) -> tuple[Report, Report]:
    """As `here`, for a DLL with a PDB file beside it."""
    module = pe_module_of(path)
    pe = Pe(path.read_bytes())
    text = pe.section(".text")
    assert text is not None
    pcs = [module.base + text.rva + at for at in range(0, text.virtual_size, 7)]
    report = report_of([module], pcs)
    image = PeImage(Memory(), module.base, pe, pe)
    return locate(report), symbolicate(report, lambda _: None, Options(), pe_of=lambda _: image)


@pytest.mark.parametrize("bits", ["x86_64", "i686"])
def test_a_microsoft_symbol_store(
    bits: str, programs: Programs, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = programs.msvc(bits)
    dll = Path(shutil.copy(made, tmp_path / "windows.dll"))
    pdb = Path(shutil.copy(made.with_suffix(".pdb"), tmp_path / "windows.pdb"))
    bare, expected = windows_report(dll, tool)
    module = bare.modules[0]
    assert module.debug_id
    store = tmp_path / "store"
    places = {
        pdb: store / "windows.pdb" / store_id(module.debug_id) / "windows.pdb",
        dll: store / "WINDOWS.DLL" / str(module.code_id) / "windows.dll",
    }
    report = sent(bare)
    for path, place in places.items():
        place.parent.mkdir(parents=True)
        path.rename(place)
    _, missing = api.symbolicate(report)
    assert {each.places[0] for each in missing} == {
        f"windows.dll/{module.code_id}/windows.dll",
        f"windows.pdb/{store_id(module.debug_id)}/windows.pdb",
    }
    named, missing = api.symbolicate(report, symbols=[str(store)])
    assert (named.locations, missing) == (expected.locations, [])
    assert sum(bool(each.line) for each in named.locations.values()) > 20
    monkeypatch.setenv("_NT_SYMBOL_PATH", f"C:\\none;srv*{store}*https://example.invalid/symbols")
    named, missing = api.symbolicate(report)
    assert (named.locations, missing) == (expected.locations, [])
    places[dll].unlink()
    named, missing = api.symbolicate(report)
    assert missing == []
    lines = {pc: (each.function, each.line) for pc, each in named.locations.items() if each.line}
    assert lines == {
        pc: (each.function, each.line) for pc, each in expected.locations.items() if each.line
    }


def test_a_report_of_dwarf_in_a_dll(
    programs: Programs, tool: Tool, tmp_path: Path, run: Run
) -> None:
    dll = Path(shutil.copy(programs.mingw("x86_64", "-g"), tmp_path / "windows.dll"))
    bare, expected = windows_report(dll, tool)
    report = sent(bare)
    (tmp_path / "symbols").mkdir()
    moved = dll.rename(tmp_path / "symbols" / "else.dll")
    _, [lacking] = api.symbolicate(report)
    assert (lacking.kind, lacking.id) == ("image", report.modules[0].code_id)
    named, missing = api.symbolicate(report, symbols=[str(moved.parent)])
    assert (named.locations, missing) == (expected.locations, [])
