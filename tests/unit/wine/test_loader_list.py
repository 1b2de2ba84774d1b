"""The Windows loader's list: what it says, and what no list can make of us."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.windows_process import LDR, PEB, Entry, loader_list, peb
from unspool.memory import Memory, Region
from unspool.wine import loader_list as reader
from unspool.wine.loader_list import LoaderEntry

WORDS = (4, 8)
ENTRIES = [
    Entry(0x40_0000, 0x8000, r"Z:\opt\game.exe", "game.exe", 0x40_1000, 0x6B01_AF20),
    Entry(0x7BC0_0000, 0xA_0000, r"C:\windows\system32\ntdll.dll", "ntdll.dll"),
    Entry(0x7B60_0000, 0x9_0000, r"C:\Ünï\𝄞.DLL", "𝄞.DLL"),
]


def memory_of(parts: dict[int, bytes]) -> Memory:
    def region(start: int, data: bytes) -> Region:
        return Region(start, start + len(data), lambda: (data, 0, len(data)), writable=True)

    return Memory([region(start, data) for start, data in parts.items()])


def read(entries: list[Entry], word: int, **lies: int) -> tuple[list[LoaderEntry], str | None]:
    made = {PEB: peb(word, LDR, 0), LDR: loader_list(entries, word, LDR, **lies)}
    return reader.read(memory_of(made), PEB, word)


@pytest.mark.parametrize("word", WORDS)
def test_entries_in_order(word: int) -> None:
    entries, why = read(ENTRIES, word)
    assert why is None
    assert entries == [
        LoaderEntry(e.base, e.size, e.entry_point, e.full_name, e.base_name, e.timestamp)
        for e in ENTRIES
    ]


@pytest.mark.parametrize("word", WORDS)
def test_an_empty_list(word: int) -> None:
    assert read([], word) == ([], None)


@pytest.mark.parametrize("word", WORDS)
def test_before_the_loader_has_started(word: int) -> None:
    entries, why = reader.read(memory_of({PEB: peb(word, 0, 0)}), PEB, word)
    assert (entries, why) == ([], "the loader has not started")
    assert reader.read(memory_of({}), PEB, word)[1] is not None


@pytest.mark.parametrize("word", WORDS)
def test_the_base_of_the_program(word: int) -> None:
    assert reader.image_base(memory_of({PEB: peb(word, LDR, 0x40_0000)}), PEB, word) == 0x40_0000
    assert reader.image_base(memory_of({PEB: peb(word, LDR, 0)}), PEB, word) is None
    assert reader.image_base(memory_of({}), PEB, word) is None


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(("at", "count"), [(0, 1), (1, 2), (2, 3)])
def test_a_cycle_ends_the_list(word: int, at: int, count: int) -> None:
    size = 0x130 if word == 8 else 0xB0
    entries = [Entry(e.base, e.size) for e in ENTRIES]
    entries[at].next = LDR + 0x60 + at * size
    found, why = read(entries, word)
    assert len(found) == count
    assert why == "the list leads back into itself"


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("link", [0, 1, 0xFFFF_FFF0])
def test_a_link_into_nothing(word: int, link: int) -> None:
    found, why = read(ENTRIES, word, last=link)
    assert len(found) == 3
    assert why is not None and "not in memory" in why


@pytest.mark.parametrize("word", WORDS)
def test_a_list_without_end(word: int) -> None:
    found, why = read([Entry(0x1000 * n, 0x1000) for n in range(1, 10_100)], word)
    assert len(found) == 10_000
    assert why == "more than 10,000 modules"


@pytest.mark.parametrize("word", WORDS)
def test_names_that_are_not_there(word: int) -> None:
    lost = Entry(0x1000, 0x1000, "a", "b", names_at=0x5000_0000)
    found, why = read([lost, *ENTRIES], word)
    assert why is None
    assert (found[0].full_name, found[0].base_name) == ("", "")
    assert found[1].base_name == "game.exe"


def test_names_that_would_fill_memory() -> None:
    """Every entry gives the same 64 KiB: all names together are bounded."""
    entries = [Entry(0x1000 * n, 0x1000, names_at=0x5000_0000, name_size=0xFFFE) for n in
               range(1, 1000)]  # fmt: skip
    data = {
        PEB: peb(8, LDR, 0), LDR: loader_list(entries, 8, LDR), 0x5000_0000: b"n\0" * 0x8000,
    }  # fmt: skip
    found, why = reader.read(memory_of(data), PEB, 8)
    assert why is None and len(found) == 999
    assert len(found[0].full_name) == 0x7FFF
    assert sum(len(e.full_name) + len(e.base_name) for e in found) <= 4 << 20
    assert found[-1].full_name == ""


def test_half_a_character_at_the_end_of_a_name() -> None:
    raw = memory_of({
        PEB: peb(8, LDR, 0),
        LDR: loader_list([Entry(1, 1, names_at=0x5000_0000, name_size=5)], 8, LDR),
        0x5000_0000: b"a\0b\0c\0\x34\xd8" * 4,
    })  # fmt: skip
    [entry], _ = reader.read(raw, PEB, 8)
    assert entry.full_name == "ab"


@given(st.integers(0, 1 << 32), st.sampled_from(WORDS))
def test_a_broken_list_raises_nothing(seed: int, word: int) -> None:
    chance = random.Random(seed)
    parts = {PEB: bytearray(peb(word, LDR, 0)), LDR: bytearray(loader_list(ENTRIES, word, LDR))}
    for _ in range(chance.randrange(1, 20)):
        data = parts[chance.choice([PEB, LDR])]
        at = chance.randrange(len(data))
        data[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), chance.randbytes(4)])
    cut = {start: bytes(data[: chance.randrange(1, len(data))]) for start, data in parts.items()}
    entries, _ = reader.read(memory_of(cut), PEB, word)
    assert len(entries) <= 10_000


