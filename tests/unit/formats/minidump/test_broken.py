"""The reader on hostile bytes: records that hold, a list of problems, and soon.

`tests/fuzz` changes honest dumps at random; here are streams of any bytes, and files that are
made to be expensive.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import minidump_records as r
from tests.conftest import examples
from tests.fuzz.harness import within
from unspool.errors import FormatError
from unspool.formats.minidump import dump_bytes, lists, streams
from unspool.formats.minidump.contexts import parse_context
from unspool.formats.minidump.reader import Minidump

SECONDS = 10
SMALL = st.integers(0, 400)
NUMBERS = st.sampled_from([0, 1, 4, 8, 12, 0x7FFFFFFF, 0xFFFFFFFF]) | SMALL
TYPES = st.sampled_from(list(streams.STREAMS))


def dump_of(entries: Iterable[tuple[int, int, int]], body: bytes, lead: int = 0) -> bytes:
    """A header, a directory of (type, size, RVA) and bytes. RVAs are from the body on."""
    rows = list(entries)
    start = r.HEADER.size + r.DIRECTORY.size * len(rows) + lead
    directory = b"".join(
        struct.pack("<III", type_, size & 0xFFFFFFFF, min(start + rva, 0xFFFFFFFF))
        for type_, size, rva in rows
    )
    header = r.HEADER.pack(
        Signature=0x504D444D, Version=0xA793, NumberOfStreams=len(rows), StreamDirectoryRva=32
    )
    return header + directory + bytes(lead) + body


def check(data: bytes) -> Minidump:
    """Reads everything: places lie in the file, and there are no more records than bytes."""
    with within(SECONDS):
        dump = Minidump(data)
        problems = dump.read_all()
        assert len(problems) <= dump_bytes.MAX_PROBLEMS + 1
        size, end = len(data), 0
        for each in dump.memory():
            assert each.size > 0
            assert end <= each.start
            assert 0 <= each.rva <= each.rva + each.size <= size
            end = each.end
        assert end <= 1 << 64
        exception, system = dump.exception(), dump.system()
        places = [thread.context for thread in dump.threads()]
        if exception is not None:
            places.append(exception.context)
        for place in places:
            if place is not None:
                rva, length = place
                assert length > 0
                assert rva + length <= size
                try_context(data[rva : rva + length], system and system.processor_architecture)
        for thread in dump.threads():
            if thread.stack is not None:
                assert thread.stack.rva + thread.stack.size <= size
        for table in dump.function_tables():
            assert table.rva + table.count * table.entry_size <= size
        for type_ in streams.STREAMS:
            dump.values(type_), dump.text(type_)
        dump.breakpad()
    return dump


def try_context(data: bytes, processor: int | None) -> None:
    try:
        parse_context(data, processor)
    except FormatError:
        return


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_signature(data: bytes) -> None:
    try:
        check(b"MDMP" + data)
    except FormatError as error:
        assert str(error) == "minidump header: cut short"


@settings(max_examples=examples(300))
@given(
    st.lists(st.tuples(TYPES, NUMBERS, SMALL), max_size=8),
    st.lists(NUMBERS | st.integers(0, 0xFFFFFFFF), max_size=150),
)
def test_streams_of_any_numbers(entries: list[tuple[int, int, int]], words: list[int]) -> None:
    check(dump_of(entries, struct.pack(f"<{len(words)}I", *words)))


@settings(max_examples=examples(300))
@given(TYPES, st.data())
def test_a_list_of_any_entries(number: int, data: st.DataObject) -> None:
    """Counts and sizes near to what there is, so that entries are read."""
    kind = streams.stream_type(number)
    entry = kind.entry.size if kind.entry is not None else 4
    count = data.draw(st.integers(0, 5))
    header = b"" if kind.header is None else data.draw(st.just(bytes(kind.header.size)))
    body = bytearray(header + data.draw(st.binary(min_size=count * entry, max_size=count * entry)))
    values = [count, len(header), entry, data.draw(NUMBERS)]
    for offset in range(0, min(len(header), 24), 4):
        value = data.draw(st.sampled_from(values))
        struct.pack_into("<I", body, offset, value) if offset + 4 <= len(body) else None
    check(dump_of([(number, len(body), 0)], bytes(body) + bytes(400)))


@pytest.mark.parametrize("number", list(streams.STREAMS))
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\1\0\0\0", b"\x20\0\0\0"])
def test_a_stream_of_one_pattern(number: int, fill: bytes) -> None:
    body = fill * (4096 // len(fill))
    for size in (0, 1, 3, 4, 5, 8, 12, 16, 24, 100, 4095, 4096, 0xFFFFFFFF):
        check(dump_of([(number, size, 0)], body))


def test_modules_whose_strings_share_bytes_cannot_fill_the_memory() -> None:
    """4,000 names of 64 KB each in a file of 600 KB."""
    count = 4000
    text = struct.pack("<I", 0xFFFF) * 40_000
    start = r.HEADER.size + r.DIRECTORY.size
    records = b"".join(
        r.MODULE.pack(BaseOfImage=n, ModuleNameRva=start + 4 * n) for n in range(count)
    )
    body = text + struct.pack("<I", count) + records
    dump = check(dump_of([(streams.MODULE_LIST, 4 + len(records), len(text))], body))
    names = [each.name for each in dump.modules()]
    assert len(names) == count
    assert 0 < sum(map(len, names)) <= len(body) + (2 << 20)


def test_lists_of_crashpad_that_lead_to_the_same_lists() -> None:
    """Each of 20,000 modules has the same 20,000 annotations."""
    count = 20_000
    start = r.HEADER.size + r.DIRECTORY.size
    info = r.CRASHPAD.pack(
        Version=1, SimpleAnnotations_DataSize=0xFFFFFF, SimpleAnnotations_Rva=start + 92,
        ModuleList_DataSize=0xFFFFFF, ModuleList_Rva=start + 92,
    )  # fmt: skip
    module = r.CRASHPAD_MODULE.pack(
        Version=1, SimpleAnnotations_DataSize=0xFFFFFF, SimpleAnnotations_Rva=start + 92,
        ListAnnotations_DataSize=0xFFFFFF, ListAnnotations_Rva=start + 92,
        AnnotationObjects_DataSize=0xFFFFFF, AnnotationObjects_Rva=start + 92,
    )  # fmt: skip
    links = struct.pack("<I", count) + struct.pack("<III", 0, 28, start + 64) * count
    dump = check(dump_of([(streams.CRASHPAD_INFO, 64, 0)], info + module + links))
    assert dump.crashpad() is not None


def test_handles_that_share_one_name() -> None:
    count = 20_000
    text = struct.pack("<I", 60_000) + b"a\0" * 30_000
    start = r.HEADER.size + r.DIRECTORY.size
    record = r.HANDLE.pack(TypeNameRva=start, ObjectNameRva=start)
    body = struct.pack("<IIII", 16, 32, count, 0) + record * count
    data = dump_of([(streams.HANDLE_DATA, len(body), len(text))], text + body)
    handles = check(data).handles()
    assert len(handles) == count
    assert all(each.name is handles[0].name for each in handles)


def test_ten_thousand_streams_that_share_their_bytes() -> None:
    count = 20_000
    dump = check(dump_of([(streams.MODULE_LIST + n, 64, n) for n in range(count)], bytes(count)))
    assert len(dump.streams) == 10_000
    assert dump.problems[-1].what == "more is wrong than is told here"


def test_ranges_that_all_overlap() -> None:
    count = 50_000
    records = b"".join(
        r.MEMORY.pack(StartOfMemoryRange=n, DataSize=count, Rva=32) for n in range(count)
    )
    body = struct.pack("<I", count) + records
    dump = check(dump_of([(streams.MEMORY_LIST, len(body), 0)], body))
    assert sum(each.size for each in dump.memory()) == 2 * count - 1


def test_threads_whose_stacks_are_to_be_found() -> None:
    count = 50_000
    thread = r.THREAD.pack(Stack_Start=5, Stack_DataSize=1 << 31, Context_DataSize=4, Context_Rva=4)
    body = struct.pack("<I", count) + thread * count
    memory = struct.pack("<I", 1) + r.MEMORY.pack(StartOfMemoryRange=0, DataSize=1 << 31, Rva=1)
    entries = [(streams.THREAD_LIST, len(body), 0), (streams.MEMORY_LIST, 20, len(body))]
    dump = check(dump_of(entries, body + memory))
    assert len(dump.threads()) == count
    assert len(dump.memory()) == 1


def test_more_entries_than_anything_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_ENTRIES", 100)
    body = struct.pack("<QQ", 1 << 63, 32) + r.MEMORY64.pack(DataSize=0) * 200
    dump = check(dump_of([(streams.MEMORY64_LIST, len(body), 0)], body))
    entries = dump.entries(streams.MEMORY64_LIST)
    assert entries is not None
    assert entries.count == 100
    assert "claims 9223372036854775808 entries, holds 100" in str(dump.problems[0])


def test_a_huge_claim_in_a_small_file() -> None:
    """4 GB of everything in a kilobyte."""
    body = struct.pack("<I", 0xFFFFFFFF) * 200
    dump = check(dump_of([(number, 0xFFFFFFFF, 0) for number in streams.STREAMS], body))
    assert dump.problems
