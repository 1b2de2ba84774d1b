"""Microsoft symbol servers and stores: what they call files, and how they may pack them."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID

import pytest

from tests.build.cabinet import LZX, MSZIP, cabinet
from tests.conftest import Tool
from tests.unit.symbols.online import server as faults
from tests.unit.symbols.online.conftest import Serve
from tests.unit.symbols.online.server import Server
from tests.unit.symbols.pe_programs import Programs
from tests.unit.symbols.test_elsewhere import sent, windows_report
from unspool import api
from unspool.model import Location, Report
from unspool.symbols import cabinet as unpacker
from unspool.symbols.ids import store_id
from unspool.symbols.places import local_stores, symbol_path


class Case:
    """A report of a DLL that was renamed, and its files by what servers call them."""

    def __init__(self, made: Path, folder: Path, tool: Tool) -> None:
        dll = Path(shutil.copy(made, folder / "windows.dll"))
        pdb = Path(shutil.copy(made.with_suffix(".pdb"), folder / "windows.pdb"))
        bare, self.expected = windows_report(dll, tool)
        module = bare.modules[0]
        assert module.debug_id
        module.name = "renamed.dll"
        self.dll_id, self.pdb_id = str(module.code_id), store_id(module.debug_id)
        self.dll_path = f"/renamed.dll/{self.dll_id}/renamed.dll"
        self.pdb_path = f"/windows.pdb/{self.pdb_id}/windows.pdb"
        self.dll, self.pdb = linked_on_windows(dll.read_bytes()), pdb.read_bytes()
        self.report = sent(bare)
        dll.unlink()
        pdb.unlink()


def linked_on_windows(dll: bytes) -> bytes:
    """The DLL with a path of its PDB file that leads nowhere here."""
    end = dll.index(b"/windows.pdb\0")
    start = dll.rindex(b"\0", 0, end) + 1
    path = b"C:\\" + b"a" * (end - start - 3) + b"\\"
    return dll[:start] + path + dll[end + 1 :]


@pytest.fixture
def case(programs: Programs, tool: Tool, tmp_path: Path) -> Case:
    pytest.importorskip("symbolic")
    return Case(programs.msvc("x86_64"), tmp_path, tool)


@pytest.fixture
def cache(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The symbol path has one server, with this cache."""
    monkeypatch.setenv("_NT_SYMBOL_PATH", f"srv*{tmp_path}/store*{server.url}")
    return tmp_path / "store"


def name(report: Report) -> tuple[dict[int, Location], list[str], list[str]]:
    named, missing = api.symbolicate(report, online=True)
    told = [each.title for each in named.findings if each.kind == "download"]
    return named.locations, told, [each.name for each in missing]


def test_the_dll_says_what_its_pdb_file_is_called(case: Case, server: Server, cache: Path) -> None:
    server.files = {case.dll_path: case.dll, case.pdb_path: case.pdb}
    assert name(case.report) == (case.expected.locations, [], [])
    assert server.asked[0] == case.dll_path or server.asked[0].startswith("/renamed.pdb/")
    assert case.pdb_path in server.asked
    assert (cache / case.dll_path[1:]).read_bytes() == case.dll
    assert (cache / case.pdb_path[1:]).read_bytes() == case.pdb
    asked = len(server.asked)
    assert name(case.report) == (case.expected.locations, [], [])
    assert len(server.asked) == asked
    assert api.symbolicate(case.report)[0].locations == case.expected.locations


@pytest.mark.parametrize("method", [MSZIP, LZX])
def test_cabinets(method: int, case: Case, server: Server, cache: Path) -> None:
    pytest.importorskip("libarchive")
    packed = cabinet("windows.pdb", case.pdb, method)
    server.files = {case.dll_path: case.dll, f"{case.pdb_path[:-1]}_": packed}
    assert name(case.report) == (case.expected.locations, [], [])
    assert (cache / case.pdb_path[1:]).read_bytes() == case.pdb
    assert not [path for path in cache.rglob("*") if path.name.endswith("_")]


def test_a_pointer_to_another_place(case: Case, serve: Serve, server: Server, cache: Path) -> None:
    other = serve()
    other.files["/far/away"] = case.pdb
    pointer = f"/windows.pdb/{case.pdb_id}/file.ptr"
    server.files = {
        case.dll_path: case.dll,
        pointer: f"PATH:{other.url}/far/away\0".encode(),
    }
    assert name(case.report) == (case.expected.locations, [], [])
    assert other.asked == ["/far/away"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PATH:\\\\server\\share\\windows.pdb", "which is not on a server"),
        (b"PATH:/etc/passwd", "which is not on a server"),
        (b"MSG: Not found", "it says: Not found"),
        (b"", "it points nowhere"),
        (b"\xff" * 5000, "which is not on a server"),
    ],
)
def test_pointers_that_lead_nowhere(
    content: bytes, words: str, case: Case, server: Server, cache: Path
) -> None:
    pointer = f"/windows.pdb/{case.pdb_id}/file.ptr"
    server.files = {case.dll_path: case.dll, pointer: content}
    _, told, missing = name(case.report)
    assert missing == ["windows.pdb"]
    assert words in told[0]


def test_a_pdb_file_of_another_build(case: Case, server: Server, cache: Path) -> None:
    guid = UUID(case.pdb_id[:32]).bytes_le
    other = case.pdb.replace(guid, bytes(16))
    assert other != case.pdb
    server.files = {case.dll_path: case.dll, case.pdb_path: other}
    _, told, missing = name(case.report)
    assert missing == ["windows.pdb"]
    assert "what it gave for windows.pdb was refused: its id is " in told[0]
    assert not list(cache.glob("windows.pdb/*/*"))


@pytest.mark.parametrize("fault", ["a DLL of another build", "cut off", "a page"])
def test_dlls_that_are_refused(fault: str, case: Case, server: Server, cache: Path) -> None:
    other = bytearray(case.dll)
    if fault == "a DLL of another build":
        at = int.from_bytes(other[60:64], "little") + 8
        other[at] ^= 0xFF
    server.files[case.dll_path] = {
        "a DLL of another build": bytes(other),
        "cut off": case.dll[:-100],
        "a page": b"<html></html>",
    }[fault]
    _, told, missing = name(case.report)
    assert missing == ["renamed.dll", "renamed.pdb"]
    assert "what it gave for renamed.dll was refused: it" in told[0]
    assert not list(cache.rglob("renamed.dll/*/*"))


def test_what_no_server_has_is_not_asked_for_again(case: Case, server: Server, cache: Path) -> None:
    _, told, missing = name(case.report)
    assert (told, missing) == ([], ["renamed.dll", "renamed.pdb"])
    asked = len(server.asked)
    assert asked == 6  # each as it is, as a cabinet, and by a pointer
    name(case.report)
    assert len(server.asked) == asked


def test_a_server_that_fails_is_not_asked_for_cabinets_too(
    case: Case, server: Server, cache: Path
) -> None:
    server.fault = faults.answers(500)
    _, told, _ = name(case.report)
    assert sorted(server.asked) == sorted(
        [case.dll_path, f"/renamed.pdb/{case.pdb_id}/renamed.pdb"]
    )
    assert told == [f"{server.url}: it answered 500 (2 times)"]


def test_a_chain_of_stores_is_filled(
    case: Case, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"cache*{tmp_path}/near;srv*{tmp_path}/middle*{server.url}/sub;{tmp_path}/local"
    monkeypatch.setenv("_NT_SYMBOL_PATH", path)
    server.files = {f"/sub{case.dll_path}": case.dll}
    (tmp_path / "local" / case.pdb_path[1:]).parent.mkdir(parents=True)
    (tmp_path / "local" / case.pdb_path[1:]).write_bytes(case.pdb)
    assert name(case.report) == (case.expected.locations, [], [])
    for store in ("near", "middle"):
        assert (tmp_path / store / case.dll_path[1:]).read_bytes() == case.dll


def test_symbol_paths(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = str(own_cache.parent / "symbols")

    def read(text: str) -> list[tuple[str | None, tuple[str, ...]]]:
        return [(each.url, each.stores) for each in symbol_path(text)]

    assert read("") == []
    assert read("C:\\Symbols;relative;srv*D:\\x*E:\\y") == []
    assert read("/a;/b") == [(None, ("/a",)), (None, ("/b",))]
    assert read("srv*https://h/s") == [("https://h/s", (own,))]
    assert read("SRV*/c*https://h/s") == [("https://h/s", ("/c",))]
    assert read("srv**https://h/s") == [("https://h/s", (own,))]
    assert read("srv*/a*/b*http://h") == [("http://h", ("/a", "/b"))]
    assert read("symsrv*symsrv.dll*/a*http://h") == [("http://h", ("/a",))]
    assert read("https://h/s") == [("https://h/s", (own,))]
    assert read("srv*/a*/b") == [(None, ("/a", "/b"))]
    assert read("cache*/a;srv*http://h") == [(None, ("/a",)), ("http://h", ("/a",))]
    assert read("cache*;http://h") == [(None, (own,)), ("http://h", (own,))]
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("_NT_SYMBOL_PATH", f"{tmp_path}/there;{tmp_path}/absent;{tmp_path}/there")
    assert list(local_stores()) == [f"{tmp_path}/there"]


# --- stores on this machine ------------------------------------------------------------------


def stored(case: Case, folder: Path) -> Path:
    """A local store with the DLL, and the directory where the PDB file would be."""
    place = folder / "renamed.dll" / case.dll_id / "renamed.dll"
    place.parent.mkdir(parents=True)
    place.write_bytes(case.dll)
    pdb = folder / "windows.pdb" / case.pdb_id
    pdb.mkdir(parents=True)
    return pdb


def local(case: Case, folder: Path) -> tuple[dict[int, Location], list[str], list[str]]:
    named, missing = api.symbolicate(case.report, symbols=[str(folder)])
    told = [each.title for each in named.findings if each.kind == "debug_file_refused"]
    return named.locations, told, [each.name for each in missing]


def test_a_cabinet_in_a_store_is_unpacked_once(case: Case, tmp_path: Path, own_cache: Path) -> None:
    pytest.importorskip("libarchive")
    place = stored(case, tmp_path / "s") / "windows.pd_"
    place.write_bytes(cabinet("windows.pdb", case.pdb))
    assert local(case, tmp_path / "s") == (case.expected.locations, [], [])
    unpacked = own_cache.parent / "symbols" / "windows.pdb" / case.pdb_id / "windows.pdb"
    assert unpacked.read_bytes() == case.pdb
    place.write_bytes(b"MSCF and nothing more")
    assert local(case, tmp_path / "s") == (case.expected.locations, [], [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"MSCF and nothing more", "the cabinet is broken"),
        (b"no cabinet", "it is no cabinet"),
        (b"", "it is empty"),
        (None, "the cabinet unpacks to more than"),
    ],
)
def test_cabinets_that_are_no_good(
    content: bytes | None, words: str, case: Case, tmp_path: Path, own_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("libarchive")
    if content is None:
        content = cabinet("windows.pdb", bytes(1 << 20))
        monkeypatch.setattr(unpacker, "_SMALL", 1 << 16)
        monkeypatch.setattr(unpacker, "_MAX_RATIO", 2)
    place = stored(case, tmp_path / "s") / "windows.pd_"
    place.write_bytes(content)
    _, told, missing = local(case, tmp_path / "s")
    assert missing == ["windows.pdb"]
    assert told[0].startswith(f"{place}: ")
    assert words in told[0]
    assert not [path for path in own_cache.parent.rglob("windows.pdb*") if path.is_file()]


def test_without_the_library_a_cabinet_says_what_to_install(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "libarchive", None)
    place = stored(case, tmp_path / "s") / "windows.pd_"
    place.write_bytes(cabinet("windows.pdb", case.pdb))
    _, told, missing = local(case, tmp_path / "s")
    assert missing == ["windows.pdb"]
    assert "pip install 'unspool[cabinets]'" in told[0]


def test_a_pointer_in_a_store(case: Case, tmp_path: Path) -> None:
    place = stored(case, tmp_path / "s") / "file.ptr"
    target = tmp_path / "build" / "x.pdb"
    place.write_text(f"PATH:{target}\r\n")
    _, told, missing = local(case, tmp_path / "s")
    assert missing == ["windows.pdb"]
    assert f"it points to {target}, which is not there" in told[0]
    target.parent.mkdir()
    target.write_bytes(case.pdb)
    assert local(case, tmp_path / "s") == (case.expected.locations, [], [])
    place.write_text("PATH:\\\\server\\share\\x.pdb")
    assert "which is no path of this machine" in local(case, tmp_path / "s")[1][0]
