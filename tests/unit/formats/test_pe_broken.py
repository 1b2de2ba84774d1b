"""The PE readers on broken input: a value or a `FormatError`, and soon."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.build.pe import (
    AMD64,
    I386,
    STATIC,
    WINE_BUILTIN,
    CodeView,
    Export,
    Exports,
    Section,
    Symbol,
    image,
)
from tests.conftest import examples
from tests.fuzz.harness import within
from tests.fuzz.mutants import Mutant, patched, rearranged
from tests.wine.install import libraries
from unspool.errors import FormatError
from unspool.formats.pe import DEBUG, EXPORT, Pe, is_pe
from unspool.formats.pe_exports import exports

from .pe_names import functions

SECONDS = 5
PROBES = [0, 1, 0x10, 0x3FF, 0xFFF, *range(0x1000, 0x9000, 0x333), 0x7FFFFFFF, 0xFFFFFFFF, -1]


@cache
def built(machine: int, mapped: bool) -> bytes:
    text = Section(".text", b"\x90" * 0x345, "rx")
    parts = [
        text,
        Section(".data", b"d" * 20, "rw", virtual_size=0x1345),
        Section(".bss", b"", "rwb", virtual_size=0x100),
        Section(".debug_info", b"dwarf", "r-"),
    ]
    entries = [Export(None, 0x1030), Export("fw", forward="A.B"), ("abc", 0x1020), ("d", 0x1010)]
    symbols = [
        Symbol(".file", 0, -2, kind=0, storage=103, auxiliary=[b"a.c"]),
        Symbol("_short", 0, text),
        Symbol("_a_long_name@8", 16, text, storage=STATIC),
        Symbol("_another_long_name", 0x20, text, kind=0),
    ]
    made = image(
        machine, parts, exports=Exports("my.dll", entries, base=3), symbols=symbols,
        codeview=CodeView("c:\\out\\a.pdb"), functions=[(0x1000, 0x1040, 0x2000)],
        stub=WINE_BUILTIN,
    )  # fmt: skip
    return made.memory() if mapped else made.file()


def read_everything(data: bytes, *, mapped: bool = False, base: int = 0) -> None:
    """All that the readers offer; what they answer must lie in the data."""
    is_pe(data)
    try:
        file = Pe(data, mapped=mapped, base_offset=base)
    except FormatError:
        return
    assert len(file.code_id) >= 9
    assert isinstance(file.is_dll and file.is_wine_builtin and file.is_wine_placeholder, bool)
    for section in file.sections:
        assert len(section.name) <= 256
        file.section(".nowhere")
        file.located(section.rva)
    for rva in [*PROBES, *(section.rva for section in file.sections[:20])]:
        found = file.located(rva)
        if found is not None:
            buffer, start, end = found
            assert buffer is data
            assert 0 <= start < end <= len(data)
            assert file.read(rva, 1) == data[start : start + 1]
        with suppress(FormatError):
            assert len(file.read(rva, 16)) == 16
    record = file.codeview()
    assert record is None or (len(record.debug_id) >= 36 and len(record.store_id) >= 33)
    for index in range(17):
        file.directory(index)
    directory = file.directory(EXPORT)
    if directory is not None:
        with suppress(FormatError):
            for export in exports(file.read, directory)[1]:
                assert export.rva
    names = functions(file)
    assert names == sorted(names)
    assert all(name for _, name in names)


def places(data: bytes) -> list[range]:
    """Everywhere, and above all the headers and the tables."""
    found = [range(len(data)), range(0x40), range(0x80, 0x98), range(0x98, 0x188)]
    file = Pe(data) if b"_a_long_name" in data else Pe(data, mapped=True)
    found.append(range(0x188, 0x188 + 40 * len(file.sections)))
    for index in (EXPORT, DEBUG):
        directory = file.directory(index)
        located = file.located(directory[0]) if directory else None
        assert located is not None
        found.append(range(located[1], located[2]))
    table = file.coff_symbols()
    if table is not None:
        found += [range(table[0], table[2]), range(table[2], len(data))]
    return found


arguments = st.tuples(st.sampled_from([AMD64, I386]), st.booleans())
mutants = patched(built, arguments, places) | rearranged(built, arguments, places)


@settings(max_examples=examples(300), suppress_health_check=list(HealthCheck))
@given(mutants, st.booleans())
def test_mutants(mutant: Mutant, mapped: bool) -> None:
    with within(SECONDS):
        read_everything(mutant.build(), mapped=mapped)


@pytest.mark.parametrize("value", [0, 0xFF, None], ids=["zero", "ones", "flip"])
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("machine", [AMD64, I386])
def test_every_byte_of_headers_and_tables(machine: int, mapped: bool, value: int | None) -> None:
    whole = built(machine, mapped)
    spots = {at for spot in places(whole)[1:] for at in spot}
    with within(60):
        for at in sorted(spots):
            data = bytearray(whole)
            data[at] = data[at] ^ (1 << at % 8) if value is None else value
            read_everything(bytes(data), mapped=mapped)


@pytest.mark.parametrize("mapped", [False, True])
def test_every_length(mapped: bool) -> None:
    whole = built(AMD64, mapped)
    with within(60):
        for size in [*range(0x400), *range(0x400, len(whole), 61)]:
            read_everything(whole[:size], mapped=mapped)


@given(st.binary(max_size=600), st.integers(0, 700), st.sampled_from([b"\x0b\x01", b"\x0b\x02"]))
def test_random_bytes_behind_the_magics(rest: bytes, at: int, magic: bytes) -> None:
    data = bytearray((b"MZ" + rest).ljust(64, b"\0"))
    data[60:64] = at.to_bytes(4, "little")
    data[at : at + 4] = b"PE\0\0"
    data[at + 24 : at + 26] = magic
    with within(SECONDS):
        read_everything(bytes(data))
        read_everything(bytes(data), mapped=True)


@given(st.binary(max_size=300), st.integers(-5, 1 << 70))
def test_random_bytes(data: bytes, base: int) -> None:
    with within(SECONDS):
        read_everything(data)
        read_everything(b"MZ" + data, base=base)


@pytest.mark.parametrize("machine", ["x86_64", "i686"])
def test_flipped_bytes_of_real_files(machine: str) -> None:
    whole = (libraries(machine) / "uxtheme.dll").read_bytes()
    file = Pe(whole)
    located = file.located((file.directory(EXPORT) or (0, 0))[0])
    table = file.coff_symbols()
    assert located is not None
    assert table is not None
    spots = [range(0x400), range(*located[1:]), range(table[0], len(whole))]
    generator = random.Random(7)
    with within(120):
        for _ in range(examples(60)):
            data = bytearray(whole)
            for _ in range(generator.randrange(1, 6)):
                data[generator.choice(generator.choice(spots))] = generator.randrange(256)
            read_everything(bytes(data))
