"""Code that a perf map names, in made-up processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.generated.surroundings import surroundings
from unspool.generated import own_files
from unspool.generated.code import Process
from unspool.generated.find import find_generated
from unspool.generated.perf_map import find
from unspool.model import Module
from unspool.targets.live import procfs

JIT, DATA, PROG = 0x7000, 0x9000, 0x4000
MAP = b"7100 20 f\n7110 8 g h\n7200 10 k\n9000 10 bytecode\n4010 10 builtin\n"


@pytest.fixture
def process() -> Process:
    program = Module(0, "prog", PROG, PROG + 0x1000)
    made = surroundings(
        "x86_64",
        [
            (PROG, bytes(0x1000), True), (JIT, bytes(0x800), True), (JIT + 0x800, bytes(64), True),
            (DATA, bytes(64), False), (0xA000, bytes(64), True),
        ],
        modules=[program],
    )  # fmt: skip
    made.info.pid = 7
    return made


def give(process: Process, folder: Path, data: bytes) -> Path:
    path = folder / "perf-7.map"
    path.write_bytes(data)
    process.symbols = [str(folder)]
    return path


def test_names_of_executable_memory_that_is_no_files(process: Process, tmp_path: Path) -> None:
    path = give(process, tmp_path, MAP)
    [found] = find(process)
    module = found.module
    assert (module.base, module.end, module.kind) == (JIT, JIT + 0x840, "jit")
    assert (module.name, module.path) == ("perf-7.map", str(path))
    assert found.names is not None
    located = {
        pc: (place.function, place.function_offset)
        for pc in (0x70FF, 0x7100, 0x7112, 0x711F, 0x7120, 0x720F)
        if (place := found.names.locate(pc))
    }
    assert located == {
        0x7100: ("f", 0), 0x7112: ("g h", 2), 0x711F: ("f", 0x1F), 0x720F: ("k", 0xF),
    }  # fmt: skip


def test_memory_that_somebody_knows_better_is_left(process: Process, tmp_path: Path) -> None:
    give(process, tmp_path, MAP)
    known = Module(0, "registered", JIT + 0x180, JIT + 0x1C0, kind="jit")
    process.space.add_modules([known], {})
    places = [(each.module.base, each.module.end) for each in find(process)]
    assert places == [(JIT, JIT + 0x180), (JIT + 0x1C0, JIT + 0x840)]


def test_a_map_of_another_process(process: Process, tmp_path: Path) -> None:
    """With the same id, on another day: its code was elsewhere."""
    path = give(process, tmp_path, b"57100 20 f\n57110 8 g\n7200 10 k\n4010 10 builtin\n")
    code = find_generated(process, ["perf_map"])
    assert code.modules == []
    [finding] = code.findings
    assert finding.title == f"{path} is not used: its code lies where this process has no memory"


def test_empty_maps_say_nothing(process: Process, tmp_path: Path) -> None:
    give(process, tmp_path, b"")
    code = find_generated(process, ["perf_map"])
    assert (code.modules, code.findings) == ([], [])


def test_a_map_of_a_process_that_runs_is_read_for_the_first_name(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Path(os.path.realpath(tmp_path), "perf-7.map")
    written.write_bytes(b"")
    process.live = procfs.Process(os.getpid())
    own_file = own_files.own_file

    def elsewhere(process: Process, path: str, limit: int, *, certain: bool) -> object:
        assert path.startswith("/tmp/perf-")
        return own_file(process, str(written), limit, certain=certain)

    monkeypatch.setattr(own_files, "own_file", elsewhere)
    found = find(process)
    assert [each.module.base for each in found] == [JIT, 0xA000]
    written.write_bytes(MAP)
    for each in found:
        assert each.names is not None
        assert each.names.locate(0xA000) is None
    names = found[0].names
    assert names is not None
    place = names.locate(0x7100)
    assert place is not None
    assert place.function == "f"
    process.live.close()


def test_a_map_that_is_refused_is_told_of(process: Process) -> None:
    path = Path("/tmp/perf-7.map")
    if path.exists() or path.is_symlink():
        pytest.skip(f"{path} is there")
    path.mkdir()
    try:
        code = find_generated(process, ["perf_map"])
    finally:
        path.rmdir()
    assert [each.title for each in code.findings] == [
        "/tmp/perf-7.map is not used: it is no regular file"
    ]
