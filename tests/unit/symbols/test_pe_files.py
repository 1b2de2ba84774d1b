"""Finding PE and PDB files under --symbols: by name in any case, by id, in symbol stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import pe
from unspool.symbols import files as module
from unspool.symbols.files import SymbolPaths
from unspool.symbols.pe.files import base_name, holds_code, open_pe

STAMP = 0x5E0D1A2B
CODE_ID = "5E0D1A2B2000"
GUID = "3249D99D0C4049318610F4E4FB0B69361"
PDB = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0" + bytes(64)


def image(stamp: int = STAMP, size: int = 0x1000) -> bytes:
    return pe.image(sections=[pe.Section(".text", bytes(size), "rx")], timestamp=stamp).file()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def images(folder: Path, name: str, code_id: str | None) -> list[str]:
    found = SymbolPaths([str(folder)]).pe_candidates(name, code_id)
    return [str(Path(path).relative_to(folder)) for path in found]


def pdbs(folder: Path, name: str, store_id: str | None) -> list[str]:
    found = SymbolPaths([str(folder)]).pdb_candidates(name, store_id)
    return [str(Path(path).relative_to(folder)) for path in found]


def test_the_code_id_is_the_stores(tmp_path: Path) -> None:
    found = open_pe(str(put(tmp_path / "a.dll", image())))
    assert found is not None
    assert found.code_id == CODE_ID


@pytest.mark.parametrize(
    "place",
    [
        f"ntdll.dll/{CODE_ID}/ntdll.dll",
        f"NTDLL.DLL/{CODE_ID.lower()}/ntdll.dll",
        f"ntdll.dll/{CODE_ID.upper()}/NtDll.dll",
        f"nt/ntdll.dll/{CODE_ID}/ntdll.dll",
    ],
)
@pytest.mark.parametrize("name", ["ntdll.dll", "NTDLL.dll", r"C:\windows\system32\ntdll.dll"])
def test_images_in_stores_of_any_case(tmp_path: Path, place: str, name: str) -> None:
    put(tmp_path / place, image())
    assert images(tmp_path, name, CODE_ID) == [place]


@pytest.mark.parametrize(
    "place", [f"a.pdb/{GUID}/a.pdb", f"A.PDB/{GUID.lower()}/A.pdb", f"a./a.pdb/{GUID}/a.pdb"]
)
def test_pdb_files_in_stores_of_any_case(tmp_path: Path, place: str) -> None:
    put(tmp_path / place, PDB)
    assert pdbs(tmp_path, "a.pdb", GUID) == [place]


def test_other_versions_in_a_store_are_not_candidates(tmp_path: Path) -> None:
    put(tmp_path / "ntdll.dll" / "5E0D1A2C2000" / "ntdll.dll", image())
    put(tmp_path / "a.pdb" / GUID.replace("3", "4") / "a.pdb", PDB)
    put(tmp_path / "mine" / "a.pdb", PDB)
    assert pdbs(tmp_path, "a.pdb", GUID) == ["mine/a.pdb"]
    assert images(tmp_path, "ntdll.dll", "5E0D1A2B3000") == []
    # Without an id that could tell them apart, any may be the one.
    assert images(tmp_path, "ntdll.dll", None) == ["ntdll.dll/5E0D1A2C2000/ntdll.dll"]


def test_files_by_name_then_by_code_id(tmp_path: Path) -> None:
    put(tmp_path / "b" / "Game.EXE", image(1))
    put(tmp_path / "a" / "game-1.2.exe.bak", image())
    put(tmp_path / "a" / "game.exe", b"no PE file")
    put(tmp_path / "a" / "other.exe", image(2))
    assert images(tmp_path, "game.exe", CODE_ID) == ["b/Game.EXE", "a/game-1.2.exe.bak"]
    assert images(tmp_path, "game.exe", None) == ["b/Game.EXE"]


def test_debug_files_are_not_found_by_code_id(tmp_path: Path) -> None:
    """`objcopy --only-keep-debug` leaves the headers as they were, and no code."""
    text = pe.Section(".text", b"", "rx", virtual_size=0x1000)
    data = pe.image(sections=[text], timestamp=STAMP).file()
    path = put(tmp_path / "a.debug", data)
    found = open_pe(str(path))
    assert found is not None
    assert found.code_id == CODE_ID
    assert not holds_code(found)
    assert images(tmp_path, "a.dll", CODE_ID) == []
    assert images(tmp_path, "a.debug", None) == ["a.debug"]


def test_a_file_can_be_given_instead_of_a_directory(tmp_path: Path) -> None:
    file = put(tmp_path / "a.dll", image())
    assert list(SymbolPaths([str(file)]).pe_candidates("A.dll", None)) == [str(file)]


def test_without_directories_nothing_is_found() -> None:
    assert list(SymbolPaths([]).pe_candidates("a.dll", CODE_ID)) == []
    assert list(SymbolPaths([]).pdb_candidates("a.pdb", GUID)) == []


def test_every_file_is_opened_once_for_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.dll", "b.dll", "c.pdb", "d.txt"):
        put(tmp_path / name, PDB if name == "c.pdb" else image())
    opened: list[str] = []
    real = module.map_file
    monkeypatch.setattr(module, "map_file", lambda path: opened.append(path) or real(path))
    paths = SymbolPaths([str(tmp_path)])
    assert len(list(paths.pe_candidates("a.dll", None))) == 1
    assert len(list(paths.pdb_candidates("c.pdb", None))) == 1
    assert list(paths.by_build_id("00")) == []
    assert paths.all_elfs() == []
    assert len(opened) == 4


@pytest.mark.parametrize("name", ["..", "", "a/..", "\\", "x\0y", "y" * 300])
def test_names_that_are_no_names(tmp_path: Path, name: str) -> None:
    put(tmp_path / "a.dll", image())
    assert images(tmp_path, name, "../..") == []
    assert pdbs(tmp_path, name, GUID) == []


@given(st.text(max_size=20), st.text(max_size=20))
def test_names_and_ids_from_anywhere(tmp_path: Path, name: str, identifier: str) -> None:
    assert images(tmp_path, name, identifier) == []
    assert "/" not in base_name(name)


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path / "a.dll" / CODE_ID, b"a file in place of a directory")
    assert images(tmp_path, "a.dll", CODE_ID) == []
    assert images(tmp_path / "missing", "a.dll", CODE_ID) == []
