"""Memory: regions, what wins where they overlap, reads across and beyond them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.memory import Fault, Memory, Region


def held(start: int, data: bytes, end: int | None = None, **keywords: bool) -> Region:
    """A region whose bytes lie behind three others in their buffer, to catch offset mistakes."""
    buffer = b"???" + data
    return Region(
        start, start + len(data) if end is None else end, lambda: (buffer, 3, len(data)), **keywords
    )


def test_reads_inside_one_region() -> None:
    memory = Memory([held(0x1000, bytes(range(256)))])
    assert memory.read(0x1000, 4) == b"\0\1\2\3"
    assert memory.read(0x10FF, 1) == b"\xff"
    assert memory.read_uint(0x1001, 2) == 0x0201
    assert memory.read(0x1010, 0) == b""


def test_reads_across_regions_that_touch() -> None:
    memory = Memory([held(0x1000, b"abcd"), held(0x1004, b"efgh"), held(0x1008, b"ij")])
    assert memory.read(0x1002, 8) == b"cdefghij"
    assert memory.read_uint(0x1003, 2) == int.from_bytes(b"de", "little")


def test_a_read_over_a_gap_faults_where_the_gap_is() -> None:
    memory = Memory([held(0x1000, b"abcd"), held(0x1006, b"ef")])
    with pytest.raises(Fault) as caught:
        memory.read(0x1002, 6)
    assert caught.value.address == 0x1004
    assert str(caught.value) == "0x1004"
    assert memory.read_available(0x1002, 6) == b"cd"
    assert memory.read_available(0x1004, 6) == b""


@pytest.mark.parametrize("address", [0, 0xFFF, 0x1004, (1 << 64) - 1, 1 << 70, -8])
def test_addresses_outside_fault(address: int) -> None:
    memory = Memory([held(0x1000, b"abcd")])
    assert memory.region(address) is None
    assert memory.window(address) is None
    with pytest.raises(Fault):
        memory.read(address, 4)


def test_a_hostile_size_faults() -> None:
    memory = Memory([held(0x1000, b"abcd")])
    for size in (-1, 1 << 40):
        with pytest.raises(Fault):
            memory.read(0x1000, size)
    assert memory.read_available(0x1000, 1 << 40) == b"abcd"
    assert memory.read_available(0x1000, -1) == b""


def test_a_region_can_hold_fewer_bytes_than_it_spans() -> None:
    memory = Memory([held(0x1000, b"abcd", end=0x2000, executable=True)])
    assert memory.read(0x1000, 4) == b"abcd"
    assert memory.region(0x1800) is not None
    assert memory.is_executable(0x1800)
    assert memory.window(0x1800) is None
    with pytest.raises(Fault):
        memory.read(0x1002, 4)


def test_a_loader_that_promises_too_much_is_cut() -> None:
    region = Region(0x1000, 0x1004, lambda: (b"abcdefgh", 6, 100))
    memory = Memory([region])
    assert memory.read_available(0x1000, 100) == b"gh"
    for buffer, offset, size in ((b"abcd", -1, 4), (b"abcd", 4, 4), (b"abcd", 0, 0), (b"", 0, 9)):
        region = Region(0x1000, 0x1004, lambda made=(buffer, offset, size): made)  # type: ignore[misc]
        assert region.window() is None


def test_a_loader_is_asked_once_and_only_when_needed() -> None:
    calls = []

    def load() -> None:
        calls.append(1)

    memory = Memory([Region(0x1000, 0x2000, load)])
    assert memory.region(0x1000) is not None
    assert not memory.is_executable(0x1000)
    assert calls == []
    for _ in range(3):
        assert memory.window(0x1000) is None
    assert calls == [1]


def test_facts_of_a_region() -> None:
    region = Region(16, 32, None, writable=True, path="/bin/x", file_offset=4096, mapping=(0, 64))
    assert (region.writable, region.executable) == (True, False)
    assert (region.path, region.file_offset, region.mapping) == ("/bin/x", 4096, (0, 64))
    assert Region(16, 32, None).mapping == (16, 32)


def test_empty_and_inverted_regions_are_dropped() -> None:
    memory = Memory([Region(16, 16, None), Region(40, 30, None), held(0x1000, b"a")])
    assert [region.start for region in memory.regions] == [0x1000]


def test_thousands_of_adjacent_regions_can_be_read_in_one_go() -> None:
    # A hostile core can have a million one-byte regions in a row.
    memory = Memory([held(0x1000 + i, bytes([i & 255])) for i in range(5000)])
    assert memory.read(0x1000, 5000) == bytes(i & 255 for i in range(5000))


REGIONS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=12)


@given(REGIONS)
def test_after_set_regions_none_overlap_and_all_are_sorted(spans: list[tuple[int, int]]) -> None:
    memory = Memory([held(start, bytes([start]) * size) for start, size in spans])
    ends = 0
    for region in memory.regions:
        assert region.start >= ends
        assert region.start < region.end
        ends = region.end


@given(REGIONS, st.integers(0, 300), st.integers(0, 100))
def test_reads_agree_with_a_dictionary_of_bytes(
    spans: list[tuple[int, int]], address: int, size: int
) -> None:
    memory = Memory([held(s, bytes((s + i) & 255 for i in range(n))) for s, n in spans])
    known: dict[int, int] = {}
    for region in memory.regions:
        known |= {a: a & 255 for a in range(region.start, region.end)}
    wanted = range(address, address + size)
    available = []
    for a in wanted:
        if a not in known:
            break
        available.append(known[a])
    assert memory.read_available(address, size) == bytes(available)
    if len(available) == size and (size or address in known):
        assert memory.read(address, size) == bytes(available)
    else:
        with pytest.raises(Fault):
            memory.read(address, size)


def test_a_region_that_claims_everything_hides_none_of_the_others() -> None:
    liar = Region(0, 1 << 40, lambda: (bytes(64), 0, 64))
    honest = Region(0x1000, 0x1004, lambda: (b"abcd", 0, 4))
    memory = Memory([liar, honest])
    assert memory.read(0x1000, 4) == b"abcd"
    assert memory.read(8, 4) == bytes(4)
    assert memory.region(0x2000) is None
