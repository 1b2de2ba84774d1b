"""What Wasmtime's serialised description of a module tells: its name, its functions' names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wasmtime import bincode_info, pool_info, postcard_info
from unspool.formats.wasmtime_info import (
    DWARF_SECTIONS,
    dwarf_sections,
    function_names,
    version,
)
from unspool.formats.wasmtime_modules import module_name

NAMES = ["back", "inner", "go", "weird<T>::x", "é"]


def table(names: list[str], start: int = 0, first: int = 0) -> list[tuple[int, int, int]]:
    made = []
    for index, name in enumerate(names):
        size = len(name.encode())
        made.append((first + 2 * index, start, size))
        start += size
    return made


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (b"\0\x0250\x18x86_64", (50,)),
        (b"\0\x0724.0.12\x18", (24, 0, 12)),
        (b"\1\x0250", None),
        (b"\0\x03abc", None),
        (b"\0\0", None),
        (b"", None),
        (b"\0\xff" + b"9" * 255, None),
        (b"\0\x079999999", None),
    ],
)
def test_versions(section: bytes, expected: tuple[int, ...] | None) -> None:
    assert version(section) == expected


@pytest.mark.parametrize("name", ["demo", "x", "a" * 300, "mödul", None, ""])
def test_module_names_of_every_encoding(name: str | None) -> None:
    expected = name or None
    assert module_name(bincode_info(name), (20, 0, 0)) == expected
    assert module_name(postcard_info(name), (37,)) == expected
    assert module_name(postcard_info(name, ahead=b"\0"), (42,)) == expected
    strings = ["h", "back", "go", "other" if name is None else name]
    assert module_name(pool_info(strings, 4 if name is not None else None), (43,)) == expected


@pytest.mark.parametrize("info", [
    b"", b"\1", b"\1\xff\xff\xff\xff\x0f", b"\0\1\4\xff\xfe\xfd\xfc", b"\1\4\0\0\0\0",
    b"\0" + b"\xff" * 9 + b"\1", b"\1\x04\0\0\0\0\0\0\x80demo", b"\0\1\1\7\1\2", b"\0\1\1\7\1\0",
])  # fmt: skip
@pytest.mark.parametrize("major", [20, 37, 42, 43])
def test_no_name_is_made_up(info: bytes, major: int) -> None:
    assert module_name(info, (major,)) is None


@pytest.mark.parametrize("encode", [bincode_info, postcard_info])
@given(lists=st.lists(
    st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=30), min_size=1, max_size=3
))  # fmt: skip
def test_names_of_functions(encode, lists: list[list[str]]) -> None:  # type: ignore[no-untyped-def]
    text, tables = "", []
    for names in lists:
        tables.append(table(names, len(text.encode())))
        text += "".join(names)
    data = text.encode()
    found = function_names(encode("demo", tables), len(data), len(lists))
    assert [
        [data[at : at + size].decode() for at, size in each.values()] for each in found
    ] == lists


def test_a_few_bytes_that_look_like_a_list_do_not_hide_the_list() -> None:
    """1, 1, 0, 2 is a list of one name of two bytes; then nothing else would fit."""
    tables = [table(NAMES)]
    size = sum(len(name.encode()) for name in NAMES)
    info = postcard_info("demo")[:-3] + b"\1\1\0\2" + postcard_info("demo", tables)
    [found] = function_names(info, size)
    assert found == {index: (at, length) for index, at, length in tables[0]}
    # The same with two modules: the false list would be the first one's.
    more = [table(NAMES), table(["main"], size)]
    found_both = function_names(b"\1\1\0\2" + postcard_info("demo", more), size + 4, 2)
    assert [len(each) for each in found_both] == [len(NAMES), 1]


def test_as_many_lists_as_a_component_has_modules() -> None:
    tables = [table([f"name{number:04}"], 8 * number) for number in range(300)]
    info = postcard_info(None, tables)
    assert len(function_names(info, 8 * 300, 1000)) == 300
    assert function_names(info, 8 * 300, 299) == []


def test_names_that_do_not_fill_the_section_are_not_believed() -> None:
    info = postcard_info("demo", [table(NAMES)])
    assert function_names(info, 5000) == []
    assert function_names(info, 3) == []
    assert function_names(b"", 10) == []


def test_dwarf_of_the_wasm_binary() -> None:
    sections = [(0, 300, 420), (7, 100, 300), (8, 0, 100), (19, 420, 500)]
    info = postcard_info("demo", [table(NAMES)], dwarf=(0x1234, sections))
    ((position, found),) = dwarf_sections(info, 500, (42,))
    assert position == 0x1234
    assert found == {DWARF_SECTIONS[number]: (low, high) for number, low, high in sections}
    assert found[".debug_info"] == (100, 300)
    ((_, older),) = dwarf_sections(info, 500, (41,))
    assert older[".debug_str_offsets"] == (420, 500)
    assert dwarf_sections(info, 501, (42,)) == []
    assert dwarf_sections(info, 0, (42,)) == []


def test_dwarf_of_a_components_modules() -> None:
    """Lists follow each other in the section. What is one by chance has none behind it."""
    first = [(0, 0, 100), (7, 100, 300), (8, 300, 420)]
    last = [(0, 420, 500), (7, 500, 510), (8, 510, 900)]
    chance = bytes([0, 5, 1, 3, 0, 0, 1, 7, 1, 2, 8, 2, 3])
    info = b"".join(
        postcard_info(None, [table(NAMES)], dwarf=each) for each in ((40, first), (0x2345, last))
    )  # fmt: skip
    found = dwarf_sections(chance + info, 900, (50,))
    assert [(position, min(ranges.values())) for position, ranges in found] == [
        (40, (0, 100)), (0x2345, (420, 500)),
    ]  # fmt: skip
    assert dwarf_sections(info + chance, 901, (50,)) == []


@given(st.binary(max_size=600), st.integers(0, 1 << 20), st.integers(1, 3))
def test_noise_raises_nothing(noise: bytes, size: int, modules: int) -> None:
    for major in (0, 20, 37, 42, 43):
        module_name(noise, (major,))
    version(noise)
    function_names(noise, size, modules)
    dwarf_sections(noise, size, (50,))
