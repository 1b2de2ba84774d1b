"""Records of a jitdump, in both byte orders, whole, cut and broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.jitdump import DEBUG, LOAD, JitdumpBuilder
from unspool.errors import FormatError
from unspool.formats.jitdump import Jitdump

CODE = b"\x55\x48\x89\xe5\xc3"
AT = 0x7F00_0000_1000


@pytest.mark.parametrize("order", "<>")
def test_what_is_told_of_a_function(order: str) -> None:
    file = JitdumpBuilder(order, header=48)
    file.unwinding(b"eh_frame", b"header", pad=2)
    file.lines(AT, [(AT, 3, b"a.c"), (AT + 2, 4, b"\xff"), (AT + 4, 9, b"b.c")])
    file.load(AT, CODE, "f größe".encode(), index=5)
    file.load(AT + 0x100, CODE * 2, b"g")
    file.close()
    dump = Jitdump(bytes(file))
    f, g = dump.functions()
    assert (dump.pid, dump.machine, dump.problem) == (7, 62, None)
    assert [(each.start, each.end, dump.name(each)) for each in (f, g)] == [
        (AT, AT + 5, "f größe"), (AT + 0x100, AT + 0x10A, "g"),
    ]  # fmt: skip
    assert (dump.code_bytes(f), dump.unwind_data(f)) == (CODE, b"eh_frame")
    assert [dump.line(f, AT + n) for n in range(5)] == [
        ("a.c", 3), ("a.c", 3), ("a.c", 4), ("a.c", 4), ("b.c", 9),
    ]  # fmt: skip
    assert dump.unwind_data(g) is None
    assert dump.line(g, AT + 0x100) is None


def test_code_that_moves_keeps_what_was_told() -> None:
    file = JitdumpBuilder()
    file.unwinding(b"eh_frame")
    file.lines(AT, [(AT, 3, b"a.c"), (AT + 3, 4, b"a.c")])
    file.load(AT, CODE, b"f", index=5)
    file.move(AT, AT + 0x1000, len(CODE), index=5)
    file.move(AT + 0x1000, AT + 0x2000, len(CODE), index=5)
    dump = Jitdump(bytes(file))
    *_, code = dump.functions()
    assert (code.start, code.end) == (AT + 0x2000, AT + 0x2005)
    assert (dump.name(code), dump.line(code, AT + 0x2004)) == ("f", ("a.c", 4))
    assert dump.unwind_data(code) == b"eh_frame"


def test_moves_of_unknown_code_are_broken() -> None:
    file = JitdumpBuilder()
    file.load(AT, CODE, b"f", index=5)
    file.move(AT, AT + 0x1000, len(CODE), index=6)
    file.move(AT, AT + 0x1000, len(CODE) + 1, index=5)
    dump = Jitdump(bytes(file))
    assert [code.start for code in dump.functions()] == [AT]
    assert dump.problem == "2 of its records are broken"


def test_lines_are_for_the_next_code_at_their_address() -> None:
    file = JitdumpBuilder()
    file.lines(AT, [(AT, 1, b"old.c")])
    file.load(AT + 0x100, CODE, b"g")
    file.load(AT, CODE, b"f")
    dump = Jitdump(bytes(file))
    assert [dump.line(code, code.start) for code in dump.functions()] == [None, None]


def test_v8_counts_an_elf_header_in() -> None:
    file = JitdumpBuilder(pad=0xDEADBEEF)
    file.lines(AT, [(AT + 0x40, 3, b"a.js"), (AT + 0x43, 4, b"a.js")])
    file.load(AT, CODE, b"f")
    dump = Jitdump(bytes(file))
    [code] = dump.functions()
    assert [dump.line(code, AT + n) for n in (0, 2, 3)] == [("a.js", 3), ("a.js", 3), ("a.js", 4)]


@pytest.mark.parametrize(
    "lines",
    [
        [(AT, 3, b"a.c"), (AT + 6, 4, b"a.c")],  # behind the function
        [(AT - 1, 3, b"a.c")],
        [(AT, 3, b"\x01\x02")],
        [(AT, 3, b"a.c"), (AT, 3, b"\x80")],
        # Memory that was freed, with zeros: the next entry begins in the middle.
        [(AT, 3, b"\xec\x0c\x00\x00\x00\x00\xa9"), (AT + 1, 4, b"a.c")],
    ],
)
def test_lines_that_cannot_be_the_functions_are_none(lines: list[tuple[int, int, bytes]]) -> None:
    file = JitdumpBuilder()
    file.lines(AT, lines)
    file.load(AT, CODE, b"f")
    dump = Jitdump(bytes(file))
    [code] = dump.functions()
    assert [dump.line(code, AT + n) for n in range(5)] == [None] * 5


def test_a_count_that_lies() -> None:
    file = JitdumpBuilder()
    file.lines(AT, [(AT, 3, b"a.c")], count=1 << 63)
    file.load(AT, CODE, b"f")
    dump = Jitdump(bytes(file))
    assert dump.line(dump.functions()[0], AT) is None


def test_a_record_that_is_not_whole_yet() -> None:
    file = JitdumpBuilder()
    file.load(AT, CODE, b"f")
    whole = len(bytes(file))
    file.load(AT + 0x100, CODE, b"g")
    for end in range(whole, len(bytes(file))):
        dump = Jitdump(bytes(file)[:end])
        assert [dump.name(code) for code in dump.functions()] == ["f"]
        assert dump.cut is (end > whole)
        assert (dump.problem is None) is (end == whole)


def test_records_behind_the_end_do_not_count() -> None:
    file = JitdumpBuilder()
    file.close()
    file.load(AT, CODE, b"f")
    assert Jitdump(bytes(file)).functions() == []


def test_unknown_records_are_passed_over() -> None:
    file = JitdumpBuilder()
    file.record(99, b"whatever")
    file.load(AT, CODE, b"f")
    assert len(Jitdump(bytes(file)).functions()) == 1


@pytest.mark.parametrize("kind", [LOAD, DEBUG, 99])
@pytest.mark.parametrize("claims", [0, 15])
def test_a_length_that_leads_nowhere_ends_the_file(kind: int, claims: int) -> None:
    file = JitdumpBuilder()
    file.record(kind, bytes(64), claims=claims)
    file.load(AT, CODE, b"f")
    dump = Jitdump(bytes(file))
    assert dump.functions() == []
    assert dump.problem == f"the record at 0x28 claims {claims} bytes"


def test_code_that_is_not_in_its_record() -> None:
    file = JitdumpBuilder()
    file.load(AT, CODE, b"f", size=1 << 40)
    file.load(AT, b"", b"g")
    file.load((1 << 64) - 2, CODE, b"h")
    file.record(LOAD, bytes(12))
    file.load(AT, CODE, b"good")
    dump = Jitdump(bytes(file))
    assert [dump.name(code) for code in dump.functions()] == ["good"]
    assert dump.problem == "4 of its records are broken"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "shorter"),
        (bytes(JitdumpBuilder())[:39], "shorter"),
        (bytes(40), "magic"),
        (b"\x7fELF" + bytes(60), "magic"),
        (b"DTiJ" + b"\2\0\0\0" + bytes(40), "version 2"),
        (bytes(JitdumpBuilder())[:8] + bytes(32), "a header of 0 bytes"),
    ],
)
def test_what_is_no_jitdump(data: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        Jitdump(data)


def _whole() -> bytes:
    file = JitdumpBuilder()
    file.unwinding(b"eh_frame")
    file.lines(AT, [(AT, 3, b"a.c"), (AT + 2, 4, b"\xff")])
    file.load(AT, CODE, b"f", index=1)
    file.move(AT, AT + 16, len(CODE), index=1)
    return bytes(file)


WHOLE = _whole()


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8), st.integers(0, 64))
def test_any_damage_is_survived(at: int, new: bytes, cut: int) -> None:
    data = (WHOLE[:at] + new + WHOLE[at + len(new) :])[: len(WHOLE) - cut]
    try:
        dump = Jitdump(data)
    except FormatError:
        return
    for code in dump.functions():
        dump.name(code)
        dump.code_bytes(code)
        dump.unwind_data(code)
        dump.line(code, code.start)
