"""Anatomies of dumps that are cut, lie, or are real."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import dumps
from tests.build import minidump_records as r
from tests.build.minidump import List, Minidump
from tests.conftest import CORPUS, Corpus, examples
from tests.unit.analyses.trees import check, child, everything, find
from unspool.analyses.anatomy import Anatomy, dissect
from unspool.errors import FormatError
from unspool.render import inspect_json, inspect_text

REAL = sorted(path.name.removesuffix(".zst") for path in CORPUS.glob("*.dmp.zst"))


def said(anatomy: Anatomy) -> list[str]:
    return [f"{problem.where}: {problem.what}" for problem in anatomy.problems]


def of(change: Callable[[Minidump], object]) -> Anatomy:
    dump = Minidump()
    dump.thread(7, {"rip": 1}, (0x1000, bytes(range(32))))
    change(dump)
    anatomy = dissect(dump.build())
    check(anatomy)
    return anatomy


@pytest.mark.parametrize("name", REAL or ["hostile__invalid-range.dmp"])
def test_real_dumps(corpus: Corpus, name: str) -> None:
    data = corpus(name)
    anatomy = dissect(data)
    count = check(anatomy)
    assert anatomy.complete == (not name.startswith("hostile"))
    if anatomy.complete:
        assert count < len(data) / 8
        assert not [node for node in everything(anatomy.nodes) if node.problem]
    shown = "".join(inspect_text.lines(anatomy, data, name=name, whole=True))
    for entry in anatomy.streams:
        assert entry.name in shown


def test_a_dump_cut_anywhere_says_so() -> None:
    data = dumps.crash()
    refused = 0
    for size in [*range(300), *range(300, len(data), 11)]:
        try:
            anatomy = dissect(data[:size])
        except FormatError:
            refused += 1
            continue
        check(anatomy)
        assert anatomy.problems, size
    assert refused == 32


def test_a_memory_list_of_a_cut_dump_keeps_what_is_there() -> None:
    dump = Minidump()
    dump.memory(0x1000, bytes(100))
    dump.memory(0x2000, bytes(range(100)))
    data = dump.build()
    anatomy = dissect(data[:-40])
    check(anatomy)
    assert said(anatomy) == [
        f"memory range 1: 100 bytes at 0x{len(data) - 100:x}, of which the file has 60"
    ]
    node = find(anatomy, "memory range 1")
    assert (node.size, node.value) == (60, "0x2000–0x2064")
    entry = child(find(anatomy, "MemoryListStream"), "MemoryRanges[1]")
    assert child(entry, "Memory.Rva").problem is not None


def test_ranges_of_a_full_dump_that_are_not_there() -> None:
    dump = Minidump(memory="64")
    for number in range(4):
        dump.memory(number << 12, bytes(100))
    anatomy = dissect(dump.build()[:-250])
    check(anatomy)
    assert said(anatomy)[1:] == ["Memory64ListStream: 2 ranges beyond the file's end"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda dump: dump.lists.update({r.THREAD_LIST: List(count=1 << 31)}),
         "ThreadListStream: says 2,147,483,648 entries, has room for 1"),
        (lambda dump: dump.thread(8, {"rip": 2}, Context_Rva=0xFFFF0000),
         "context of thread 1: 1,232 bytes at 0xffff0000 are beyond the file's end"),
        (lambda dump: dump.thread(8, context=bytes(1232)),
         "context of thread 1: flags 0x0 are not of this processor"),
        (lambda dump: dump.thread(8, None, (0x9000, bytes(8)), listed=False, Stack_Rva=0),
         "stack of thread 1: its 8 bytes are not in the file"),
        (lambda dump: dump.module(1, 1, r.string(b"", length=1 << 31)),
         "name of module 0: a string of 2,147,483,648 bytes at"),
        (lambda dump: dump.module(1, 1, "a", ModuleNameRva=64),
         "name of module 0 at 0x40: overlaps directory"),
        (lambda dump: dump.stream(r.THREAD_LIST, bytes(4)), "ThreadListStream: is there more than"),
        (lambda dump: dump.stream(r.MODULE_LIST, bytes(2)),
         "ModuleListStream: 2 bytes are less than its header has"),
        (lambda dump: dump.stream(r.EXCEPTION, bytes(100)),
         "ExceptionStream: 100 bytes are less than MINIDUMP_EXCEPTION_STREAM has (168)"),
        (lambda dump: dump.exception(7, 11, NumberParameters=99),
         "ExceptionStream: says 99 parameters, has room for 15"),
        (lambda dump: dump.stream(r.MEMORY_INFO_LIST, struct.pack("<IIQ", 99, 48, 0)),
         "MemoryInfoListStream: a header of 99 bytes, not 16"),
        (lambda dump: dump.stream(r.MEMORY_INFO_LIST, struct.pack("<IIQ", 16, 0, 0)),
         "MemoryInfoListStream: entries of 0 bytes, not 48"),
        (lambda dump: dump.memory(0x1008, bytes(8)),
         "memory range 1: has other bytes for addresses from 0x1008 than stack of thread 0"),
        (lambda dump: dump.extra_entries.append((0x99, 64, 0)), "header at 0x0: lies within 0x99"),
        (lambda dump: dump.dso_debug([(1, "/x", 2)], DsoCount=1 << 20),
         "link maps of LinuxDsoDebug: 25,165,824 bytes at"),
        (lambda dump: dump.stream(r.FUNCTION_TABLE, struct.pack("<6I", 24, 32, 0, 12, 9, 0)),
         "FunctionTableStream: says 9 tables, has room for 0"),
        (lambda dump: dump.stream(19, struct.pack("<4I", 16, 9, 16, 16)),
         "TokenStream: says 9 tokens, has room for 0"),
    ],
)  # fmt: skip
def test_a_lie_is_told(change: Callable[[Minidump], object], expected: str) -> None:
    problems = said(of(change))
    assert any(line.startswith(expected) for line in problems), problems


def test_a_lie_about_the_directory_is_told() -> None:
    for lies in ({"NumberOfStreams": 1 << 30}, {"StreamDirectoryRva": 1 << 30},
                 {"NumberOfStreams": 0}, {"Version": 5}):  # fmt: skip
        dump = Minidump(**lies)
        anatomy = dissect(dump.build())
        check(anatomy)
        assert anatomy.problems


def test_a_stack_without_a_place_is_found_among_the_memory() -> None:
    dump = Minidump()
    dump.thread(7, {"rip": 1}, (0x1000, bytes(range(32))), Stack_Rva=0)
    anatomy = dissect(dump.build())
    check(anatomy)
    assert anatomy.complete
    thread = child(find(anatomy, "ThreadListStream"), "Threads[0]")
    assert anatomy.at(child(thread, "Stack.Memory.Rva").target) is find(anatomy, "memory range 0")


def test_memory_within_memory_is_no_lie() -> None:
    dump = Minidump()
    block = dump.memory(0x1000, bytes(range(64)))
    dump.build()
    dump.memory(0x1010, b"", StartOfMemoryRange=0x1010, DataSize=16, Rva=block.rva + 32)
    data = dump.build()
    dump.blocks[1].lies = {"StartOfMemoryRange": 0x1010, "DataSize": 16, "Rva": block.rva + 16}
    data = dump.build()
    anatomy = dissect(data)
    check(anatomy)
    assert anatomy.complete
    assert find(anatomy, "memory range 1").meaning == "part of memory range 0"


def test_padding_behind_a_count_is_known() -> None:
    dump = Minidump()
    dump.thread(7, {"rip": 1})
    dump.lists[r.THREAD_LIST] = List(padding=4)
    anatomy = dissect(dump.build())
    check(anatomy)
    assert anatomy.complete
    names = [node.name for node in find(anatomy, "ThreadListStream").children]
    assert names == ["NumberOfThreads", "padding", "Threads[0]"]


# --- what a lie may cost --------------------------------------------------------------


def many_streams(data: bytes, count: int, kind: int) -> bytes:
    """Directory entries that share all bytes, each from another offset on."""
    head = 32 + 12 * count
    size = head + len(data)
    entries = b"".join(
        struct.pack("<III", kind, size - head - n, head + n) for n in range(count)
    )
    return struct.pack("<4sIIIIIQ", b"MDMP", 0xA793, count, 32, 0, 0, 0) + entries + data


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (r.THREAD_LIST, struct.pack("<I", 200) + bytes(range(240)) * 40),
        (r.MODULE_LIST, struct.pack("<I", 90) + b"\x20\1\0\0" * 2430),
        (r.MEMORY_LIST, struct.pack("<I", 600) + b"\x20\1\0\0" * 2400),
        (r.LINUX_MAPS, b"\n" * 10_000),
        (r.LINUX_AUXV, bytes(10_000)),
        (r.HANDLE_DATA, struct.pack("<IIII", 16, 8, 1000, 0) + bytes(8_000)),
        (r.CRASHPAD_INFO, bytes(range(64)) * 100),
    ],
)
def test_nodes_are_bounded_by_the_files_size(kind: int, data: bytes) -> None:
    dump = many_streams(data, 500, kind)
    anatomy = dissect(dump)
    assert check(anatomy) < 3 * len(dump) + (1 << 17)
    assert anatomy.problems


def test_a_dump_of_a_kilobyte_has_no_million_nodes() -> None:
    for kind in range(3, 25):
        data = many_streams(bytes(400), 50, kind)
        assert sum(1 for _ in everything(dissect(data).nodes)) < 70_000


def test_entries_that_are_left_out_are_counted() -> None:
    anatomy = dissect(many_streams(bytes(64_000), 16, r.LINUX_AUXV))
    omitted = [node for node in everything(anatomy.nodes) if node.type == "omitted"]
    assert omitted
    assert "structures are left out" in said(anatomy)[-1]


def test_problems_are_bounded() -> None:
    dump = Minidump()
    for number in range(1000):
        dump.thread(number, None, (number << 12, bytes(8)), listed=False, Stack_Rva=1 << 30)
    problems = said(dissect(dump.build()))
    assert len(problems) == 201
    assert problems[-1] == "the dump: 800 more problems"


def damaged(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    result = bytearray(data)
    for place, value in changes:
        struct.pack_into("<I", result, place % (len(result) - 3), value)
    return bytes(result)


numbers = st.sampled_from([0, 1, 4, 32, 0xFFFF, 1 << 31, (1 << 32) - 1]) | st.integers(0, 2000)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.sampled_from(sorted(dumps.ALL)),
    st.lists(st.tuples(st.integers(0, 1 << 16), numbers), max_size=8),
    st.integers(0, 400),
)
def test_any_damage_gives_an_anatomy(name: str, changes: list[tuple[int, int]], cut: int) -> None:
    data = damaged(dumps.ALL[name](), changes)
    data = data[: len(data) - cut]
    try:
        anatomy = dissect(data)
    except FormatError:
        return
    check(anatomy)
    assert sum(map(len, inspect_text.lines(anatomy, data, name="a"))) < 1 << 22
    assert sum(map(len, inspect_text.lines(anatomy, data, name="a", hexadecimal=True))) < 1 << 22
    assert sum(map(len, inspect_json.chunks(anatomy, name="a"))) < 1 << 24
