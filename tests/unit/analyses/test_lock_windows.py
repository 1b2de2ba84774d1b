"""Critical sections that are searched for on made-up stacks, and what /proc/locks says."""

from __future__ import annotations

import os
import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.analyses.locks.files import parse_locks, waited_for
from unspool.analyses.locks.frames import StackNames, plain
from unspool.analyses.locks.windows import WindowsWait, WindowsWaits
from unspool.arch.x86_64 import X86_64
from unspool.memory import Memory, Region
from unspool.model import Frame, Location, Module, Report, Stack, Stop, TargetInfo, Thread, Trust
from unspool.space import AddressSpace

STACK, DATA = 0x20000, 0x40000
FUNCTIONS = ("NtWaitForAlertByThreadId", "RtlEnterCriticalSection", "worker")
OWN, OTHER = 0x44, 0x48


def section(owner: int = OTHER, count: int = 1, recursion: int = 1, debug: int = 0) -> bytes:
    return struct.pack("<QiiQQQ", debug, count, recursion, owner, 0, 0)


def look(stack: bytes, data: bytes) -> WindowsWait:
    """What thread 0, in ntdll's functions with this stack, waits for."""
    regions = [
        Region(start, start + len(held), lambda held=held: (held, 0, len(held)), writable=True)  # type: ignore[misc]
        for start, held in ((STACK, stack), (DATA, data))
        if held
    ]
    modules = [
        Module(0, "ntdll.dll", 0x100000, 0x110000, kind="pe"),
        Module(1, "a.exe", 0x200000, 0x210000, kind="pe"),
    ]
    space = AddressSpace(X86_64, Memory(regions), modules, lambda _: None)
    threads = [Thread(0, 1, None), Thread(1, 2, None)]
    threads[0].windows_tid, threads[1].windows_tid = OWN, OTHER
    pcs = (0x100010, 0x100020, 0x200010)
    frames = [
        Frame(pc, STACK + 8 * at, Trust.UNWIND_INFO, exact=not at)
        for pc, at in zip(pcs, (0, 2, 8), strict=True)
    ]
    places = {
        frame.lookup_pc: Location(int(frame.pc > 0x200000), name)
        for frame, name in zip(frames, FUNCTIONS, strict=True)
    }
    walked = Stack(0, 1, frames, [], Stop("root"))
    report = Report(TargetInfo("core", "x86_64"), modules, [walked], locations=places)
    target = SimpleNamespace(threads=threads, arch=X86_64, space=space, wine=None)
    waits = WindowsWaits(cast("Any", target), space.memory, 0)
    found = waits.of(walked, StackNames(report, walked))
    assert found is not None
    return found


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values).ljust(8 * 32, b"\0")


def test_the_only_section_that_fits_is_it() -> None:
    found = look(words(7, DATA + 4096, DATA, 9), section())
    assert found.lock.address == DATA
    assert [(each.thread, each.certain) for each in found.lock.holders] == [(1, True)]


def test_of_two_sections_neither_is_certain() -> None:
    found = look(words(DATA, DATA + 40), section() + section())
    assert [each.certain for each in found.lock.holders] == [False]


def test_ntdlls_list_decides_between_several() -> None:
    entry = (STACK + 64, STACK + 72, DATA + 40 + 24, OWN)
    found = look(words(DATA, DATA + 40, *entry), section() + section())
    assert found.lock.address == DATA + 40
    assert [each.certain for each in found.lock.holders] == [True]
    assert "LockSemaphore" in found.evidence


def test_a_section_without_debug_information_whose_owner_has_ended() -> None:
    """As those of Wine 10: that it is one, ntdll's list of waiting threads says."""
    entry = (STACK + 64, STACK + 72, DATA + 24, OWN)
    for debug in (0, (1 << 64) - 1):
        found = look(words(DATA, *entry), section(owner=0x99 * 4, debug=debug))
        assert (found.lock.address, found.lock.gone) == (DATA, 0x99 * 4)
        alone = look(words(DATA), section(owner=0x99 * 4, debug=debug))
        assert alone.lock.address is None


def test_a_section_whose_owner_has_ended() -> None:
    gone = section(owner=0x99 * 4, debug=DATA + 0x100).ljust(0x108, b"\0") + struct.pack("<Q", DATA)
    found = look(words(DATA), gone)
    assert not found.lock.holders
    assert "not there any more" in (found.lock.unknown or "")


@pytest.mark.parametrize(
    "data",
    [
        section(count=0), section(count=-1), section(recursion=0), section(owner=0),
        section(owner=0x99 * 4), section(debug=0x1234), b"",
    ],
    ids=["no waiter", "free", "no recursion", "no owner", "owner unknown", "debug", "unmapped"],
)  # fmt: skip
def test_what_is_no_held_section(data: bytes) -> None:
    found = look(words(DATA), data)
    assert found.lock.address is None
    assert found.lock.unknown


@given(st.binary(max_size=256), st.binary(max_size=256))
def test_any_bytes(stack: bytes, data: bytes) -> None:
    found = look(stack, data)
    assert found.lock.holders or found.lock.unknown


LOCKS = b"""\
1: FLOCK  ADVISORY  WRITE 10 08:01:77 0 EOF
1: -> FLOCK  ADVISORY  WRITE 20 08:01:77 0 EOF
2: POSIX  ADVISORY  READ  30 00:2e:5 100 199
nonsense
3: POSIX
"""
OPEN = b"""\
4: OFDLCK ADVISORY  WRITE -1 00:2e:8 0 EOF
4: -> OFDLCK ADVISORY  WRITE -1 00:2e:8 0 EOF
"""


def test_what_the_kernel_says_of_file_locks() -> None:
    found = parse_locks(LOCKS)
    assert [(each.kind, each.pid, each.waits) for each in found] == [
        ("FLOCK", 10, False), ("FLOCK", 20, True), ("POSIX", 30, False),
    ]  # fmt: skip
    assert found[2].file == (os.makedev(0, 0x2E), 5)
    assert found[2].range == "100–199"
    both = waited_for(found, 20, "FLOCK", 77)
    assert both is not None
    assert both[1].pid == 10
    assert waited_for(found, 20, "FLOCK") == both
    assert waited_for(found, 20, "FLOCK", 78) is None, "another file"
    assert waited_for(found, 20, "POSIX", 77) is None
    assert waited_for(found, 10, "FLOCK", 77) is None
    opened = parse_locks(OPEN)
    assert waited_for(opened, 9, "OFDLCK", 8) == (opened[1], opened[0])
    assert waited_for(opened, 9, "OFDLCK") is None, "no process, and no file"


@given(st.binary(max_size=200))
def test_any_text_of_file_locks(text: bytes) -> None:
    parse_locks(text)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("___pthread_mutex_lock", "pthread_mutex_lock"),
        ("__GI___pthread_rwlock_wrlock", "pthread_rwlock_wrlock"),
        ("pthread_join@@GLIBC_2.34", "pthread_join"),
        ("__dl_iterate_phdr", "dl_iterate_phdr"),
        ("__my_function", "__my_function"),
    ],
)
def test_names_without_decoration(name: str, short: str) -> None:
    assert plain(name) == short
