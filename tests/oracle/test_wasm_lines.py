"""Files and lines of WebAssembly that Wasmtime tells gdb of; the frames are the runtime's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import unspool
from tests.programs.build import HERE, build_wasm
from tests.programs.running import running
from tests.wasm.install import NEWEST, folder

pytestmark = pytest.mark.oracle

SOURCE = HERE / "wasm_lines.c"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    folder(NEWEST)
    return build_wasm(SOURCE, tmp_path / "lines.wasm")


def test_lines_and_inlined_calls(module: Path) -> None:
    pytest.importorskip("symbolic")
    text = SOURCE.read_text().splitlines()
    found = []
    with (
        running([sys.executable, HERE / "wasm_lines.py", module]) as process,
        unspool.open(process.pid) as target,
    ):
        report = unspool.unwind(target, threads=process.pid)
        kinds = [each.kind for each in report.modules]
        for frame in report.stacks[0].frames:
            known = report.locations[frame.lookup_pc]
            if known.module is None or kinds[known.module] != "wasm" or not known.file:
                continue
            assert Path(known.file).name == SOURCE.name
            assert known.wasm_offset is not None
            found += [(each.function, text[(each.line or 0) - 1]) for each in known.inlines]
            found.append((known.function or "", text[(known.line or 0) - 1]))
    assert kinds.count("wasm") == 1
    assert "jit" not in kinds
    assert [(name, line.strip()) for name, line in found] == [
        ("inner", "int r = wait_here(x + 1);"),
        ("twice", "return inner(x + x) + 1;"),
        ("middle", "int r = twice(x);"),
        ("outer", "int r = middle(x);"),
    ]
