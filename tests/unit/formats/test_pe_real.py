"""PE files of compilers and of Wine: we and GNU objdump read them alike."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.programs.build import tool as tool_path
from tests.unit.formats.pe_oracle import differences
from tests.wine.install import libraries
from unspool.formats.pe import MACHINE_AMD64, MACHINE_I386, Pe
from unspool.formats.pe_exports import exports
from unspool.formats.pe_symbols import undecorated

from .pe_names import functions

ALWAYS = ("ntdll.dll", "kernelbase.dll", "user32.dll", "win32u.dll", "msvcrt.dll", "wow64cpu.dll")
SAMPLE = 20  # of each folder
COMPILERS = ["x86_64-w64-mingw32-g++", "i686-w64-mingw32-g++"]

SOURCE = """
#define EXPORT extern "C" __declspec(dllexport)
EXPORT int __stdcall standard(int a, int b) { return a + b; }
EXPORT int __fastcall fast(int a, int b) { return a - b; }
EXPORT int plain(int a) { return a * 3; }
EXPORT int datum; int datum = 5;
namespace space { int __attribute__((noinline)) mangled(int a) { return a * datum; } }
struct Kind { static int __stdcall member(int a); };
int __stdcall Kind::member(int a) { return space::mangled(a) + 1; }
static int __attribute__((noinline, noclone)) hidden(int a) { return a * 7 + datum; }
static int __attribute__((noinline)) __stdcall copied(int a, int b) { return a * b + datum; }
EXPORT int calls(int a) { return hidden(a) + copied(a, 3) + copied(a + 1, 3) + Kind::member(a); }
"""


def sampled(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.dll"))
    chosen = files[:: len(files) // SAMPLE + 1]
    return chosen + [folder / name for name in ALWAYS if (folder / name) in files]


@pytest.mark.parametrize(("name", "machine"), [("x86_64", MACHINE_AMD64), ("i686", MACHINE_I386)])
def test_wines_own_files(tool: Tool, name: str, machine: int) -> None:
    paths = sampled(libraries(name))
    assert [text for path in paths for text in differences(tool, path)] == []
    files = [Pe(path.read_bytes()) for path in paths]
    assert {file.machine for file in files} == {machine}
    assert all(file.is_wine_builtin and file.is_dll for file in files)


@pytest.fixture(scope="module", params=COMPILERS)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = tool_path(request.param)
    folder = tmp_path_factory.mktemp("pe")
    (folder / "a.cpp").write_text(SOURCE)
    command = [
        compiler,
        "-O2",
        "-g",
        "-shared",
        "-static",
        "-Wl,--build-id",
        "a.cpp",
        "-o",
        "a.dll",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "a.dll"


def prefixed(library: Path, tool: str) -> str:
    machine = Pe(library.read_bytes()).machine
    return f"{'x86_64' if machine == MACHINE_AMD64 else 'i686'}-w64-mingw32-{tool}"


def test_mingws_files(tool: Tool, library: Path) -> None:
    assert differences(tool, library) == []
    file = Pe(library.read_bytes())
    assert file.is_dll
    assert not file.is_wine_builtin
    record = file.codeview()
    assert record is not None
    assert (record.path, record.age) == ("", 1)
    # Names of nine characters and more are in the string table.
    assert file.section(".debug_info") is not None
    eh_frame = file.section(".eh_frame")
    assert (eh_frame is not None) == (file.machine == MACHINE_I386)


def test_names_are_those_of_the_source(library: Path) -> None:
    file = Pe(library.read_bytes())
    names = {name.partition(".")[0] for _, name in functions(file)}
    assert {
        "standard", "fast", "plain", "calls", "_ZL6hiddeni", "_ZL6copiedii", "_ZN5space7mangledEi",
        "_ZN4Kind6memberEi",
    } <= names  # fmt: skip
    assert not {name for name in names if name.startswith((".", "@"))}
    assert "datum" not in names
    directory = file.directory(0)
    assert directory is not None
    dll, table = exports(file.read, directory)
    assert dll == "a.dll"
    plain = {undecorated(each.name or "", exported=True): each.rva for each in table}
    assert plain.keys() == {"standard", "fast", "plain", "datum", "calls"}
    by_name = {name: rva for rva, name in functions(file)}
    assert all(by_name[name] == rva for name, rva in plain.items() if name != "datum")


def test_stripped_and_debug_files(tool: Tool, library: Path) -> None:
    stripped, debug = library.with_suffix(".stripped"), library.with_suffix(".debug")
    tool(prefixed(library, "strip"), "-o", stripped, library)
    tool(prefixed(library, "objcopy"), "--only-keep-debug", library, debug)
    assert differences(tool, stripped) == []
    assert differences(tool, debug) == []
    whole = Pe(library.read_bytes())
    assert functions(Pe(stripped.read_bytes())) == []
    file = Pe(debug.read_bytes())
    assert functions(file) == functions(whole)
    # Headers of sections are kept without their bytes.
    assert [section.name for section in file.sections] == [each.name for each in whole.sections]
    assert file.located(file.sections[0].rva) is None
    record = file.section(".debug_info")
    assert record is not None
    assert file.located(record.rva) is not None


@pytest.mark.parametrize("target", ["x86_64", "i686"])
def test_a_file_with_a_pdb(tool: Tool, tmp_path: Path, target: str) -> None:
    debuginfo = pytest.importorskip("symbolic.debuginfo")
    for name in ("clang", "lld-link"):
        tool_path(name)
    (tmp_path / "a.c").write_text("__declspec(dllexport) int __stdcall f(int a) { return a; }")
    compile_ = f"clang -target {target}-pc-windows-msvc -O1 -g -gcodeview -c a.c -o a.obj"
    link = "lld-link -dll -noentry -debug -nodefaultlib a.obj -out:a.dll -pdb:a.pdb"
    for command in (compile_, link):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=120)
    path = tmp_path / "a.dll"
    assert differences(tool, path) == []
    file = Pe(path.read_bytes())
    record = file.codeview()
    assert record is not None
    assert record.path.endswith("a.pdb")
    [pdb] = debuginfo.Archive.open(str(tmp_path / "a.pdb")).iter_objects()
    [read] = debuginfo.Archive.open(str(path)).iter_objects()
    assert record.debug_id == pdb.debug_id == read.debug_id
    assert file.code_id.lower() == read.code_id
