"""The dynamic linker's list, read from memory that was laid out by hand."""

from __future__ import annotations

import struct

import pytest

from unspool.formats.elf import PT_DYNAMIC, PT_LOAD, PT_PHDR, Elf
from unspool.memory import Memory, Region
from unspool.targets.link_map import program_bias, read_link_map

BASE = 0x40_0000
NAMES = [("", 0), ("/lib/libc.so.6", 0x7000_0000), ("/lib/ü\udcff.so", 0x7100_0000)]


def region(start: int, data: bytes) -> Region:
    return Region(start, start + len(data), lambda: (data, 0, len(data)))


def phdr(word: int, kind: int, vaddr: int) -> bytes:
    if word == 8:
        return struct.pack("<II6Q", kind, 4, vaddr, vaddr, 0, 64, 64, 8)
    return struct.pack("<8I", kind, vaddr, vaddr, 0, 64, 64, 4, 4)


def image(word: int, names: list[tuple[str, int]], kinds: tuple[int, ...]) -> bytes:
    """Program headers at 0x40, a dynamic section, r_debug, the chain and its names."""
    code = "<Q" if word == 8 else "<I"

    def words(*values: int) -> bytes:
        return b"".join(struct.pack(code, value) for value in values)

    page = bytearray(0x1000)
    vaddrs = {PT_PHDR: 0x40, PT_DYNAMIC: 0x200, PT_LOAD: 0}
    table = b"".join(phdr(word, kind, vaddrs[kind]) for kind in kinds)
    page[0x40 : 0x40 + len(table)] = table
    dynamic = words(5, 1, 21, BASE + 0x300, 0, 0)
    page[0x200 : 0x200 + len(dynamic)] = dynamic
    debug = words(1, BASE + 0x400)
    page[0x300 : 0x300 + len(debug)] = debug
    for i, (name, bias) in enumerate(names):
        raw = name.encode("utf-8", "surrogateescape") + b"\0"
        text, entry = 0x800 + 0x80 * i, 0x400 + 0x40 * i
        page[text : text + len(raw)] = raw
        following = BASE + entry + 0x40 if i + 1 < len(names) else 0
        link = words(bias, BASE + text, bias + 0x100, following)
        page[entry : entry + len(link)] = link
    return bytes(page)


@pytest.mark.parametrize("word", [4, 8])
def test_a_chain(word: int) -> None:
    kinds = (PT_PHDR, PT_LOAD, PT_DYNAMIC)
    memory = Memory([region(BASE, image(word, NAMES, kinds))])
    assert program_bias(memory, BASE + 0x40, 3, None) == BASE
    found = read_link_map(memory, BASE + 0x40, 3, word, None)
    assert [(entry.name, entry.bias) for entry in found] == NAMES
    assert [entry.dynamic for entry in found] == [bias + 0x100 for _, bias in NAMES]


@pytest.mark.parametrize("word", [4, 8])
def test_a_chain_that_is_cut(word: int) -> None:
    data = image(word, NAMES, (PT_PHDR, PT_DYNAMIC))
    for length in range(0, len(data), 16):
        memory = Memory([region(BASE, data[:length])])
        found = read_link_map(memory, BASE + 0x40, 2, word, None)
        assert len(found) <= 3
        if length >= 0x1000:
            assert len(found) == 3


def test_a_static_program_has_no_chain() -> None:
    memory = Memory([region(BASE, image(8, [], (PT_LOAD,)))])
    assert read_link_map(memory, BASE + 0x40, 1, 8, None) == []
    assert program_bias(memory, BASE + 0x40, 1, None) is None


def test_the_bias_of_a_program_without_pt_phdr_needs_its_file() -> None:
    from tests.build.elf import Elf as Builder

    image = Builder(64)
    image.load(b"", address=0x1_0000, offset=0, filesz=0x200)
    file = Elf(image.build())
    assert program_bias(Memory(), 0x55_0000 + 64, 1, file) == 0x55_0000 - 0x1_0000


@pytest.mark.parametrize("count", [0, 1000, 1 << 40, (1 << 64) - 1])
def test_any_count_of_headers(count: int) -> None:
    memory = Memory([region(BASE, image(8, NAMES, (PT_PHDR, PT_DYNAMIC)))])
    found = read_link_map(memory, BASE + 0x40, count, 8, None)
    assert len(found) == (0 if count == 0 else 3)
