"""TEBs: what is believed of one, and where they are looked for."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wine import WineProcess
from tests.build.wine_eras import ERAS, Era, TebOffsets
from tests.fuzz.harness import within
from unspool.memory import Memory, Region
from unspool.wine.layouts import TEB32, TEB64, TebLayout
from unspool.wine.teb import Teb, read_teb, search

LAYOUTS = [TEB32, TEB64]
PLACE = 0x7FFD_0000
every = pytest.mark.parametrize("layout", LAYOUTS, ids=["32", "64"])


def region(start: int, data: bytes, *, writable: bool = True) -> Region:
    return Region(start, start + len(data), lambda: (data, 0, len(data)), writable=writable)


def teb(layout: TebLayout, address: int = PLACE, **lies: int) -> bytes:
    """A TEB's bytes; `lies` by the names of `TebOffsets`."""
    offsets = TebOffsets(layout.word)
    values = {
        "self": address, "stack_base": 0x23_0000, "stack_limit": 0x22_0000,
        "allocation": 0x13_0000, "peb": 0x7FFE_0000, "pid": 0x20, "tid": 0x24,
    } | lies  # fmt: skip
    raw = bytearray(layout.size)
    for name, value in values.items():
        value &= (1 << 8 * layout.word) - 1
        at = getattr(offsets, name)
        raw[at : at + layout.word] = value.to_bytes(layout.word, "little")
    return bytes(raw)


def read(layout: TebLayout, raw: bytes, address: int = PLACE) -> Teb | None:
    return read_teb(Memory([region(address, raw)]), address, layout)


@every
def test_a_teb(layout: TebLayout) -> None:
    found = read(layout, teb(layout))
    assert found is not None
    assert (found.stack_limit, found.stack_base) == (0x22_0000, 0x23_0000)
    assert (found.allocation, found.peb, found.pid, found.tid) == (0x13_0000, 0x7FFE_0000, 32, 36)
    assert found.wow_offset == 0


@every
@pytest.mark.parametrize(
    "lies",
    [
        {"self": PLACE + 8}, {"self": 0}, {"peb": 0}, {"stack_base": 0},
        {"stack_base": 0x22_0000}, {"stack_limit": 0x23_0000}, {"stack_limit": -1},
    ],
    ids=str,
)  # fmt: skip
def test_what_contradicts_itself_is_none(layout: TebLayout, lies: dict[str, int]) -> None:
    assert read(layout, teb(layout, **lies)) is None


@every
def test_a_teb_that_is_cut_off(layout: TebLayout) -> None:
    raw = teb(layout)
    assert read(layout, raw[:-1]) is None
    assert read_teb(Memory([region(PLACE, raw)]), PLACE + 0x1000, layout) is None


@every
@pytest.mark.parametrize("allocation", [0, -1, 0x22_0001])
def test_an_impossible_allocation_is_left_aside(layout: TebLayout, allocation: int) -> None:
    found = read(layout, teb(layout, allocation=allocation))
    assert found is not None
    assert found.allocation == 0x22_0000


@pytest.mark.parametrize(
    ("raw", "expected"), [(0x2000, 0x2000), (-0x2000, -0x2000), (1, 0), (0x20000, 0), (-1, 0)]
)
def test_the_other_teb(raw: int, expected: int) -> None:
    data = bytearray(teb(TEB64))
    data[0x180C:0x1810] = struct.pack("<i", raw)
    found = read(TEB64, bytes(data))
    assert found is not None
    assert found.wow_offset == expected


@every
@given(seed=st.integers(), address=st.integers(0, 1 << 64), right=st.booleans())
def test_any_bytes(layout: TebLayout, seed: int, address: int, right: bool) -> None:
    data = bytearray(random.Random(seed).randbytes(0x1838))
    if right:
        mask = (1 << 8 * layout.word) - 1
        at = TebOffsets(layout.word).self
        data[at : at + layout.word] = (address & mask).to_bytes(layout.word, "little")
    found = read_teb(Memory([region(address, bytes(data))]), address, layout)
    if found is not None:
        assert found.stack_limit < found.stack_base
        assert 0 < found.allocation <= found.stack_limit or found.stack_limit == 0
        assert abs(found.wow_offset) <= 0x10000


# --- the search -----------------------------------------------------------------------


@every
def test_tebs_are_found_wherever_they_lie(layout: TebLayout) -> None:
    size = -(-layout.size // 0x1000) * 0x1000
    places = (0x3FFE_2000, 0x7FFD_0000, 0x7FFD_0000 + size, 0x1000)
    parts = [region(place, teb(layout, place).ljust(size, b"\0")) for place in places]
    found = {each.address for each in search(Memory(parts), layout)}
    assert found == set(places)


@every
def test_what_is_no_teb(layout: TebLayout) -> None:
    raw = teb(layout)
    memory = Memory(
        [
            region(PLACE, raw, writable=False),
            region(0x1_0000_0000, teb(layout, 0x1_0000_0000)),  # beyond 32-bit code's reach
            region(0x5000_0000, bytes(0x10) + teb(layout, 0x5000_0010)),  # within a page
            region(0x6000_0000, raw),  # a copy, which points at the original
            Region(0x7000_0000, 0x7000_4000, None, writable=True),  # bytes that are not held
        ]
    )
    assert list(search(memory, layout)) == []


@every
@pytest.mark.parametrize("lead", [1, 0xFFF, 0x1000, 0x1838, 0x2000])
def test_a_teb_behind_others_bytes(layout: TebLayout, lead: int) -> None:
    """Regions need not begin at a page, nor a TEB where a region does."""
    start = 0x7000_0000 - lead
    raw = bytes(lead) + teb(layout, 0x7000_0000)
    assert [each.address for each in search(Memory([region(start, raw)]), layout)] == [0x7000_0000]


@every
def test_a_search_of_a_gigabyte(layout: TebLayout) -> None:
    page = bytes(1 << 20)
    parts = [region(0x1000_0000 + (at << 20), page) for at in range(1500)]
    with within(10):
        assert list(search(Memory(parts), layout)) == []


@every
@given(data=st.binary(max_size=0x3000), start=st.integers(0, 1 << 33))
def test_a_search_of_any_bytes(layout: TebLayout, data: bytes, start: int) -> None:
    for found in search(Memory([region(start, data)]), layout):
        assert start <= found.address < start + len(data)


@pytest.mark.parametrize(("version", "bits"), ERAS)
def test_tebs_of_every_release(version: str, bits: int) -> None:
    process = WineProcess(Era(version, bits))
    for _ in range(5):
        process.thread()
    memory = Memory([region(b.address, bytes(b.data), writable="w" in b.flags)
                     for b in process.blocks])  # fmt: skip
    layout = TEB64 if bits == 64 else TEB32
    found = {each.address: each for each in search(memory, layout)}
    assert set(found) == {thread.teb for thread in process.threads}
    for thread in process.threads:
        assert found[thread.teb].tid == 0x24 + 4 * thread.index
