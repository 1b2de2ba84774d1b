"""One symbol table: what covers an address, which of several names, what is no function."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.elf import (
    EM_386,
    EM_ARM,
    EM_X86_64,
    SHN_ABS,
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STT_SECTION,
)
from tests.build.elf import Elf as Builder
from tests.build.elf import Symbol as Entry
from tests.conftest import Tool
from unspool.formats.elf import SHT_SYMTAB, Elf
from unspool.symbols.elf.symbols import ElfSymbols
from unspool.symbols.elf.table import SymbolTable
from unspool.symbols.files import open_elf

TEXT, TEXT_SIZE = 0x1000, 0x2000


def table(
    entries: Sequence[Entry], bits: int = 64, in_text: bool = True, **lies: int
) -> SymbolTable:
    """The entries' table; the first section holds 0x1000-0x2fff, the second 0x3000-0x30ff."""
    builder = Builder(bits, EM_X86_64 if bits == 64 else EM_386)
    text = builder.section(".text", data=bytes(TEXT_SIZE), address=TEXT, flags="ax", align=16)
    builder.section(".fini", data=bytes(0x100), address=0x3000, flags="ax", align=16)
    for entry in entries:
        if entry.section == 0 and in_text:
            entry.section = text
    builder.symbols(entries, **lies)
    elf = Elf(builder.build())
    section = next(section for section in elf.sections() if section.type == SHT_SYMTAB)
    names = elf.section_data(elf.sections()[section.link])
    start, end = section.offset, section.offset + section.size
    return SymbolTable(elf.buffer, start, end, names, elf.elf_class, elf.sections())


def test_arm_symbols_and_marks() -> None:
    """Bit 0 of a T32 function's symbol is no part of its address; $t and $d are no functions."""
    builder = Builder(32, EM_ARM)
    text = builder.section(".text", data=bytes(TEXT_SIZE), address=TEXT, flags="ax", align=16)
    entries = [
        Entry("t32", 0x1001, 0x20, section=text), Entry("a32", 0x1020, 0x20, section=text),
        Entry("bare", 0x1041, 0, section=text, kind=STT_NOTYPE),
        *(
            Entry(f"${letter}", at, 0, section=text, kind=STT_NOTYPE, bind=STB_LOCAL)
            for letter, at in (("t", 0x1000), ("d", 0x101C), ("a", 0x1020), ("t", 0x1040))
        ),
    ]  # fmt: skip
    builder.symbols(entries)
    symbols = ElfSymbols(Elf(builder.build()))
    found = {at: symbols.lookup(at) for at in (0x1000, 0x101E, 0x1020, 0x103F, 0x1040, 0x1050)}
    named = {at: (each.name, each.start) if each else None for at, each in found.items()}
    assert named == {
        0x1000: ("t32", 0x1000), 0x101E: ("t32", 0x1000), 0x1020: ("a32", 0x1020),
        0x103F: ("a32", 0x1020), 0x1040: ("bare", 0x1040), 0x1050: ("bare", 0x1040),
    }  # fmt: skip


def name_at(symbols: SymbolTable, address: int) -> str | None:
    found = symbols.lookup(address)
    return found.name if found else None


@pytest.mark.parametrize("bits", [32, 64])
def test_a_sized_function_covers_its_bytes_and_no_more(bits: int) -> None:
    symbols = table([Entry("f", 0x1010, 0x20), Entry("g", 0x1040, 8)], bits)
    names = [name_at(symbols, address) for address in (0x100F, 0x1010, 0x102F, 0x1030)]
    assert names == [None, "f", "f", None]
    found = symbols.lookup(0x1047)
    assert found is not None
    assert (found.name, found.start, found.size) == ("g", 0x1040, 8)
    assert name_at(symbols, 0x1048) is None
    assert len(symbols) == 3  # with the null symbol


def test_of_nested_functions_the_inner_one_answers() -> None:
    symbols = table([Entry("outer", 0x1000, 0x100), Entry("inner", 0x1040, 0x10)])
    assert name_at(symbols, 0x103F) == "outer"
    assert name_at(symbols, 0x1048) == "inner"
    assert name_at(symbols, 0x1050) == "outer"


def test_a_big_function_is_found_behind_many_small_ones_in_it() -> None:
    small = [Entry(f"l{i}", 0x1000 + 4 * i, 2, bind=STB_LOCAL) for i in range(1, 200)]
    symbols = table([Entry("outer", 0x1000, 0x1000), *small])
    assert name_at(symbols, 0x1003) == "outer"
    assert name_at(symbols, 0x1000 + 4 * 199 + 3) == "outer"
    assert name_at(symbols, 0x2000) is None


def test_an_unsized_label_reaches_to_the_next_symbol() -> None:
    symbols = table([Entry("start", 0x1000, kind=STT_NOTYPE), Entry("main", 0x1050, 0x10)])
    assert name_at(symbols, 0x1000) == "start"
    assert name_at(symbols, 0x104F) == "start"
    assert name_at(symbols, 0x1058) == "main"
    assert name_at(symbols, 0x1060) is None  # main ended; nothing starts here


def test_an_unsized_label_inside_of_a_function_is_not_its_padding() -> None:
    symbols = table([Entry("f", 0x1000, 0x20), Entry("label", 0x1010, kind=STT_NOTYPE)])
    assert name_at(symbols, 0x1018) == "f"
    assert name_at(symbols, 0x1024) is None


def test_an_unsized_label_ends_with_its_section() -> None:
    symbols = table([Entry("last", 0x2FF0, kind=STT_NOTYPE)])
    assert name_at(symbols, 0x2FFF) == "last"
    assert name_at(symbols, 0x3000) is None


def test_names_of_one_address_have_an_order() -> None:
    def best(*entries: Entry) -> str | None:
        return name_at(table(entries), 0x1004)

    weak = Entry("weak", 0x1000, 8, bind=STB_WEAK)
    strong = Entry("__strong", 0x1000, 8)
    local = Entry("local", 0x1000, 8, bind=STB_LOCAL)
    assert best(weak, strong, local) == "__strong"
    assert best(weak, local) == "weak"
    # glibc: malloc has three global names, and hidden ones for its own calls.
    assert best(
        Entry("__GI_malloc", 0x1000, 8),
        Entry("__libc_malloc", 0x1000, 8),
        Entry("malloc", 0x1000, 8),
    ) == "malloc"  # fmt: skip
    assert best(Entry("__GI_f", 0x1000, 8), Entry("____f", 0x1000, 8)) == "____f"
    assert best(Entry("first", 0x1000, 8), Entry("other", 0x1000, 8)) == "first"


def test_a_sized_name_wins_over_an_unsized_one_of_the_same_address() -> None:
    symbols = table([Entry("label", 0x1000, 0), Entry("sized", 0x1000, 8, bind=STB_LOCAL)])
    assert name_at(symbols, 0x1004) == "sized"
    assert name_at(symbols, 0x1008) is None


def test_versions_are_no_part_of_the_name() -> None:
    symbols = table([Entry("memcpy@@GLIBC_2.14", 0x1000, 8), Entry("@odd", 0x1010, 8)])
    assert name_at(symbols, 0x1000) == "memcpy"
    assert name_at(symbols, 0x1010) == "@odd"


@pytest.mark.parametrize(
    "entry",
    [
        Entry("data", 0x1000, 8, kind=STT_OBJECT),
        Entry("section", 0x1000, 8, kind=STT_SECTION),
        Entry("constant", 0x1000, 0, kind=STT_NOTYPE, section=SHN_ABS),
        Entry("$x", 0x1000, kind=STT_NOTYPE, bind=STB_LOCAL),
        Entry("$d.12", 0x1000, kind=STT_NOTYPE, bind=STB_LOCAL),
        Entry(".L4", 0x1000, kind=STT_NOTYPE, bind=STB_LOCAL),
        Entry("", 0x1000, 8),
    ],
    ids=lambda entry: entry.name.decode() or "unnamed",
)
def test_what_is_no_function_names_nothing(entry: Entry) -> None:
    assert name_at(table([entry]), 0x1000) is None
    # ... and does not stand between a function and its end.
    with_function = table([Entry("f", 0xFF0 + TEXT - 0x1000, 0x100), entry])
    assert name_at(with_function, 0x1004) == "f"


def test_mapping_symbols_do_not_end_a_label() -> None:
    marks = [Entry("$x", at, kind=STT_NOTYPE, bind=STB_LOCAL) for at in (0x1000, 0x1008)]
    symbols = table([Entry("_start", 0x1000, kind=STT_NOTYPE), *marks])
    assert name_at(symbols, 0x100C) == "_start"


def test_undefined_symbols_with_a_value_are_plt_entries_and_no_functions() -> None:
    assert name_at(table([Entry("puts", 0x1000, 16)], in_text=False), 0x1000) is None


def test_functions_that_are_chosen_at_load_time_count() -> None:
    assert name_at(table([Entry("memcpy", 0x1000, 8, kind=STT_GNU_IFUNC)]), 0x1000) == "memcpy"


def test_names_are_bounded_and_stay_inside_of_their_table() -> None:
    symbols = table([Entry("n" * 10_000, 0x1000, 8), Entry("lost", 0x1010, 8, name_offset=1 << 30)])
    assert name_at(symbols, 0x1000) == "n" * 4096
    assert name_at(symbols, 0x1010) is None


def test_sizes_and_addresses_that_wrap_around_are_harmless() -> None:
    top = (1 << 64) - 1
    symbols = table([Entry("huge", 0x1000, top), Entry("last", top, 0), Entry("end", top - 8, 16)])
    assert name_at(symbols, 0x1000) == "huge"
    assert name_at(symbols, 0xFFF) is None
    assert name_at(symbols, top) == "end"


def test_a_table_that_is_cut_gives_the_symbols_before_the_cut() -> None:
    data = bytes(24) + b"\x01\0\0\0\x12\0\x01\0" + (0x1000).to_bytes(8, "little") + bytes(7)
    symbols = SymbolTable(data, 0, len(data), (b"\0f\0", 0, 3), 2)
    assert len(symbols) == 1
    assert symbols.lookup(0x1000) is None
    assert SymbolTable(b"", 0, 0, (b"", 0, 0), 2).lookup(0) is None
    assert SymbolTable(data, 100, 10, (b"", 0, 0), 2).lookup(0) is None


functions = st.lists(
    st.tuples(
        st.integers(0x1000, 0x1040),
        st.sampled_from([0, 1, 4, 16, 64]),
        st.sampled_from([STB_LOCAL, STB_GLOBAL, STB_WEAK]),
        st.sampled_from([STT_FUNC, STT_OBJECT]),
    ),
    max_size=12,
)


@given(functions, st.integers(0xFF8, 0x1090))
def test_lookup_is_what_looking_at_every_symbol_gives(
    chosen: list[tuple[int, int, int, int]], address: int
) -> None:
    entries = [
        Entry(f"s{number}", value, size, bind=bind, kind=kind)
        for number, (value, size, bind, kind) in enumerate(chosen)
    ]
    code = [entry for entry in entries if entry.kind == STT_FUNC]
    covering = [e for e in code if e.value <= address < e.value + e.size]
    before = [e for e in code if e.value <= address]
    if covering:
        start = max(e.value for e in covering)
        expected = [e for e in covering if e.value == start]
    else:
        start = max((e.value for e in before), default=0)
        over = any(e.value + e.size > start for e in before if e.size)
        expected = [e for e in before if e.value == start and not e.size and not over]
    found = table(entries).lookup(address)
    if not expected:
        assert found is None
        return
    rank = {STB_GLOBAL: 0, STB_WEAK: 1, STB_LOCAL: 2}
    least = min(rank[e.bind] for e in expected)
    assert found is not None
    assert found.start == start
    assert found.name in {e.name.decode() for e in expected if rank[e.bind] == least}


@given(st.binary(max_size=400), st.sampled_from([1, 2]), st.integers(0, 1 << 64))
def test_random_bytes_raise_nothing(data: bytes, elf_class: int, address: int) -> None:
    half = len(data) // 2
    symbols = SymbolTable(data, 0, half, (data, half, len(data)), elf_class)
    found = symbols.lookup(address)
    assert found is None or found.start <= address


@pytest.mark.oracle
def test_real_tables_give_what_nm_lists(inlined: Path, tool: Tool) -> None:
    """Every function of nm's list is found at its start and at its last byte."""
    elf = open_elf(str(inlined))
    assert elf is not None
    symbols = ElfSymbols(elf)
    listed = [line.split() for line in tool("nm", "-S", "--defined-only", inlined).splitlines()]
    sized = [row for row in listed if len(row) == 4 and row[2] in "tTwW"]
    assert len(sized) >= 8
    for value, size, _, name in sized:
        for address in (int(value, 16), int(value, 16) + int(size, 16) - 1):
            found = symbols.lookup(address)
            assert found is not None
            assert (found.start, found.size) == (int(value, 16), int(size, 16)), name


@pytest.mark.oracle
def test_aliases_and_labels_of_a_real_program(inlined: Path) -> None:
    elf = open_elf(str(inlined))
    assert elf is not None
    symbols = ElfSymbols(elf)
    starts = {
        name: int(value, 16)
        for value, _, name in (
            line.split()
            for line in subprocess.run(
                ["nm", "--defined-only", inlined], capture_output=True, text=True, check=True
            ).stdout.splitlines()
        )
    }
    # Global names before weak and local ones, without underscores before those with.
    assert starts["plain"] == starts["weak_name"] == starts["__underscored"]
    found = symbols.lookup(starts["plain"])
    assert found is not None
    assert found.name == "plain"
    # Labels without a size: the one before it, as far as the next symbol.
    for name, offset in (("unsized", 0), ("unsized", 3), ("inner_label", 0), ("inner_label", 2)):
        found = symbols.lookup(starts[name] + offset)
        assert found is not None
        assert (found.name, found.start, found.size) == (name, starts[name], 0)


LIBRARIES = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    "/usr/lib32/libc.so.6",
    "/usr/aarch64-linux-gnu/lib/libc.so.6",
]


@pytest.mark.oracle
@pytest.mark.parametrize("path", LIBRARIES)
def test_real_libraries_give_what_elfutils_gives(path: str, tool: Tool) -> None:
    """At random addresses of the text, the same function start as `eu-addr2line -S`.

    Names can be other aliases of it. One difference is wanted: elfutils takes the mapping
    symbols of ARM ("$x", "$d") for functions.
    """
    elf = open_elf(path)
    if elf is None:
        pytest.skip(f"no {path}")
    text = elf.section(".text")
    assert text is not None
    chance = random.Random(1)
    addresses = [chance.randrange(text.address, text.address + text.size) for _ in range(800)]
    from unspool.model import Module
    from unspool.symbols.finders import DebugFiles

    module = Module(0, "x", 0, 1 << 40, file=path, path=path, code_id=elf.build_id())
    debug = DebugFiles().find(module, elf)
    symbols = ElfSymbols(elf, debug.elf if debug else None)
    lines = tool("eu-addr2line", "-S", "-e", path, *map(hex, addresses)).splitlines()[::2]
    assert len(lines) == len(addresses)
    named = 0
    for address, line in zip(addresses, lines, strict=True):
        found = symbols.lookup(address)
        name, _, offset = line.partition("+0x")
        if name in ("()", "??", "") or name.startswith("$"):
            assert found is None
            continue
        named += 1
        assert found is not None, f"{address:#x} is in {line}"
        assert found.start == address - int(offset or "0", 16), line
    assert named > 100
