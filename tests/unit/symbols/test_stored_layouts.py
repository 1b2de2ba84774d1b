"""What `stack` finds in directories of known layouts, and hostile text in all of these."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.cabinet import cabinet
from tests.conftest import Tool
from tests.unit.symbols.conftest import module_of
from tests.unit.symbols.pe_programs import Programs
from tests.unit.symbols.test_elsewhere import build_id_of, dump_syms, windows_report
from unspool.formats.elf import Elf
from unspool.symbols.cabinet import Unusable, unpack
from unspool.symbols.files import SymbolPaths, debuginfod_cache, sym_id
from unspool.symbols.finders import DebugFiles
from unspool.symbols.ids import debug_id, store_id
from unspool.symbols.module_symbols import ModuleSymbols
from unspool.symbols.places import symbol_path
from unspool.symbols.stored_files import pointed_to


@pytest.fixture
def stripped(classes: Path, tool: Tool, tmp_path: Path) -> Path:
    """A stripped program; its debug file is `classes` itself."""
    path = tmp_path / "bin" / "classes"
    path.parent.mkdir()
    tool("strip", classes, "-o", path)
    return path


def symbols_of(path: Path, *symbols: Path) -> ModuleSymbols:
    elf = Elf(path.read_bytes())
    return ModuleSymbols(module_of(elf, path), elf, DebugFiles(list(map(str, symbols))), lines=True)


def main_of(path: Path, tool: Tool) -> int:
    rows = (line.split() for line in tool("nm", path).splitlines())
    return next(int(row[0], 16) for row in rows if row[-1] == "main")


@pytest.mark.parametrize(
    "place", ["{0}/{1}/debuginfo", "{0}{1}/debuginfo", ".build-id/{0}/{1}.debug"]
)
def test_a_debug_file_beside_a_stripped_program(
    place: str, stripped: Path, classes: Path, tool: Tool, tmp_path: Path
) -> None:
    build_id = build_id_of(stripped)
    path = tmp_path / "symbols" / place.format(build_id[:2], build_id[2:])
    path.parent.mkdir(parents=True)
    shutil.copy(classes, path)
    symbols = symbols_of(stripped, tmp_path / "symbols")
    assert symbols.module.debug_file == str(path)
    found = symbols.lookup(main_of(classes, tool))
    assert found is not None
    assert found[0] == "main"
    assert found[2][-1].line


def test_the_cache_of_debuginfod(
    stripped: Path, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "home" / ".debuginfod_client_cache"
    assert debuginfod_cache() == str(tmp_path / "cache" / "debuginfod_client")
    old.mkdir(parents=True)
    assert debuginfod_cache() == str(old)
    monkeypatch.setenv("DEBUGINFOD_CACHE_PATH", str(tmp_path / "mine"))
    assert debuginfod_cache() == str(tmp_path / "mine")
    path = tmp_path / "mine" / build_id_of(stripped) / "debuginfo"
    path.parent.mkdir(parents=True)
    path.touch()  # no server has it
    assert symbols_of(stripped).module.debug_file is None
    shutil.copy(classes, path)
    assert symbols_of(stripped).module.debug_file == str(path)


def test_a_breakpad_tree_for_a_stripped_program(
    stripped: Path, classes: Path, tool: Tool, tmp_path: Path
) -> None:
    identity = store_id(debug_id(build_id_of(stripped)))
    path = tmp_path / "symbols" / "classes" / identity / "classes.sym"
    path.parent.mkdir(parents=True)
    path.write_bytes(dump_syms(classes))
    symbols = symbols_of(stripped, tmp_path / "symbols")
    assert symbols.module.debug_file == str(path)
    found = symbols.lookup(main_of(classes, tool))
    assert found is not None
    assert (found[0], found[1]) == ("main", main_of(classes, tool))
    assert found[2][-1].line


def test_a_breakpad_tree_for_a_dll(programs: Programs, tool: Tool, tmp_path: Path) -> None:
    """A symbol file by hand: nothing here makes one of a PDB file."""
    from unspool import api
    from unspool.render.json import dumps
    from unspool.render.json_reader import loads

    dll = Path(shutil.copy(programs.mingw("x86_64", "-s"), tmp_path / "windows.dll"))
    bare, _ = windows_report(dll, tool)
    module = bare.modules[0]
    module.debug_id = "3249d99d-0c40-4931-8610-f4e4fb0b6936-1"
    identity = store_id(module.debug_id)
    dll.unlink()
    offset = min(pc for pc in bare.locations) - module.base
    path = tmp_path / "symbols" / "windows.pdb" / identity / "windows.sym"
    path.parent.mkdir(parents=True)
    path.write_text(
        f"MODULE windows x86_64 {identity} windows.pdb\nFILE 0 c:\\src\\a.cpp\n"
        f"FUNC {offset:x} 4 0 shop::order(int)\n{offset:x} 4 12 0\n"
        f"PUBLIC {offset + 4:x} 0 _start_of_more@4\n"
    )
    report = loads(dumps(bare).encode())
    named, missing = api.symbolicate(report, symbols=[str(tmp_path / "symbols")])
    assert missing == []
    first = named.locations[module.base + offset]
    assert (first.function, first.file, first.line) == ("shop::order", "c:\\src\\a.cpp", 12)
    assert named.locations[module.base + offset + 7].function == "_start_of_more@4"


# --- hostile text ------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_the_first_line_of_a_symbol_file(data: bytes) -> None:
    found = sym_id(b"MODULE " + data)
    assert found is None or isinstance(found, str)


@given(st.text(alphabet="srvcacheymhtp:/*;.\\ A\0", max_size=80))
def test_any_symbol_path(text: str) -> None:
    for server in symbol_path(text):
        assert server.stores
        assert all(store.startswith("/") and "\0" not in store for store in server.stores)


@given(st.binary(max_size=100))
def test_any_pointer(data: bytes) -> None:
    try:
        target = pointed_to(data)
    except Unusable:
        return
    assert target
    assert "\0" not in target


@given(st.data())
def test_any_cabinet(data: st.DataObject) -> None:
    pytest.importorskip("libarchive")
    import tempfile

    good = bytearray(cabinet("a.pdb", b"abc" * 5000))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(4, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(4, len(good)))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a", Path(folder) / "b"
        source.write_bytes(good[:cut])
        try:
            unpack(str(source), str(target), most=1 << 20)
        except Unusable:
            return
        assert target.stat().st_size <= 1 << 20


@given(st.text(max_size=20), st.text(alphabet="0123456789abcdefABCDEF/.-", max_size=40))
def test_any_names_and_ids(name: str, identity: str) -> None:
    """Nothing leads out of the directory."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "symbols"
        inside.mkdir()
        (Path(folder) / "secret.sym").write_text("MODULE a b c d\n")
        paths = SymbolPaths([str(inside)])
        assert list(paths.sym_candidates(name, identity)) == []
        assert list(paths.pdb_candidates(name, identity)) == []
        assert list(paths.pe_candidates(name, identity)) == []
