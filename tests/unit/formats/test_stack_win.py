"""STACK WIN records: the innermost one around an address, whatever else the text holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.stack_win import Function, records
from unspool.formats.stack_win import StackWin

PROGRAM = "$T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + ="


def line(rva: int, size: int, *, kind: int = 4, more: str = PROGRAM) -> str:
    return f"STACK WIN {kind:x} {rva:x} {size:x} 3 1 c 8 28 10 {int(kind == 4)} {more}\n"


def test_fields_are_hexadecimal() -> None:
    found = StackWin(line(0x1000, 0x31).encode()).find(0x1030)
    assert found is not None
    assert (found.start, found.end, found.function) == (0x1000, 0x1031, 0x1000)
    assert (found.prologue, found.parameters, found.saved, found.locals) == (3, 12, 8, 40)
    assert found.program == PROGRAM
    assert not found.uses_ebp


@pytest.mark.parametrize("uses", ["0", "1"])
def test_fpo_data_has_no_program(uses: str) -> None:
    found = StackWin(line(0x1000, 0x31, kind=0, more=uses).encode()).find(0x1000)
    assert found is not None
    assert found.program is None
    assert found.uses_ebp == (uses == "1")


def test_frame_data_goes_before_fpo_data() -> None:
    text = line(0x1010, 0x10, kind=0, more="1") + line(0x1000, 0x18)
    table = StackWin(text.encode())
    assert len(table) == 2
    inside, behind = table.find(0x1012), table.find(0x1018)
    assert inside is not None
    assert inside.program
    assert behind is not None
    assert behind.program is None


def test_records_of_prologues_lie_inside_each_other() -> None:
    function = Function(0x1000, 0x80, saved=("esi", "ebx"), locals=0x18)
    table = StackWin(records([Function(0xF80), function, Function(0x1080)]))
    saved = []
    for rva in (0x1000, 0x1001, 0x1002, 0x1004, 0x1005, 0x107F):
        found = table.find(rva)
        assert found is not None
        assert found.function == 0x1000
        saved.append((found.saved, found.locals))
    assert saved == [(0, 0), (4, 0), (8, 0), (8, 0), (8, 0x18), (8, 0x18)]
    neighbours = [table.find(rva) for rva in (0xFFF, 0x1080)]
    assert [each and each.function for each in neighbours] == [0xF80, 0x1080]


@pytest.mark.parametrize(
    "broken",
    [
        "STACK WIN 4 1000\n",
        "STACK WIN 4 zz 31 3 1 c 8 28 10 1 x\n",
        "STACK WIN 4 1000 0 3 1 c 8 28 10 1 x\n",  # empty
        "STACK WIN 4 ffffff00 ffffff 3 1 c 8 28 10 1 x\n",
        "STACK WIN 4 -5 31 3 1 c 8 28 10 1 x\n",
        "STACK WIN 7 1000 31 3 1 c 8 28 10 1 x\n",  # an unknown type
        "STACK WIN 4 1000 31 3 1 c 8 fffffffff 10 1 x\n",
        "STACK WIN 4 1000 31 3 1 c q 28 10 1 x\n",
        "STACK WIN 4 1000 31 3 1 c\n",
        "STACK WIN 4 1000 31 3 1 c 8 28 10 1 " + "x" * 5000 + "\n",
        "STACK CFI INIT 1000 31 .cfa: $rsp 8 + .ra: .cfa -8 + ^\n",
        "xSTACK WIN 4 1000 31 3 1 c 8 28 10 1 x\n",
        "STACK WIN ",
    ],
)
def test_a_broken_line_costs_itself_alone(broken: str) -> None:
    text = line(0x2000, 0x10) + broken
    table = StackWin(text.encode())
    assert table.find(0x1000) is None
    assert table.find(0x2000)
    table = StackWin((broken + line(0x2000, 0x10)).encode())
    assert broken == "STACK WIN " or table.find(0x2000)


RANGES = st.lists(st.tuples(st.integers(0, 0x200), st.integers(1, 0x80)), max_size=12)


@given(RANGES, st.lists(st.integers(0, 0x300), max_size=20))
def test_the_innermost_of_any_ranges(ranges: list[tuple[int, int]], probes: list[int]) -> None:
    table = StackWin("".join(line(rva, size) for rva, size in ranges).encode())
    for probe in probes:
        around = [(rva, rva + size) for rva, size in ranges if rva <= probe < rva + size]
        found = table.find(probe)
        assert (found is None) == (not around)
        if found is not None:
            start = max(start for start, _ in around)
            assert found.start == start
            assert found.end == min(end for each, end in around if each == start)


@given(st.binary(max_size=300), st.integers(0, 1 << 33))
def test_any_bytes(raw: bytes, probe: int) -> None:
    StackWin(raw).find(probe)
    StackWin(b"STACK WIN 4 " + raw).find(probe)


FIELDS = st.lists(st.one_of(st.integers(0, 1 << 40).map(lambda n: f"{n:x}"), st.text(max_size=4)))


@given(st.lists(FIELDS, max_size=8), st.lists(st.integers(0, 1 << 32), max_size=8))
def test_lines_of_any_fields(lines: list[list[str]], probes: list[int]) -> None:
    text = "".join("STACK WIN " + " ".join(fields) + "\n" for fields in lines)
    table = StackWin(text.encode("utf-8", "replace"))
    for probe in probes:
        table.find(probe)
