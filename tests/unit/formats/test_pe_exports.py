"""Export tables: honest, cut, out of order, lying."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from tests.build.pe import AMD64, I386, Export, Exports, Section, image
from tests.fuzz.harness import within
from unspool.errors import FormatError
from unspool.formats.pe import EXPORT, Pe
from unspool.formats.pe_exports import exports
from unspool.memory import Fault

Row = tuple[str | None, int, int]
RVA = 0x5000


def rows(table: Exports, *, size: int | None = None) -> tuple[str | None, list[Row]]:
    """What is read of a table that is an image of its own at `RVA`."""
    data = table.build(RVA)
    dll, found = exports(reader(data), (RVA, len(data) if size is None else size))
    return dll, [(each.name, each.ordinal, each.rva) for each in found]


def reader(data: bytes, start: int = RVA) -> Callable[[int, int], bytes]:
    def read(rva: int, size: int) -> bytes:
        if not 0 <= rva - start <= len(data) - size or size < 0:
            raise FormatError(f"RVA 0x{rva:x}", "not here")
        return data[rva - start : rva - start + size]

    return read


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("machine", [AMD64, I386])
def test_exports_of_an_image(machine: int, mapped: bool) -> None:
    made = image(
        machine,
        [Section(".text", b"\x90" * 0x100, "rx")],
        exports=Exports("my.dll", [("zed", 0x1010), ("abc", 0x1020)], base=5),
    )
    file = Pe(made.memory() if mapped else made.file(), mapped=mapped)
    directory = file.directory(EXPORT)
    assert directory is not None
    dll, found = exports(file.read, directory)
    assert dll == "my.dll"
    assert [(each.name, each.ordinal, each.rva) for each in found] == [
        ("zed", 5, 0x1010), ("abc", 6, 0x1020),
    ]  # fmt: skip


@pytest.mark.parametrize("ordered", [False, True])
def test_every_kind_of_export(ordered: bool) -> None:
    table = Exports(
        "my.dll",
        [
            ("zed", 0x1010),
            Export(None, 0x1030),
            Export("away", forward="NTDLL.RtlAway"),
            ("abc", 0x1020),
            Export("alias", ordinal=10),
            Export("far", 0x2000, ordinal=20),
        ],
        base=10,
        ordered=ordered,
    )
    dll, found = rows(table)
    assert dll == "my.dll"
    assert sorted(found, key=lambda row: (row[1], row[0] or "")) == [
        ("alias", 10, 0x1010), ("zed", 10, 0x1010), (None, 11, 0x1030), ("abc", 13, 0x1020),
        ("far", 20, 0x2000),
    ]  # fmt: skip
    assert [row[1] for row in found] == sorted(row[1] for row in found)


def test_a_table_of_nothing() -> None:
    assert rows(Exports("", [])) == (None, [])
    assert rows(Exports("x.dll", [Export(None, 0x10)])) == ("x.dll", [(None, 1, 0x10)])


def test_names_are_bytes_of_any_kind() -> None:
    names = ["?foo@@YAXXZ", "bar@8", "@fast@8", "\xe4\xff", " "]
    _, found = rows(Exports("m.dll", [(name, 0x1000 + i) for i, name in enumerate(names)]))
    assert [row[0] for row in found] == names


def test_names_may_lie_outside_of_the_directory() -> None:
    # As where a linker merges the texts of all tables into .rdata.
    many = [(f"name_{'x' * (i % 90)}_{i}", 0x1000 + i) for i in range(300)]
    table = Exports("my.dll", many)
    assert rows(table, size=40) == rows(table)
    assert len(rows(table)[1]) == 300


@pytest.mark.parametrize("size", [0, 1, 39, 40, 41, 50, 0x1000, 0xFFFFFFFF])
def test_the_directorys_size_tells_forwarders_and_nothing_else(size: int) -> None:
    table = Exports("my.dll", [("f", 0x1000), ("g", RVA + 0x1000), ("h", RVA + 41)])
    expected = [("f", 1, 0x1000), ("g", 2, RVA + 0x1000), ("h", 3, RVA + 41)]
    kept = [row for row in expected if not RVA <= row[2] < RVA + size]
    assert rows(table, size=size) == ("my.dll", kept)


@pytest.mark.parametrize("kind", [FormatError, Fault])
def test_pages_that_are_absent(kind: type[Exception]) -> None:
    table = Exports("my.dll", [(f"function_{i:04}", 0x100000 + i) for i in range(1000)])
    data = table.build(RVA)

    def read(rva: int, size: int) -> bytes:
        last = rva + max(size, 1) - 1
        if any(page in absent for page in range(rva >> 12, (last >> 12) + 1)):
            raise Fault(rva, size) if kind is Fault else FormatError("page", "absent")
        return reader(data)(rva, size)

    absent = {(RVA + 40 + 4000 + 4000 + 2000 + 7) + 0x1000 >> 12}
    dll, found = exports(read, (RVA, len(data)))
    assert dll == "my.dll"
    assert len(found) == 1000
    assert 100 < sum(each.name is None for each in found) < 500
    assert all(each.name in (None, f"function_{i:04}") for i, each in enumerate(found))
    absent = {RVA + 6000 >> 12}  # the names' addresses
    assert [each.name for each in exports(read, (RVA, len(data)))[1]] == [None] * 1000
    absent = {RVA >> 12}
    with pytest.raises(kind):
        exports(read, (RVA, len(data)))


@pytest.mark.parametrize("size", range(40))
def test_a_header_that_is_cut(size: int) -> None:
    data = Exports("my.dll", [("f", 0x1000)]).build(RVA)[:size]
    with pytest.raises(FormatError):
        exports(reader(data), (RVA, size))


def test_fields_that_lie() -> None:
    entries = [("f", 0x1000), ("g", 0x1010)]
    plain: list[Row] = [("f", 1, 0x1000), ("g", 2, 0x1010)]
    nameless: list[Row] = [(None, 1, 0x1000), (None, 2, 0x1010)]
    for lies, dll, expected in (
        ({"Name": 0}, None, plain),
        ({"Name": 0xFFFFFFFF}, None, plain),
        ({"Base": 0xFFFF}, "m.dll", [("f", 0xFFFF, 0x1000), ("g", 0x10000, 0x1010)]),
        ({"NumberOfNames": 0}, "m.dll", nameless),
        ({"NumberOfNames": 1}, "m.dll", [("f", 1, 0x1000), (None, 2, 0x1010)]),
        ({"NumberOfNames": 0xFFFFFFFF}, "m.dll", nameless),
        ({"NumberOfFunctions": 1}, "m.dll", plain[:1]),
        ({"NumberOfFunctions": 0}, "m.dll", []),
        ({"AddressOfNames": 0xFFFFFFF0}, "m.dll", nameless),
        ({"AddressOfNameOrdinals": 3}, "m.dll", nameless),
    ):
        assert rows(Exports("m.dll", entries, **lies)) == (dll, expected), lies
    for lies in ({"NumberOfFunctions": 0xFFFFFFFF}, {"AddressOfFunctions": 0}):
        with pytest.raises(FormatError):
            rows(Exports("m.dll", entries, **lies))


def test_an_address_of_0_is_no_name() -> None:
    # At RVA 0 there is a text: "MZ" and what follows it.
    table = Exports("m.dll", [("f", 0x1000)], Name=0)
    file = Pe(image(AMD64, exports=table).file())
    assert exports(file.read, file.directory(EXPORT) or (0, 0))[0] is None


def test_counts_that_lie_are_not_believed_where_memory_has_everything() -> None:
    lies = {"NumberOfFunctions": 0xFFFFFFFF, "NumberOfNames": 0xFFFFFFFF}
    data = Exports("m.dll", [("f", 0x1000)], **lies).build(RVA)

    def read(rva: int, size: int) -> bytes:
        assert size <= 32 << 20
        return data[rva - RVA :][:size].ljust(size, b"n") if rva >= RVA else b"n" * size

    for length in (40, len(data), 0xFFFFFFFF):
        with within(10):
            dll, found = exports(read, (RVA, length))
        assert dll == "m.dll"
        assert len(found) <= 2 << 16  # each function, and each name


def test_indexes_beyond_the_functions_name_nothing() -> None:
    table = Exports("m.dll", [("f", 0x1000), ("g", 0x1010), ("h", 0x1020)], NumberOfFunctions=2)
    assert rows(table)[1] == [("f", 1, 0x1000), ("g", 2, 0x1010)]


def test_a_name_without_an_end_is_none() -> None:
    data = Exports("m.dll", [("f" * 5000, 0x1000), ("g", 0x1010)]).build(RVA)
    _, found = exports(reader(data), (RVA, len(data)))
    assert [each.name for each in found] == [None, "g"]
    _, found = exports(reader(data[:-1]), (RVA, len(data) - 1))
    assert [each.name for each in found] == [None, None]


def overlapping(count: int, length: int) -> bytes:
    """Names that are the ends of one another: a text of `length`, from every byte on."""
    functions = RVA + 40
    names = functions + 4 * count
    ordinals = names + 4 * count
    text = ordinals + 2 * count
    raw = struct.pack("<12xIIIIIII", text, 1, count, count, functions, names, ordinals)
    raw += struct.pack("<I", 0x1000) * count
    raw += b"".join(struct.pack("<I", text + i % length) for i in range(count))
    raw += b"".join(struct.pack("<H", i) for i in range(count))
    return raw + b"n" * length + b"\0"


@pytest.mark.parametrize("size", [40, None])
def test_as_many_as_there_can_be_take_seconds_at_most(size: int | None) -> None:
    data = overlapping(65_536, 4095)
    with within(5):
        _, found = exports(reader(data), (RVA, len(data) if size is None else size))
    assert len(found) == 65_536
    assert found[0].name == "n" * 4095
    assert sum(len(each.name or "") for each in found) < 40 << 20


def test_an_honest_large_table_is_read_whole() -> None:
    generator = random.Random(1)
    names = [f"_ZN{i:06}{'x' * generator.randrange(90)}Ev" for i in range(65_536)]
    table = Exports("big.dll", [(name, 0x1000000 + 16 * i) for i, name in enumerate(names)], base=0)
    with within(5):
        _, found = rows(table)
    assert [row[0] for row in found] == names
