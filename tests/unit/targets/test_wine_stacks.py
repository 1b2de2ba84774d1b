"""Which bytes of a Wine process's stacks are copied: all that a walk needs, and not much else."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wine import Block, WineProcess
from tests.build.wine_eras import ERAS, Era
from tests.unit.targets.wine_copies import (
    copy,
    held,
    lowest,
    maps_of,
    plan,
    red_zone,
    used,
    walk_copies,
    with_control_blocks,
)
from unspool.arch.x86_64 import X86_64
from unspool.targets.live import stacks
from unspool.targets.live.procfs import Maps
from unspool.targets.live.stacks import Held, Planner
from unspool.targets.live.target import make_planner
from unspool.targets.live.wine_stacks import WinePlanner

every = pytest.mark.parametrize(("version", "bits"), ERAS)


def busy(era: Era) -> WineProcess:
    """A thread in each place where a thread can be."""
    process = WineProcess(era)
    process.thread().call("main", "recurse").syscall("NtWaitForSingleObject", "server_wait")
    process.thread().call("main", "odd", "deep").syscall().go_back().call("work")
    process.thread().call("main")
    process.thread().call("main", "odd").signal("handler", "wait_suspend")
    process.thread().call("main", "deep").syscall("NtWaitForSingleObject", "read").signal()
    process.thread().call("recurse").syscall().go_back().call("work").signal("wait_suspend")
    process.thread().call("main", "odd").exception("dispatch_exception", "filter").syscall()
    process.thread().call("main", "deep").apc("work").syscall()
    for end in ("syscall", "windows", "stale", "signal") if era.resume else ():
        thread = process.thread().call("main", "odd")
        for _ in range(3):
            thread.syscall("NtCreateWindow", "send_message")
            thread.callback("window_procedure", "work")
        if end != "windows":
            thread.syscall("NtUserGetMessage", "server_wait")
        if end == "stale":
            thread.go_back().call("filter")
        if end == "signal":
            thread.signal("wait_suspend")
    if era.has_unix_calls:
        process.thread().call("main", "unix_caller").unix_call("unix call", "read")
    return process


@every
def test_what_is_copied_is_enough(version: str, bits: int) -> None:
    walk_copies(busy(Era(version, bits)))


@every
def test_what_is_not_used_is_not_copied(version: str, bits: int) -> None:
    process = busy(Era(version, bits))
    copied = copy(process, with_control_blocks(process))
    for thread in process.threads:
        for stack in (thread.stacks.windows, thread.stacks.unix):
            assert lowest(copied, stack) >= used(thread, stack) - red_zone(bits)


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("words", [3, 17])
def test_a_fork_that_moved_the_slot(bits: int, words: int) -> None:
    era = Era("9.3", bits)
    era.slot = era.teb.private + words * era.word
    walk_copies(busy(era))


@pytest.mark.parametrize("bits", [64, 32])
def test_threads_of_native_libraries_inherit_the_segment(bits: int) -> None:
    """Of two threads with one TEB each gets its own stack."""
    process = WineProcess(Era("8.0", bits))
    thread = process.thread().call("main", "odd").syscall("NtWaitForSingleObject", "read")
    own = process.block(0x7000_0000, bytes(0x40000))
    sp = own.end - 0x2000
    maker = held(thread)
    native = Held(99, maker.pc, sp, own.end - 0x100, maker.registers)
    copied = copy(process, [maker, native])
    assert lowest(copied, (own.address, own.end)) == sp - red_zone(bits)
    for stack in (thread.stacks.windows, thread.stacks.unix):
        assert lowest(copied, stack) >= used(thread, stack) - red_zone(bits)
    ranges = [each for part in copied for each in part.ranges]
    assert max(high for _, high in ranges if high <= own.end) == own.end - 0x100


def test_a_process_whose_threads_have_no_tebs_yet() -> None:
    process = WineProcess(Era("8.0"))
    thread = process.thread().call("main").syscall()
    thread.gs_base = 0
    (copied,) = copy(process, [held(thread)])
    assert copied.ranges == [(thread.sp - red_zone(64), thread.stacks.unix[1])]


def test_a_teb_that_appeared_after_the_mappings_were_read() -> None:
    process = WineProcess(Era("8.0"))
    thread = process.thread().call("main").syscall()
    maps = Maps([each for each in maps_of(process.blocks).mappings if each.start != thread.teb])
    planner = WinePlanner(1, maps, X86_64)
    planner.first([held(thread)])
    assert planner.outdated
    planner.maps = maps_of(process.blocks)
    assert (thread.teb, thread.teb + 0x1838) in planner.first([held(thread)])
    assert not planner.outdated


def test_windows_stacks_that_are_too_big_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_BUDGET", 0x2000)
    monkeypatch.setattr(stacks, "_LEAST", 0)
    process = WineProcess(Era("9.3"))
    deep = process.thread().call("main", *["recurse"] * 150).syscall()
    flat = process.thread().call("main").syscall()
    planner, _ = plan(process.blocks, [held(deep), held(flat)])
    assert planner.cut == [deep.tid]


# --- whatever lies in memory -------------------------------------------------------------------

PLACES = (0x10_0000, 0x7FFD_0000, 0x1_0000_0000, 0x2_0000_0000)
words = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.builds(lambda base, at: base + 64 * at, st.sampled_from(PLACES), st.integers(0, 1023)),
    st.just(0),
)


@given(st.data(), st.booleans())
def test_no_memory_makes_it_fail_or_copy_without_end(data: st.DataObject, wow64: bool) -> None:
    blocks = [Block(place, bytearray(0x10000), "rw") for place in PLACES]
    for block in blocks:
        for at in data.draw(st.lists(st.integers(0, 0x1FFF), max_size=30)):
            struct.pack_into("<Q", block.data, 8 * at, data.draw(words))
    teb = PLACES[1]
    for offset in (0x08, 0x10, 0x60, 0x328, 0x378, 0x1478, 0x1488):
        struct.pack_into("<Q", blocks[1].data, offset, data.draw(words))
    struct.pack_into("<Q", blocks[1].data, 0x30, teb)
    struct.pack_into("<i", blocks[1].data, 0x180C, 0x2000)
    struct.pack_into("<I", blocks[1].data, 0x2018, teb + 0x2000)
    threads = [
        Held(tid, 0, data.draw(words), data.draw(words), [data.draw(words)] * 22 + [teb] * 5)
        for tid in range(1, 4)
    ]
    files = ["/wine/ntdll.dll", "/wine/wow64cpu.dll"] if wow64 else ["/wine/ntdll.dll"]
    _, copied = plan(blocks, threads, X86_64, *files)
    assert sum(part.size for part in copied) <= 4 * 0x10000
    ranges = sorted(each for part in copied for each in part.ranges)
    assert all(one[1] <= other[0] for one, other in pairwise(ranges))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/usr/lib/wine/x86_64-unix/ntdll.so", WinePlanner),
        ("/prefix/drive_c/windows/system32/ntdll.dll (deleted)", WinePlanner),
        ("/usr/lib/libc.so.6", Planner),
    ],
)
def test_only_wine_processes_are_planned_for_so(path: str, kind: type) -> None:
    assert type(make_planner(1, maps_of([], path), X86_64)) is kind
