"""Servers of Breakpad's symbol files, such as Mozilla's: only where there is nothing better."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.unit.symbols.online import server as faults
from tests.unit.symbols.online.conftest import Serve
from tests.unit.symbols.online.server import Server
from tests.unit.symbols.pe_programs import Programs
from tests.unit.symbols.test_elsewhere import (
    build_id_of,
    dump_syms,
    here,
    sent,
    windows_report,
)
from unspool import api
from unspool.model import Report
from unspool.symbols.ids import debug_id, store_id
from unspool.symbols.online.verify import objection


class Case:
    """A report of a program that is nowhere any more, and its symbol file as servers call it."""

    def __init__(self, program: Path, tool: Tool) -> None:
        pytest.importorskip("symbolic")
        self.build_id = build_id_of(program)
        self.data = program.read_bytes()
        self.id = store_id(debug_id(self.build_id))
        self.sym = dump_syms(program)
        self.path = f"/classes/{self.id}/classes.sym"
        bare, self.expected = here(program, tool)
        self.report = sent(bare, program)


@pytest.fixture
def case(classes: Path, tool: Tool, tmp_path: Path) -> Case:
    return Case(Path(shutil.copy(classes, tmp_path / "classes")), tool)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UNSPOOL_BREAKPAD_URLS", f"{server.url}/")
    return tmp_path / "cache" / "unspool" / "symbols"


def named(report: Report, online: bool = True) -> tuple[Report, list[str], list[str]]:
    found, missing = api.symbolicate(report, online=online)
    told = [each.title for each in found.findings if each.kind == "download"]
    return found, told, [each.name for each in missing]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_program_s_symbol_file(case: Case, server: Server, store: Path, packed: bool) -> None:
    if packed:
        data = gzip.compress(case.sym)
        server.faults[case.path] = lambda handler, _: handler.answer(
            200, data, **{"Content-Encoding": "gzip"}
        )
    else:
        server.files = {case.path: case.sym}
    found, told, missing = named(case.report)
    assert (told, missing) == ([], [])
    assert server.asked == [case.path]
    assert (store / case.path[1:]).read_bytes() == case.sym
    [module] = found.modules
    assert module.debug_file == str(store / case.path[1:])
    functions = {place.function for place in found.locations.values()}
    assert functions >= {"main"}
    assert any(place.line for place in found.locations.values())
    # It is found there from now on, without any network.
    again, told, missing = named(case.report, online=False)
    assert (again.locations, told, missing) == (found.locations, [], [])
    assert len(server.asked) == 1


def test_debuginfod_is_asked_first(
    case: Case, serve: Serve, server: Server, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debuginfod = serve()
    debuginfod.files = {f"/buildid/{case.build_id}/debuginfo": case.data}
    server.files = {case.path: case.sym}
    monkeypatch.setenv("DEBUGINFOD_URLS", debuginfod.url)
    found, _, _ = named(case.report)
    assert found.locations == case.expected.locations
    assert server.asked == []


def test_debuginfod_s_program_is_only_asked_for_after_it(
    case: Case, serve: Serve, server: Server, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debuginfod = serve()
    debuginfod.files = {f"/buildid/{case.build_id}/executable": case.data}
    server.files = {case.path: case.sym}
    monkeypatch.setenv("DEBUGINFOD_URLS", debuginfod.url)
    named(case.report)
    assert server.asked == [case.path]
    assert debuginfod.asked == [f"/buildid/{case.build_id}/debuginfo"]


def test_symbol_servers_of_windows_are_not_asked_for_programs_of_linux(
    case: Case, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are Microsoft's, most of the time, and need not know what runs here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("_NT_SYMBOL_PATH", f"srv*{server.url}")
    _, _, missing = named(case.report)
    assert missing == ["classes"]
    assert server.asked == []


def test_what_it_does_not_have_is_not_asked_for_again(
    case: Case, server: Server, store: Path
) -> None:
    for _ in range(2):
        assert named(case.report)[1:] == ([], ["classes"])
    assert server.asked == [case.path]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda case: case.sym.replace(case.id.encode(), b"0" * 33, 1), "its id is 0000"),
        (lambda case: case.sym[:-1], "it is cut off"),
        (lambda case: b"<html>no</html>", "it is no symbol file"),
        (lambda case: b"", "it is no symbol file"),
    ],
    ids=["another", "cut", "page", "empty"],
)
def test_lies_are_refused(
    case: Case, server: Server, store: Path, wrong: Callable[[Case], bytes], words: str
) -> None:
    server.files = {case.path: wrong(case)}
    _, told, missing = named(case.report)
    assert missing == ["classes"]
    [title] = told
    assert words in title
    assert not list(store.rglob("*.sym"))


def test_a_server_that_fails_stops_nothing(case: Case, server: Server, store: Path) -> None:
    server.fault = faults.resets
    _, told, missing = named(case.report)
    assert missing == ["classes"]
    assert told


def test_a_dll_s_by_the_name_and_id_of_its_pdb_file(
    programs: Programs, tool: Tool, tmp_path: Path, server: Server, store: Path
) -> None:
    pytest.importorskip("symbolic")
    dll = Path(shutil.copy(programs.mingw("x86_64", "-s"), tmp_path / "windows.dll"))
    bare, _ = windows_report(dll, tool)
    module = bare.modules[0]
    module.debug_id, module.pdb_name = "3249d99d-0c40-4931-8610-f4e4fb0b6936-1", "Xul.pdb"
    identity = store_id(module.debug_id)
    dll.unlink()
    offset = min(bare.locations) - module.base
    path = f"/Xul.pdb/{identity}/Xul.sym"
    server.files[path] = (
        f"MODULE windows x86_64 {identity} Xul.pdb\nFILE 0 c:\\src\\a.cpp\n"
        f"FUNC {offset:x} 4 0 shop::order(int)\n{offset:x} 4 12 0\n"
    ).encode()
    found, _, _ = named(sent(bare))
    first = found.locations[module.base + offset]
    assert (first.function, first.file, first.line) == ("shop::order", "c:\\src\\a.cpp", 12)
    assert (store / path[1:]).exists()


@pytest.mark.parametrize("name", ["../x", "a/../../b", "..", ""])
def test_names_lead_nowhere_else(name: str, server: Server, store: Path) -> None:
    from unspool.symbols.online.servers import servers_of
    from unspool.symbols.online.settings import Settings

    [asked] = servers_of(Settings())
    for offer in asked.offers("sym", name, "ABC0"):
        assert ".." not in offer.url.removeprefix(server.url).split("/")
    for place in asked.places("sym", name, "ABC0"):
        assert Path(place).resolve().is_relative_to(store)
    assert asked.offers("sym", "a", "../b") == []
    assert asked.offers("pdb", "a", "ABC0") == []


def test_objections(tmp_path: Path) -> None:
    path = tmp_path / "a.sym"
    path.write_bytes(b"MODULE Linux x86_64 ABC0 a\n")
    assert objection(str(path), "sym", "abc0") is None
