"""Damaged PE files: whatever is in them, looking names up raises nothing and takes no time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import cfi, pe
from tests.build.unwind_info import Xdata, alloc, unwind_info
from tests.conftest import examples
from tests.unit.symbols.pe_programs import BASE
from unspool.errors import FormatError
from unspool.formats.pe import Pe
from unspool.model import Module
from unspool.symbols.finders import DebugFiles
from unspool.symbols.pe.module import PeModuleSymbols

Patch = tuple[int, int]


def whole(machine: int) -> bytes:
    """A file with everything that names are made of."""
    text = pe.Section(".text", bytes(0x400), "rx")
    xdata = Xdata(0x8000)
    first = xdata.add(unwind_info([alloc(4, 0x28)], prologue=4))
    second = xdata.add(unwind_info(chained=(0x1100, 0x1180, first)))
    frames = cfi.FrameSection(address=0x1000_9000, address_size=4)
    cie = frames.cie(data_align=-4, return_register=8)
    frames.fde(cie, 0x1000_1100, 0x80)
    sections = [
        text,
        xdata.section(),
        pe.Section(".eh_frame", frames.build(), "r", rva=0x9000),
        pe.Section(".gnu_debuglink", b"a.debug\0\x01\x02\x03\x04", "r"),
        pe.Section(".debug_info", b"\x20\0\0\0\4\0" + bytes(40), "-"),
    ]
    return pe.image(
        machine, sections, exports=[("one", 0x1100), ("two", 0x1300)],
        functions=[(0x1100, 0x1180, first), (0x1200, 0x1280, second)],
        codeview=pe.CodeView("a.pdb"), symbols=[pe.Symbol("a_long_symbol", 0x200, text)],
    ).file()  # fmt: skip


FILES = {machine: whole(machine) for machine in (pe.I386, pe.AMD64)}
VALUES = st.one_of(
    st.sampled_from((0, 1, 0x1000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)), st.integers(0, 1 << 32)
)


def look_up(path: Path, data: bytes, *, lines: bool) -> PeModuleSymbols:
    path.write_bytes(data)
    try:
        code_id = Pe(data).code_id
    except FormatError:
        code_id = "00"
    module = Module(
        0, path.name, BASE, BASE + 0x10000, kind="pe", path=str(path), file=str(path),
        code_id=code_id,
    )  # fmt: skip
    symbols = PeModuleSymbols(module, None, DebugFiles([str(path.parent)]), lines=lines)
    for rva in (0, 0x1000, 0x1110, 0x1190, 0x1210, 0x1310, 0x8000, 0xFFFF_FFFF):
        found = symbols.lookup(BASE + rva)
        assert found is None or (found[0] and found[1] is not None)
    return symbols


@pytest.mark.parametrize("machine", FILES)
def test_the_undamaged_file(machine: int, tmp_path: Path) -> None:
    symbols = look_up(tmp_path / "a.dll", FILES[machine], lines=False)
    assert symbols.problems == []
    found = [symbols.lookup(BASE + rva) for rva in (0x1110, 0x1210, 0x1310)]
    assert [each and each[0] for each in found] == [
        "one", "one" if machine == pe.AMD64 else "a_long_symbol", "two",
    ]  # fmt: skip


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.integers(0, 0x3000), VALUES), min_size=1, max_size=8),
    st.integers(0, 0x4000),
)
def test_damaged_files(tmp_path: Path, machine: int, patches: list[Patch], cut: int) -> None:
    data = bytearray(FILES[machine])
    for at, value in patches:
        at %= len(data)
        data[at : at + 4] = (value & 0xFFFF_FFFF).to_bytes(4, "little")
    look_up(tmp_path / "a.dll", bytes(data[: max(len(data) - cut, 64)] if cut & 1 else data),
            lines=False)  # fmt: skip


def test_damaged_debug_information(tmp_path: Path) -> None:
    pytest.importorskip("symbolic")

    @given(st.lists(st.tuples(st.integers(0, 0x3000), VALUES), min_size=1, max_size=8))
    @settings(max_examples=examples(30))
    def damage(patches: list[Patch]) -> None:
        data = bytearray(FILES[pe.AMD64])
        for at, value in patches:
            at %= len(data)
            data[at : at + 4] = (value & 0xFFFF_FFFF).to_bytes(4, "little")
        for problem in look_up(tmp_path / "a.dll", bytes(data), lines=True).problems:
            assert "\n" not in problem

    damage()
