"""Frame data of PDB files: the records that we get are those of llvm-pdbutil."""

from __future__ import annotations

import lzma
import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.unit.symbols.conftest import SOURCES
from tests.unit.symbols.pe_programs import Programs, module_of
from unspool.formats.stack_win import StackWin
from unspool.symbols import native
from unspool.symbols.finders import DebugFiles
from unspool.symbols.pe.files import open_pe
from unspool.symbols.pe.frames import find_stack_win

pytest.importorskip("symbolic")

# RVA, size, locals, parameters, maximum of the stack, prologue, saved registers; the program.
_ROW = re.compile(
    r"^([0-9A-F]{8}) \|" + r" +(\d+) \|" * 6 + r" +\w+ \|" * 3 + r" (.*?) *$", re.MULTILINE
)


def kept(bits: str, folder: Path) -> Path:
    for kind in ("dll", "pdb"):
        packed = SOURCES / f"windows-{bits}.{kind}.xz"
        (folder / f"windows.{kind}").write_bytes(lzma.decompress(packed.read_bytes()))
    return folder / "windows.dll"


def find(path: Path) -> StackWin | None:
    pe = open_pe(str(path))
    assert pe is not None
    return find_stack_win(module_of(path), pe, DebugFiles([], system_root=str(path.parent / "no")))


def compare(table: StackWin | None, text: str) -> int:
    assert table is not None
    rows = _ROW.findall(text)
    for start, *numbers, program in rows:
        rva = int(start, 16)
        size, locals_, parameters, _, prologue, saved = map(int, numbers)
        record = table.find(rva)
        assert record is not None
        assert (record.start, record.end) == (rva, rva + size)
        assert (record.locals, record.parameters) == (locals_, parameters)
        assert (record.prologue, record.saved) == (prologue, saved)
        assert record.program == program
    return len(rows)


def test_records_of_a_program_made_here(programs: Programs, tool: Tool) -> None:
    path = programs.msvc("i686")
    assert compare(find(path), tool("llvm-pdbutil", "dump", "--fpo", path.with_suffix(".pdb"))) > 3


def test_records_of_a_kept_one(tmp_path: Path, tool: Tool) -> None:
    path = kept("i686", tmp_path)
    table = find(path)
    assert table is not None
    assert len(table) > 3
    assert compare(table, tool("llvm-pdbutil", "dump", "--fpo", tmp_path / "windows.pdb")) > 3


def test_there_are_none(tmp_path: Path) -> None:
    path = kept("x86_64", tmp_path)
    assert find(path) is None  # which has .pdata
    assert native.stack_win_text(str(tmp_path / "windows.pdb")) == b""
    path = kept("i686", tmp_path)
    (tmp_path / "windows.pdb").unlink()
    assert find(path) is None
    assert native.stack_win_text(str(tmp_path / "windows.pdb")) is None
    (tmp_path / "windows.pdb").write_bytes(b"no PDB file at all")
    assert native.stack_win_text(str(tmp_path / "windows.pdb")) is None


def test_another_builds_pdb_file_is_not_used(tmp_path: Path) -> None:
    path = kept("i686", tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    kept("x86_64", other)
    shutil.copy(other / "windows.pdb", tmp_path / "windows.pdb")
    assert find(path) is None
