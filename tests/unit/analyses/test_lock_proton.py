"""Waits of fsync, esync and ntsync, by the words and arguments that they leave."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.analyses.locks.proton import (
    descriptors_waited_for,
    fsync_object,
    is_fsync_memory,
    unknown,
)
from unspool.analyses.locks.syscalls import FutexWait, Syscall, futex_waits
from unspool.memory import Memory, Region

BASE = 0x10000


def memory(data: bytes) -> Memory:
    return Memory([Region(BASE, BASE + len(data), lambda: (data, 0, len(data)))] if data else [])


def wait(value: int) -> FutexWait:
    return FutexWait(BASE, 0, value, private=False, timed=False, evidence="")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dev/shm/wine-1a2b3c-fsync", True),
        ("/dev/shm/wine-1a2b3c-fsync (deleted)", True),
        ("/dev/shm/wine-1a2b3c-esync", False),
        ("/home/wine-1-fsync/memory", False),
        ("", False),
    ],
)
def test_fsyncs_memory_is_known_by_its_name(path: str, expected: bool) -> None:
    assert is_fsync_memory(path) is expected


def test_a_mutants_word_is_its_owners_id() -> None:
    lock = fsync_object(wait(0x44), memory(struct.pack("<II", 0x44, 2)), 0, {0x44: [(1, 5)]})
    assert lock.kind == "mutant"
    assert [(each.key, each.certain) for each in lock.holders] == [((1, 5), True)]


@pytest.mark.parametrize(
    ("words", "value", "owners", "kind", "said"),
    [
        ((0x44, 1), 0x44, {}, "mutant", "no thread of the targets"),
        ((0x44, 1), 0x44, {0x44: [(0, 1), (1, 2)]}, "mutant", "several threads"),
        ((0, 0), 0, {0: [(0, 0)]}, "handle", "an event, a semaphore"),
        ((1, 0), 0, {1: [(0, 0)]}, "handle", "an event, a semaphore"),
        ((), 1, {1: [(0, 0)]}, "handle", "cannot be read"),
    ],
)
def test_what_has_no_holder_says_why(
    words: tuple[int, ...], value: int, owners: dict[int, list[tuple[int, int]]], kind: str,
    said: str,
) -> None:  # fmt: skip
    data = struct.pack(f"<{len(words)}I", *words)
    lock = fsync_object(wait(value), memory(data), 0, owners)
    assert lock.kind == kind
    assert not lock.holders
    assert said in (lock.unknown or "")


def call(name: str, *arguments: int) -> Syscall:
    return Syscall(name, [*arguments, *[0] * (6 - len(arguments))], "", ())


def test_esync_polls_eventfds() -> None:
    data = struct.pack("<ihhihh", 12, 1, 0, 15, 1, 0)
    found = descriptors_waited_for(call("ppoll", BASE, 2), memory(data))
    assert found == ("esync", [12, 15])
    assert "eventfd does not say who owns it (descriptors 12, 15)" in unknown(*found)


@pytest.mark.parametrize("request_", [0xC0284E82, 0xC0284E83])
def test_ntsync_waits_by_ioctl(request_: int) -> None:
    """The object's descriptors are an array of their own."""
    data = struct.pack("<QQIIIIII", 1 << 63, BASE + 40, 2, 0, 0, 0x44, 0, 0)
    data += struct.pack("<II", 7, 9)
    found = descriptors_waited_for(call("ioctl", 5, request_, BASE), memory(data))
    assert found == ("ntsync", [7, 9])
    assert "ntsync" in unknown(*found)


def test_other_calls_are_none() -> None:
    assert descriptors_waited_for(None, memory(b"")) is None
    assert descriptors_waited_for(call("ioctl", 5, 0x5401, BASE), memory(b"")) is None
    assert descriptors_waited_for(call("poll", BASE, 0), memory(b"")) is None
    assert descriptors_waited_for(call("futex", BASE, 0), memory(b"")) is None


@given(
    st.binary(max_size=200),
    st.sampled_from(["poll", "ioctl", "futex_waitv", "futex"]),
    st.integers(0, 1 << 64), st.sampled_from([0xC0284E82, 1, 3, 128, 1 << 40]),
)  # fmt: skip
def test_any_bytes(data: bytes, name: str, first: int, second: int) -> None:
    for address in (BASE, first):
        made = call(name, address, second, BASE)
        found = descriptors_waited_for(made, memory(data))
        assert found is None or len(found[1]) <= 65
        assert len(futex_waits(made, memory(data))) <= 128
