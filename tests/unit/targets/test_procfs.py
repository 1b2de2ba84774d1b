"""What /proc says, parsed."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from unspool.targets.live.procfs import Process, parse_maps

MAPS = b"""\
5565a0000000-5565a0001000 r--p 00000000 fe:01 4711                       /opt/a b/prog (deleted)
5565a0001000-5565a0003000 r-xp 00001000 fe:01 4711                       /opt/a b/prog (deleted)
7f0000000000-7f0000021000 rw-p 00000000 00:00 0
7f0000100000-7f0000101000 r--s 00000000 00:01 9                          /memfd:x\\012y (deleted)
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""


def test_parses_every_field() -> None:
    maps = parse_maps(MAPS)
    first, second, heap, memfd, stack, vsyscall = maps.mappings
    assert (first.start, first.end, first.offset) == (0x5565A0000000, 0x5565A0001000, 0)
    assert first.path == "/opt/a b/prog (deleted)"
    assert (first.device, first.inode) == (os.makedev(0xFE, 1), 4711)
    assert (first.readable, first.writable, first.executable) == (True, False, False)
    assert (second.offset, second.executable) == (0x1000, True)
    assert heap.path == "" and heap.writable and not heap.is_file
    assert memfd.path == "/memfd:x\ny (deleted)" and memfd.is_file
    assert not stack.is_file and not vsyscall.readable
    assert maps.main_stack == (stack.start, stack.end)


def test_finds_mappings_by_address() -> None:
    maps = parse_maps(MAPS)
    assert maps.at(0x5565A0000FFF) is maps.mappings[0]
    assert maps.at(0x5565A0001000) is maps.mappings[1]
    assert maps.at(0x5565A0003000) is None
    assert maps.at(0) is None
    assert maps.at(1 << 64) is None


@pytest.mark.parametrize(
    "line",
    [b"nonsense", b"12-zz r--p 0 0:0 0", b"1-2 r--p", b"1-2 r--p 0 00 0", b"1-2 r--p x 0:0 0"],
)
def test_leaves_out_lines_that_break_the_format(line: bytes) -> None:
    assert len(parse_maps(line + b"\n" + MAPS).mappings) == 6


def test_names_of_files_may_be_any_bytes() -> None:
    (mapping,) = parse_maps(b"1000-2000 r--p 0 0:1 7 /a\xff\n").mappings
    assert os.fsencode(mapping.path) == b"/a\xff"


def test_parses_its_own_maps() -> None:
    with open("/proc/self/maps", "rb") as file:
        text = file.read()
    maps = parse_maps(text)
    assert len(maps.mappings) == text.count(b"\n")
    starts = [mapping.start for mapping in maps.mappings]
    assert starts == sorted(starts)
    assert maps.main_stack is not None


def test_counts_and_lists_threads() -> None:
    process = Process(os.getpid())
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        tasks = process.tasks()
        assert tasks[0] == os.getpid()
        assert thread.native_id in tasks
        assert process.task_count() == len(tasks)
        assert process.has_task(os.getpid()) and not process.has_task(1)
    finally:
        done.set()
        thread.join()
    assert process.state(os.getpid()) == "R"
    assert process.status()["Tgid"] == str(os.getpid())
    assert process.status(os.getpid())["Pid"] == str(os.getpid())
    process.close()


def test_a_process_that_is_gone() -> None:
    ended = subprocess.Popen(["true"])
    child = ended.pid
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    process = Process(child)
    assert process.state(child) == "Z"
    ended.wait()
    assert process.read("maps") is None and process.name() is None and process.state(child) is None
    assert process.status() == {}
    assert process.tasks() == [] and process.task_count() == 0 and process.link("exe") is None
    process.close()
    with pytest.raises(OSError, match="No such file"):
        Process(child)
