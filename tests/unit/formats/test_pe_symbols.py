"""COFF symbols of PE files: which are functions, and what they are called."""

from __future__ import annotations

import pytest

from tests.build.pe import (
    AMD64,
    FILE,
    I386,
    LABEL,
    STATIC,
    WEAK_EXTERNAL,
    Section,
    Symbol,
    image,
)
from tests.fuzz.harness import within
from unspool.formats.pe import Pe
from unspool.formats.pe_symbols import undecorated

from .pe_names import functions


def text() -> Section:
    return Section(".text", b"\x90" * 0x100, "rx")


def read(
    symbols: list[Symbol], parts: list[Section], machine: int = AMD64
) -> list[tuple[int, str]]:
    return functions(Pe(image(machine, parts, symbols=symbols).file()))


def test_functions_by_address() -> None:
    code = text()
    more = Section("more", b"\x90" * 0x10, "rx")
    found = read(
        [
            Symbol("later", 0x40, code),
            Symbol("main", 0, code),
            Symbol("a_longer_name", 0x20, code, storage=STATIC),
            Symbol("eight_ch", 0x30, code),
            Symbol("elsewhere", 4, more),
        ],
        [code, more],
    )
    assert found == [
        (0x1000, "main"), (0x1020, "a_longer_name"), (0x1030, "eight_ch"), (0x1040, "later"),
        (0x2004, "elsewhere"),
    ]  # fmt: skip


def test_what_is_no_function_is_left_out() -> None:
    code, data = text(), Section(".data", b"x" * 64, "rw")
    found = read(
        [
            Symbol(".file", 0, -2, kind=0, storage=FILE, auxiliary=[b"a.c"]),
            Symbol(".text", 0, code, kind=0, storage=STATIC, auxiliary=[b"\x10"]),
            Symbol(".text", 0x60, code, kind=0, storage=STATIC),
            Symbol(".bf", 0x10, code, kind=0, storage=101),
            Symbol(".l_start", 0x14, code, kind=0, storage=LABEL),
            Symbol("datum", 0, data, kind=0),
            Symbol("pointer_to_function", 8, data),
            Symbol("integer", 0x18, code, kind=4),
            Symbol("undefined", 0, 0),
            Symbol("absolute", 0x1000, -1),
            Symbol("no_such_section", 0, 99),
            Symbol("jump_of_import", 0x50, code, kind=0),
            Symbol("real", 0x10, code),
            Symbol("weak", 0x70, code, storage=WEAK_EXTERNAL),
        ],
        [code, data],
    )
    assert found == [(0x1010, "real"), (0x1050, "jump_of_import"), (0x1070, "weak")]


def test_records_behind_a_symbol_are_no_symbols() -> None:
    code = text()
    fake = b"fake\0\0\0\0" + bytes(4) + b"\1\0\x20\0\2\0"
    found = read([Symbol("main", 0, code, auxiliary=[fake] * 3), Symbol("next", 8, code)], [code])
    assert found == [(0x1000, "main"), (0x1008, "next")]


def test_of_several_names_the_best_known_stays() -> None:
    code = text()
    label = Symbol("label", 0, code, kind=0)
    private = Symbol("private", 0, code, storage=STATIC)
    public, alias = Symbol("public", 0, code), Symbol("alias", 0, code)
    assert read([label, private, public, alias], [code]) == [(0x1000, "public")]
    assert read([alias, public, private, label], [code]) == [(0x1000, "alias")]
    assert read([label, private], [code]) == [(0x1000, "private")]


def test_i386_names_are_those_of_the_source() -> None:
    code = text()
    names = ["_main", "_stdcall@8", "@fast@4", "__Z3foov", "?msvc@@YAXXZ"]
    symbols = [Symbol(name, 4 * i, code) for i, name in enumerate(names)]
    plain = [name for _, name in read(symbols, [code], I386)]
    assert plain == ["main", "stdcall", "fast", "_Z3foov", "?msvc@@YAXXZ"]
    assert [name for _, name in read(symbols, [code], AMD64)] == names


@pytest.mark.parametrize(
    ("name", "plain", "exported"),
    [
        ("_foo", "foo", "_foo"),
        ("foo", "foo", "foo"),
        ("__foo", "_foo", "__foo"),
        ("_foo@8", "foo", "foo"),
        ("foo@8", "foo", "foo"),
        ("@foo@12", "foo", "foo"),
        ("foo@@16", "foo", "foo"),
        ("_foo@@16", "_foo", "_foo"),
        ("__ZN1S2stEi@4", "_ZN1S2stEi", "_ZN1S2stEi"),
        ("_hid@12.constprop.0", "hid.constprop.0", "hid.constprop.0"),
        ("_foo.part.0", "foo.part.0", "_foo.part.0"),
        ("?foo@@YGXH@Z", "?foo@@YGXH@Z", "?foo@@YGXH@Z"),
        ("?f@8", "?f@8", "?f@8"),
        ("_foo@bar", "foo@bar", "_foo@bar"),
        ("_foo@", "foo@", "_foo@"),
        ("_foo@²", "foo@²", "_foo@²"),
        ("_", "_", "_"),
        ("_@8", "_@8", "_@8"),
        ("@8", "@8", "@8"),
        ("@@8", "@@8", "@@8"),
        ("", "", ""),
    ],
)
def test_decorations(name: str, plain: str, exported: str) -> None:
    assert undecorated(name) == plain
    assert undecorated(name, exported=True) == exported


def test_files_without_symbols() -> None:
    assert read([], [text()]) == []
    made = image(AMD64, [text()], symbols=[Symbol("main", 0, 1)])
    assert functions(Pe(made.memory(), mapped=True)) == []
    assert functions(Pe(made.file()[:-5])) == []


@pytest.mark.parametrize("offset", [0, 1, 3, 4, 9, 0x7FFFFFFF, 0xFFFFFFFF])
def test_names_outside_of_the_string_table_are_none(offset: int) -> None:
    code = text()
    symbols = [
        Symbol("a_longer_name", 0, code),
        Symbol("bad", 4, code, name_offset=offset),
        Symbol("good", 8, code),
    ]
    found = dict(read(symbols, [code]))
    assert found[0x1000] == "a_longer_name"
    assert found[0x1008] == "good"
    names = {4: "a_longer_name", 9: "ger_name"}
    assert found.get(0x1004) == names.get(offset)


def test_a_name_has_a_limit() -> None:
    code = text()
    symbols = [Symbol("n" * 70_000, 0, code), Symbol("m" * 60_000, 4, code)]
    assert read(symbols, [code]) == [(0x1004, "m" * 60_000)]


def test_a_string_table_that_is_cut_or_lies() -> None:
    code = text()
    data = image(AMD64, [code], symbols=[Symbol("a_longer_name", 0, code)]).file()
    size_at = len(data) - 4 - len("a_longer_name\0")
    for size, expected in ((0, {}), (3, {}), (17, {}), (18, 1), (0xFFFFFFFF, 1)):
        changed = data[:size_at] + size.to_bytes(4, "little") + data[size_at + 4 :]
        assert len(functions(Pe(changed))) == (1 if expected else 0), size
    for cut in range(1, 18):
        assert functions(Pe(data[:-cut])) == []


def test_an_address_beyond_32_bits_is_harmless() -> None:
    code = text()
    found = read([Symbol("far", 0xFFFFFFFF, code), Symbol("main", 0, code)], [code])
    assert found[0] == (0x1000, "main")


def test_names_that_share_a_text_take_seconds_at_most() -> None:
    code = text()
    long = [Symbol("n" * 65_000, 0, code)]
    many = [Symbol("x", i, code, name_offset=4 + i % 60_000) for i in range(200_000)]
    data = image(AMD64, [code], symbols=long + many).file()
    with within(5):
        found = functions(Pe(data))
    assert 0 < sum(len(name) for _, name in found) < 1 << 20


def test_auxiliary_counts_that_lie() -> None:
    code = text()
    data = bytearray(
        image(AMD64, [code], symbols=[Symbol(f"f{i}", i, code) for i in range(9)]).file()
    )
    table = Pe(bytes(data)).coff_symbols()
    assert table is not None
    data[table[0] + 17] = 255
    assert functions(Pe(bytes(data))) == [(0x1000, "f0")]
