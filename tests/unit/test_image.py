"""A module's unwind data: from its file, its memory, its debug file, and with parts broken."""

from __future__ import annotations

import pytest

from tests.build import cfi
from tests.build.process import FRAMES, HEADER, IMAGE_SIZE, MACHINES, Program
from unspool.formats.elf import Elf
from unspool.image import Image
from unspool.memory import Memory, Region

BASE = 0x5555_0000
NAMES = tuple(MACHINES)


def program(name: str = "x86_64", **keywords: bool) -> Program:
    made = Program(MACHINES[name], **keywords)  # type: ignore[arg-type]
    made.extra = lambda image: image.section(".debug_frame", data=made.debug_frames())
    return made


def mapped(data: bytes) -> tuple[Memory, Elf]:
    held = data[:IMAGE_SIZE]
    memory = Memory([Region(BASE, BASE + len(held), lambda: (held, 0, len(held)))])
    return memory, Elf(held)


def start_of(image: Image, address: int) -> int | None:
    hdr, section = image.eh_frame()
    if section is None:
        return None
    if hdr is not None:
        at = hdr.find(address)
        return section.fde_at_address(at).start if at is not None else None
    fde = section.find(address)
    return fde.start if fde else None


@pytest.mark.parametrize("name", NAMES)
def test_from_the_file(name: str) -> None:
    made = program(name)
    image = Image(Memory(), BASE, file=Elf(made.build()))
    assert image.eh_frame()[0] is not None
    for function in made.functions:
        address = made.address(function)
        assert start_of(image, address + 7) == address
    assert image.problems == []


@pytest.mark.parametrize("name", NAMES)
def test_from_memory(name: str) -> None:
    made = program(name)
    memory, headers = mapped(made.build())
    image = Image(memory, BASE, mapped=headers)
    for function in made.functions:
        assert start_of(image, made.address(function) + 7) == made.address(function)
    assert image.debug_frames() == []


def test_without_a_search_table_the_section_is_indexed() -> None:
    made = program(table=False)
    image = Image(Memory(), 0, file=Elf(made.build()))
    assert image.eh_frame()[0] is None
    assert start_of(image, made.address("main") + 7) == made.address("main")
    memory, headers = mapped(made.build())
    assert Image(memory, BASE, mapped=headers).eh_frame() == (None, None)


@pytest.mark.parametrize(("offset", "value"), [(0, 9), (2, 0x05), (3, 0x01), (1, 0x0D)])
def test_a_broken_search_table_costs_only_itself(offset: int, value: int) -> None:
    made = program()
    data = bytearray(made.build())
    data[HEADER + offset] = value
    image = Image(Memory(), 0, file=Elf(bytes(data)))
    assert start_of(image, made.address("main") + 7) == made.address("main")
    assert len(image.problems) == 1
    assert ".eh_frame_hdr" in image.problems[0] or "pointer" in image.problems[0]


def test_a_search_table_without_entries() -> None:
    made = program()
    data = bytearray(made.build())
    data[HEADER + 2 : HEADER + 4] = bytes([cfi.OMIT, cfi.OMIT])
    for image in (
        Image(Memory(), 0, file=Elf(bytes(data))),
        Image(mapped(bytes(data))[0], BASE, mapped=mapped(bytes(data))[1]),
    ):
        assert image.eh_frame()[0] is None
        assert start_of(image, made.address("main") + 7) == made.address("main")


def test_debug_frames_of_the_file_and_of_its_debug_file() -> None:
    made = program()
    data = made.build()
    asked = []

    def debug() -> Elf:
        asked.append(1)
        return Elf(data)

    image = Image(Memory(), 0, file=Elf(data), find_debug=debug)
    assert asked == []
    for _ in range(2):
        found = [section.find(made.address("inner") + 5) for section in image.debug_frames()]
        assert [fde.start for fde in found if fde] == [made.address("inner")] * 2
    assert asked == [1]
    assert Image(Memory(), 0, file=Elf(data), find_debug=lambda: None).debug_frames() != []


def test_a_debug_file_keeps_headers_without_bytes() -> None:
    made = program()
    whole = made.build()
    stripped = Program(MACHINES["x86_64"])
    stripped.extra = lambda image: image.nobits(".debug_frame", 100, 0)
    image = Image(Memory(), 0, file=Elf(stripped.build()), find_debug=lambda: Elf(whole))
    assert len(image.debug_frames()) == 1


def test_an_eh_frame_that_lies_nowhere() -> None:
    made = program()
    data = bytearray(made.build())
    data[HEADER + 4 : HEADER + 8] = (0x4000_0000).to_bytes(4, "little")
    image = Image(Memory(), 0, file=Elf(bytes(data)))
    # The section table still says where it is.
    assert start_of(image, made.address("main") + 7) == made.address("main")
    memory, headers = mapped(bytes(data))
    assert Image(memory, BASE, mapped=headers).eh_frame() == (None, None)


def test_frames_past_the_end_of_memory() -> None:
    made = program()
    held = made.build()[: FRAMES + 0x20]
    memory = Memory([Region(BASE, BASE + len(held), lambda: (held, 0, len(held)))])
    hdr, section = Image(memory, BASE, mapped=Elf(held)).eh_frame()
    assert hdr is not None
    assert section is not None
    assert section.find(made.address("main")) is None
