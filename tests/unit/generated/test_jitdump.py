"""Code that a jitdump describes, in made-up processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.build.cfi import (
    PCREL,
    SDATA4,
    FrameSection,
    advance_loc,
    def_cfa,
    def_cfa_offset,
    offset,
)
from tests.build.jitdump import JitdumpBuilder
from tests.unit.generated.surroundings import surroundings
from tests.unit.unwind.spaces import ARCHES, region
from unspool.generated.code import GeneratedModule, Process
from unspool.generated.find import find_generated
from unspool.memory import Memory, Region
from unspool.space import AddressSpace
from unspool.unwind.rows import Row
from unspool.unwind.step import Missed
from unspool.unwind.strategies.dwarf_cfi import DwarfCfi

JIT, MARKER = 0x7000, 0x20000
# endbr64; sub $8,%rsp; call *%rcx; add $8,%rsp; ret
CODE = bytes.fromhex("f30f1efa 4883ec08 ffd1 4883c408 c3")


def eh_frame() -> bytes:
    """For code at an address from which it lies 16 bytes, as CPython writes it."""
    frames = FrameSection(address=16)
    cie = frames.cie(
        augmentation="zR", fde_encoding=PCREL | SDATA4, initial=def_cfa(7, 8) + offset(16, 1)
    )
    frames.fde(
        cie, 0, len(CODE), advance_loc(8) + def_cfa_offset(16) + advance_loc(6) + def_cfa_offset(8)
    )
    return frames.build()


def dump_of(*functions: tuple[int, bytes, bytes], pid: int = 7) -> JitdumpBuilder:
    file = JitdumpBuilder(pid=pid)
    for number, (address, code, name) in enumerate(functions):
        file.unwinding(eh_frame())
        file.lines(address, [(address, 10 + number, b"a.py")])
        file.load(address, code, name, index=number)
    return file


F, G = (JIT + 0x100, CODE, b"py::f:a.py"), (JIT + 0x200, CODE, b"py::g:a.py")


def process(path: Path | None = None, *functions: tuple[int, bytes, bytes]) -> Process:
    """One that has `functions` in memory and maps the jitdump at `path`."""
    held = bytearray(b"\xcc" * 0x1000)
    for address, code, _ in functions or (F, G):
        held[address - JIT : address - JIT + len(code)] = code
    made = surroundings("x86_64", [])
    regions = [region(JIT, bytes(held), executable=True)]
    if path is not None:
        mapped = os.path.realpath(path)
        regions.append(Region(MARKER, MARKER + 0x1000, None, executable=True, path=mapped))
    made.space = AddressSpace(ARCHES["x86_64"], Memory(regions), [], lambda _: None)
    made.now = made.space.memory
    made.info.pid = 7
    return made


def found(process: Process) -> GeneratedModule:
    code = find_generated(process, ["jitdump"])
    assert code.findings == []
    [module] = code.modules
    return module


def test_a_file_that_the_process_maps(tmp_path: Path) -> None:
    path = tmp_path / "jit-7.dump"
    path.write_bytes(bytes(dump_of(F, G)))
    made = process(path)
    module = found(made)
    assert (module.module.name, module.module.base) == ("jit-7.dump", JIT)
    assert module.names is not None
    places = [module.names.locate(JIT + at) for at in (0x100, 0x20E, 0x10F)]
    assert [
        place and (place.function, place.function_offset, place.file, place.line)
        for place in places
    ] == [("py::f:a.py", 0, "a.py", 10), ("py::g:a.py", 14, "a.py", 11), None]
    cfi = DwarfCfi(made.space)
    for start in (JIT + 0x100, JIT + 0x200):
        rows = [cfi.row(start + at + 1, start + at) for at in (0, 7, 8, 13, 14)]
        assert [isinstance(row, Row) and row.cfa_offset for row in rows] == [8, 8, 16, 16, 8]
    missed = cfi.row(JIT + 1, JIT)
    assert isinstance(missed, Missed)
    assert "its jitdump has none for this function" in missed.why


def test_a_file_that_the_user_gives(tmp_path: Path) -> None:
    (tmp_path / "jit-7.dump").write_bytes(bytes(dump_of(F, G)))
    made = process()
    made.symbols = [str(tmp_path)]
    assert found(made).module.path == str(tmp_path / "jit-7.dump")


def test_a_device(tmp_path: Path) -> None:
    """The path in the mappings is the device's."""
    folder = tmp_path / "root" / "data" / "local"
    folder.mkdir(parents=True)
    (folder / "jit-7.dump").write_bytes(bytes(dump_of(F, G)))
    made = process(Path("/data/local/jit-7.dump"))
    assert find_generated(made, ["jitdump"]).modules == []
    made = process(Path("/data/local/jit-7.dump"))
    made.sysroot = str(tmp_path / "root")
    assert found(made).module.path == str(folder / "jit-7.dump")


def test_code_that_is_not_there_any_more_has_no_name(tmp_path: Path) -> None:
    """Freed, and other code put there that nobody has written down yet."""
    path = tmp_path / "jit-7.dump"
    path.write_bytes(bytes(dump_of(F, G)))
    made = process(path, (F[0], CODE, b""), (G[0], bytes(range(15)), b""))
    module = found(made)
    assert module.names is not None
    assert module.names.locate(F[0]) is not None
    assert module.names.locate(G[0]) is None
    assert isinstance(DwarfCfi(made.space).row(G[0] + 8, G[0] + 7), Missed)


def test_code_that_was_patched_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "jit-7.dump"
    path.write_bytes(bytes(dump_of(F)))
    made = process(path, (F[0], CODE[:8] + b"\x90\x90" + CODE[10:], b""))
    names = found(made).names
    assert names is not None
    assert names.locate(F[0]) is not None


def test_code_that_is_not_at_hand_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "jit-7.dump"
    path.write_bytes(bytes(dump_of(F)))
    made = process(path)
    memory = Memory([Region(JIT, JIT + 0x1000, None, executable=True), made.now.regions[1]])
    made.space = AddressSpace(ARCHES["x86_64"], memory, [], lambda _: None)
    made.now = memory
    names = found(made).names
    assert names is not None
    assert names.locate(F[0]) is not None


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (dump_of(F, pid=8), "it is of process 8"),
        (dump_of((0x100000, CODE, b"f")), "its code lies where this process has no memory"),
        (dump_of(), "it is empty"),
        (b"nothing of that", "jitdump: shorter than its header"),
    ],
)
def test_files_that_are_refused(file: JitdumpBuilder | bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "jit-7.dump"
    path.write_bytes(bytes(file))
    code = find_generated(process(path), ["jitdump"])
    assert code.modules == []
    [finding] = code.findings
    assert finding.title == f"{os.path.realpath(path)} is not used: {why}"


def test_broken_records_are_told_of_and_cost_themselves(tmp_path: Path) -> None:
    path = tmp_path / "jit-7.dump"
    file = dump_of(F)
    file.load(G[0], CODE, b"g", size=1 << 50)
    path.write_bytes(bytes(file) + b"cut")
    code = find_generated(process(path), ["jitdump"])
    assert len(code.modules) == 1
    [finding] = code.findings
    assert finding.title.endswith("jit-7.dump: 1 of its records are broken")
