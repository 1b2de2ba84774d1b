"""Which mappings of files are one image."""

from __future__ import annotations

import pytest

from tests.build.elf import EM_X86_64, Elf
from tests.unit.unwind.spaces import region
from unspool.formats.notes import FileMapping
from unspool.memory import Memory
from unspool.targets.modules import modules_from_mappings

PROG = "/usr/bin/node"


def image() -> bytes:
    """With code at 0x1000 to 0x5000 and data behind it."""
    elf = Elf(64, machine=EM_X86_64)
    elf.load([elf.section(".text", data=bytes(0x4000), address=0x1000, flags="ax")], flags="rx")
    elf.load([elf.section(".data", data=bytes(0x100), address=0x5000, flags="aw")], flags="rw")
    return elf.build()


def ranges(mappings: list[FileMapping], memory: Memory) -> list[tuple[int, int, int | None]]:
    found, others = modules_from_mappings(mappings, memory, EM_X86_64, None, lambda _: True)
    assert others == []
    return [(each.module.base, each.module.end, each.module.bias) for each in found]


BASE, AGAIN = 0x40_0000, 0x7F00_0000_0000
ITSELF = [
    FileMapping(BASE, BASE + 0x4000, 0x1000, PROG),
    FileMapping(BASE + 0x4000, BASE + 0x5000, 0x5000, PROG),
]


def test_a_part_that_is_mapped_once_more_is_a_module_of_its_own() -> None:
    """Node.js maps the code of its builtins where the code lies that it makes."""
    first = FileMapping(BASE - 0x1000, BASE, 0, PROG)
    memory = Memory([region(BASE - 0x1000, image()[:0x1000])])
    again = FileMapping(AGAIN, AGAIN + 0x2000, 0x2000, PROG)
    more = FileMapping(AGAIN + 0x2000, AGAIN + 0x3000, 0x5000, PROG)
    alone = ranges([first, *ITSELF], memory)
    assert len(alone) == 1
    assert alone[0][1] < BASE + 0x10000
    assert ranges([first, *ITSELF, again, more], memory) == [
        *alone, (AGAIN, AGAIN + 0x3000, None)
    ]  # fmt: skip


def test_without_its_headers_an_image_ends_with_its_last_mapping() -> None:
    """Minidumps hold no headers."""
    first = FileMapping(BASE - 0x1000, BASE, 0, PROG)
    apart = FileMapping(BASE + 0x20_0000, BASE + 0x20_1000, 0x6000, PROG)
    again = FileMapping(AGAIN, AGAIN + 0x2000, 0x2000, PROG)
    assert ranges([first, *ITSELF, apart, again], Memory()) == [
        (BASE - 0x1000, BASE + 0x20_1000, None),
        (AGAIN, AGAIN + 0x2000, None),
    ]


@pytest.mark.parametrize(
    "path", ["/dev/zero (deleted)", "/memfd:doublemapper (deleted)", "/SYSV00000000 (deleted)"]
)
def test_shared_memory_is_a_module_only_where_an_image_was_loaded_from_it(path: str) -> None:
    """PHP's compiled code is in "/dev/zero"; a program can also load a library from a memfd."""
    mapping = FileMapping(BASE, BASE + 0x5000, 0, path)
    assert ranges([mapping], Memory()) == []
    assert ranges([mapping], Memory([region(BASE, bytes(0x1000))])) == []
    [(start, *_)] = ranges([mapping], Memory([region(BASE, image()[:0x1000])]))
    assert start == BASE
