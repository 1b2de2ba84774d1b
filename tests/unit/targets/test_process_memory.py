"""Memory of a process as it is now, and what a minidump keeps of it: of the tests' own process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from unspool.memory import Fault, Memory, RecordedMemory, Region
from unspool.targets.live.memory import KeptMemory, ProcessMemory

DATA = ctypes.create_string_buffer(b"0123456789abcdef" * 0x2000)
ADDRESS = ctypes.addressof(DATA)


@pytest.fixture
def descriptor() -> Iterator[int]:
    opened = os.open("/proc/self/mem", os.O_RDONLY)
    yield opened
    os.close(opened)


def test_reads(descriptor: int) -> None:
    memory = ProcessMemory(descriptor)
    assert memory.read(ADDRESS, 4) == memory.peek(ADDRESS, 4) == b"0123"
    assert memory.read_available(8, 4) == memory.peek(1 << 70, 4) == b""
    with pytest.raises(Fault):
        memory.read(8, 4)


def test_what_is_kept(descriptor: int) -> None:
    """Neither what was looked at in passing, nor searches, nor what is not there."""
    memory = KeptMemory(descriptor)
    assert memory.peek(ADDRESS, 4) == b"0123"
    assert len(memory.read(ADDRESS, 0x10001)) == 0x10001
    assert memory.read_available(8, 4) == b""
    assert memory.pieces_read == []
    memory.read(ADDRESS + 1, 3)
    memory.read_available(ADDRESS + 2, 2)
    assert memory.read_uint(ADDRESS, 1) == ord("0")
    expected = [(ADDRESS + 1, b"123"), (ADDRESS + 2, b"23"), (ADDRESS, b"0")]
    assert memory.pieces_read == expected


def test_how_much_is_kept_is_bounded(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unspool.targets.live.memory._MOST_KEPT", 10)
    memory = KeptMemory(descriptor)
    for _ in range(5):
        memory.read(ADDRESS, 4)
    assert len(memory.pieces_read) == 2


def test_a_look_in_passing_is_not_recorded() -> None:
    memory = RecordedMemory(Memory([Region(0, 8, lambda: (b"01234567", 0, 8))]))
    assert memory.peek(2, 3) == b"234"
    assert memory.peek(6, 9) == b"67"
    assert memory.reads == []
    memory.read_available(2, 3)
    assert memory.reads == [(2, 3)]
