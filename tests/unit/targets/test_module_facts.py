"""What targets note of modules for other tools: where their code is, what their PDB is called."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import unspool
from unspool.formats.codeview import CodeView
from unspool.formats.elf import PF_R, PF_X, PT_LOAD, PT_NOTE
from unspool.model import Module
from unspool.targets.modules import note_code

from . import test_minidump_windows
from .opened import written

BASE = 0x7F00_0000_0000


def elf(*headers: tuple[int, int, int, int]) -> Any:
    """Program headers: type, flags, vaddr, memsz."""
    made = [
        SimpleNamespace(type=kind, flags=flags, vaddr=vaddr, memsz=memsz)
        for kind, flags, vaddr, memsz in headers
    ]
    return SimpleNamespace(program_headers=lambda: made)


READ, CODE = PF_R, PF_R | PF_X


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # GNU ld's layout, lld's, one segment for all, and two with code.
        ([(PT_LOAD, READ, 0, 0x500), (PT_LOAD, CODE, 0x1000, 0x200)], (0x1000, 0x2000)),
        ([(PT_LOAD, READ, 0, 0x694), (PT_LOAD, CODE, 0x16A0, 0x1260)], (0x1000, 0x3000)),
        ([(PT_LOAD, CODE, 0, 0x2345)], (0, 0x3000)),
        ([(PT_LOAD, CODE, 0x1000, 0x10), (PT_LOAD, CODE, 0x4000, 0x10)], (0x1000, 0x2000)),
        # None, one that is no segment, and those that lie.
        ([(PT_LOAD, READ, 0, 0x1000)], None),
        ([(PT_NOTE, CODE, 0, 0x1000)], None),
        ([(PT_LOAD, CODE, 0x1000, 0)], None),
        ([(PT_LOAD, CODE, 0x9000, 0x1000)], None),
        ([(PT_LOAD, CODE, 1 << 63, 1 << 63)], None),
    ],
)
def test_where_a_module_s_code_is(
    headers: list[tuple[int, int, int, int]], expected: tuple[int, int] | None
) -> None:
    module = Module(0, "x", BASE, BASE + 0x5000, bias=BASE)
    note_code(module, elf(*headers))
    found = None if module.code_base is None else (module.code_base, module.code_end)
    assert found == (expected and (BASE + expected[0], BASE + expected[1]))


def test_without_a_bias_nobody_can_tell() -> None:
    module = Module(0, "x", BASE, BASE + 0x5000)
    note_code(module, elf((PT_LOAD, CODE, 0x1000, 0x1000)))
    assert module.code_base is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (r"C:\build\game.pdb", "game.pdb"), ("/home/me/game.pdb", "game.pdb"),
        ("game.pdb", "game.pdb"), (r"C:\odd/mixed\x.pdb", "x.pdb"), ("", ""),
    ],
)  # fmt: skip
def test_a_pdb_is_called_by_the_last_part_of_its_path(path: str, name: str) -> None:
    assert CodeView(path, bytes(16), 1).name == name


def test_a_copy_is_equal_and_another() -> None:
    module = Module(0, "x", BASE, BASE + 1, bias=3, code_base=4, pdb_name="p", file="f")
    copy = module.copy()
    assert copy == module
    copy.file = None
    assert module.file == "f"


def test_a_minidump_says_what_a_pdb_is_called(tmp_path: Path) -> None:
    path = written(tmp_path, test_minidump_windows.dump_of(test_minidump_windows.program()).build())
    with unspool.open(path) as target:
        [module] = target.modules
    assert (module.name, module.pdb_name) == ("Prog.exe", "prog.pdb")
    assert module.debug_id is not None
