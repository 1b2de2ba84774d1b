"""Every stream of a minidump lies in every way: it costs itself, and the rest is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.build import minidump_records as r
from tests.build.minidump import List
from tests.fuzz.harness import examine, within
from tests.fuzz.minidump_seeds import KINDS, TIDS, honest, seed
from unspool.model import Report

SECONDS = 10
MAX32 = (1 << 32) - 1

# Streams whose loss costs threads, their frames, or modules.
THREADS = (r.THREAD_LIST, r.SYSTEM_INFO)
FRAMES = (*THREADS, r.MODULE_LIST, r.MEMORY_LIST, r.MEMORY64_LIST, r.MEMORY_INFO_LIST)
MODULES = (r.MODULE_LIST, r.SYSTEM_INFO)

LIES: dict[str, Callable[[int], dict[str, int]]] = {
    "beyond": lambda size: {"Rva": MAX32},
    "far-beyond": lambda size: {"Rva": MAX32, "DataSize": MAX32},
    "last-byte": lambda size: {"Rva": size - 1},
    "everything": lambda size: {"Rva": 0, "DataSize": size},
    "nothing": lambda size: {"DataSize": 0},
    "one-byte": lambda size: {"DataSize": 1},
    "five-bytes": lambda size: {"DataSize": 5},
    "huge": lambda size: {"DataSize": MAX32},
    "other-type": lambda size: {"StreamType": 0x4D7A_0000},
}


def kinds_of(name: str) -> list[int]:
    dump = honest(name)
    dump.build()
    return list(dump.places)


PAIRS = [(name, kind) for name in KINDS for kind in kinds_of(name)]


@cache
def truth(name: str) -> Report:
    report = examine(seed(name))
    assert isinstance(report, Report)
    return report


def check(name: str, kind: int, data: bytes, *, harmless: bool = False) -> None:
    with within(SECONDS):
        report = examine(data)
    if not isinstance(report, Report):
        assert kind in (r.SYSTEM_INFO,), report
        return
    wanted = truth(name)
    if harmless or kind not in THREADS:
        assert [stack.tid for stack in report.stacks] == list(TIDS)
    if harmless or kind not in MODULES:
        assert [module.base for module in report.modules] == [m.base for m in wanted.modules]
    if harmless or kind not in FRAMES:
        assert pcs(report) == pcs(wanted)


def pcs(report: Report) -> list[list[int]]:
    return [[frame.pc for frame in stack.frames] for stack in report.stacks]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_stream_that_is_not_where_the_directory_says(name: str, kind: int, lie: str) -> None:
    dump = honest(name)
    dump.entries[kind] = LIES[lie](len(seed(name)))
    # What is huge is cut to the file, and its own count says how much of it there is.
    check(name, kind, dump.build(), harmless=lie == "huge" and kind != r.LINUX_MAPS)


@pytest.mark.parametrize("count", [0, 1, 1 << 16, 1 << 31, MAX32])
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_list_that_lies_about_its_count(name: str, kind: int, count: int) -> None:
    dump = honest(name)
    dump.lists[kind] = List(count=count)
    check(name, kind, dump.build(), harmless=count > 1)


@pytest.mark.parametrize("padding", [4, 8, 16])
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_list_with_padding_that_it_says_nothing_of(name: str, kind: int, padding: int) -> None:
    dump = honest(name)
    dump.lists[kind] = List(padding=padding)
    plain = (r.THREAD_LIST, r.MODULE_LIST, r.MEMORY_LIST, r.THREAD_NAMES)
    check(name, kind, dump.build(), harmless=padding == 4 and kind in plain)


@pytest.mark.parametrize("size", [0, 1, 1 << 16, MAX32])
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_list_that_lies_about_its_sizes(name: str, kind: int, size: int) -> None:
    for lie in (List(entry_size=size), List(header_size=size)):
        dump = honest(name)
        dump.lists[kind] = lie
        check(name, kind, dump.build())


@pytest.mark.parametrize("name", KINDS)
def test_the_seeds_are_good(name: str) -> None:
    report = truth(name)
    assert [stack.tid for stack in report.stacks] == list(TIDS)
    assert [len(found) for found in pcs(report)] == (
        [4, 3, 4] if name.startswith("linux") else [4, 4, 4]
    )
    assert [stack.name for stack in report.stacks] == [f"thread {tid}" for tid in TIDS]
