"""Lines of a perf map."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.formats.perf_map import PerfMap


def entries(data: bytes) -> list[tuple[int, int, str]]:
    lines = PerfMap(data)
    return [(low, lines.ends[n] - low, lines.name(n)) for n, low in enumerate(lines.starts)]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"7f0000001000 20 JS:~get prop /home/a b/x.js:8:11", "JS:~get prop /home/a b/x.js:8:11"),
        (b"7f0000001000 20 LazyCompile:*f file:///x.mjs:1", "LazyCompile:*f file:///x.mjs:1"),
        (b"7F0000001000 20 py::K.<lambda>:/t.py", "py::K.<lambda>:/t.py"),
        (b"00007f0000001000 00000020 Ljava/lang/Object;::<init>", "Ljava/lang/Object;::<init>"),
        (b"0x7f0000001000 0x20 f", "f"),
        (b"7f0000001000 20 void [a] B::c(class D,int)[Tier0]", "void [a] B::c(class D,int)[Tier0]"),
        (b"7f0000001000 20  two spaces ", " two spaces "),
        (b"7f0000001000 20 windows\r", "windows"),
        (b"7f0000001000 20 ", ""),
        ("7f0000001000 20 größe".encode(), "größe"),
        (b"7f0000001000 20 \xff", "\ufffd"),
    ],
)
def test_a_name_is_the_rest_of_its_line(line: bytes, name: str) -> None:
    assert entries(line) == entries(line + b"\n") == [(0x7F0000001000, 0x20, name)]


@pytest.mark.parametrize(
    "line",
    [
        b"7f0000001000",
        b"7f0000001000 20",
        b"7f0000001000 0 empty",
        b"xyz 20 f",
        b"7f0000001000 wide f",
        b"-10 20 f",
        b"10 -20 f",
        b"ffffffffffffffff 2 wraps",
        b"1 10000000000000000 too long",
        b"10000000000000000 1 too far",
        b" 10 20 f",
        b"\0\0\0",
        b"the rest of a name with a line feed",
    ],
)
def test_a_malformed_line_costs_itself(line: bytes) -> None:
    lines = PerfMap(b"1000 10 before\n" + line + b"\n2000 10 after\n")
    assert [lines.name(n) for n in range(len(lines))] == ["before", "after"]
    assert lines.skipped == 1


def test_order_is_kept_and_empty_lines_do_not_count() -> None:
    lines = PerfMap(b"\n2000 10 b\n\n1000 10 a\n")
    assert (lines.starts, lines.skipped) == ([0x2000, 0x1000], 0)
    assert not PerfMap(b"")


def test_a_name_is_bounded() -> None:
    assert len(PerfMap(b"1000 10 " + b"x" * 100_000).name(0)) == 4096


@given(st.binary(max_size=400))
def test_anything_may_be_there(data: bytes) -> None:
    lines = PerfMap(data)
    for number, start in enumerate(lines.starts):
        assert 0 <= start < lines.ends[number] <= 1 << 64
        lines.name(number)
