"""Objects that are given addresses: none overlap, all say what a linker's would."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Tool, examples
from unspool.errors import FormatError
from unspool.formats.elf import ET_DYN, SHF_ALLOC, SHF_COMPRESSED, Elf
from unspool.formats.elf_object import BASE, linked

SOURCE = """
int data[5] = { 1 }, empty[9];
__attribute__((aligned(64))) int outer(int a) { return a + data[a]; }
__attribute__((section(".init.text"))) int first(void) { return outer(empty[1]); }
"""
_made: dict[str, bytes] = {}


def made(tool: Tool, folder: Path, *flags: str) -> bytes:
    key = " ".join(flags)
    if key not in _made:
        (folder / "a.c").write_text(SOURCE)
        tool("gcc", "-g", "-O1", *flags, "-c", folder / "a.c", "-o", folder / "a.o")
        _made[key] = (folder / "a.o").read_bytes()
    return _made[key]


@pytest.mark.parametrize("flags", [(), ("-m32",), ("-gz",), ("-ffunction-sections",)], ids=str)
def test_every_section_in_memory_has_a_place_of_its_own(
    tool: Tool, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    elf = Elf(made(tool, tmp_path, *flags))
    placed, addresses = linked(elf)
    assert placed.type == ET_DYN
    at = BASE
    for before, after, address in zip(elf.sections(), placed.sections(), addresses, strict=True):
        assert after.address == address
        assert (before.name, before.size) == (after.name, after.size) or "debug" in before.name
        if before.flags & SHF_ALLOC:
            assert address >= at
            at = address + before.size
        else:
            assert address == 0
    text = next(i for i, each in enumerate(elf.sections()) if each.name.startswith(".text"))
    assert addresses[text] % 64 == 0 or flags == ("-ffunction-sections",)


def test_compressed_debug_data_are_the_plain_ones(tool: Tool, tmp_path: Path) -> None:
    plain, _ = linked(Elf(made(tool, tmp_path)))
    (tmp_path / "b.o").write_bytes(made(tool, tmp_path))
    tool("objcopy", "--compress-debug-sections", tmp_path / "b.o")
    compressed = Elf((tmp_path / "b.o").read_bytes())
    assert any(each.flags & SHF_COMPRESSED for each in compressed.sections())
    packed, _ = linked(compressed)
    for name in (".debug_info", ".debug_line"):
        contents = []
        for elf in (plain, packed):
            section = elf.section(name)
            assert section is not None
            buffer, start, end = elf.section_data(section)
            contents.append(bytes(buffer[start:end]))
        assert contents[0] == contents[1]


def test_what_is_no_object(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int main(void) { return 0; }")
    tool("gcc", tmp_path / "a.c", "-o", tmp_path / "a")
    with pytest.raises(FormatError, match="not relocatable"):
        linked(Elf((tmp_path / "a").read_bytes()))


def test_sections_that_claim_gigabytes(tool: Tool, tmp_path: Path) -> None:
    data = bytearray(made(tool, tmp_path))
    elf = Elf(bytes(data))
    index = next(i for i, each in enumerate(elf.sections()) if each.name == ".bss")
    at = elf.shoff + index * elf.shentsize + 32
    data[at : at + 8] = (1 << 40).to_bytes(8, "little")
    with pytest.raises(FormatError, match="2 GiB"):
        linked(Elf(bytes(data)))


@settings(max_examples=examples(100), deadline=None)
@given(st.data())
def test_broken_objects(
    tool: Tool, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    flags = data.draw(st.sampled_from([(), ("-m32",), ("-gz",)]))
    whole = bytearray(made(tool, tmp_path_factory.getbasetemp(), *flags))
    table = int.from_bytes(whole[32:36] if flags == ("-m32",) else whole[40:48], "little")
    for _ in range(data.draw(st.integers(1, 6))):
        low = table if data.draw(st.booleans()) else 0
        at = data.draw(st.integers(low, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, 40))
    with contextlib.suppress(FormatError):
        linked(Elf(bytes(whole[: len(whole) - end])))
