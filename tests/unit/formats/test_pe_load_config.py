"""SafeSEH tables of load configurations, honest and lying ones. Images: tests/build/seh.py."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.pe import AMD64, Image, Section, image
from tests.build.seh import GOOD, NO_SEH, PROGRAM, load_config, safe_image
from unspool.errors import FormatError
from unspool.formats.pe import Pe
from unspool.formats.pe_load_config import MAX_HANDLERS, handler_table, is_il_only


def pe_of(made: Image) -> Pe:
    return Pe(made.file())


def test_a_table() -> None:
    pe = pe_of(safe_image([GOOD - PROGRAM, 0x1020]))
    table = handler_table(pe, pe.read)
    assert table is not None
    assert (table.address, table.count) == (PROGRAM + 0x2100, 2)
    assert not is_il_only(pe, pe.read)
    assert pe.dll_characteristics == 0


def test_flags() -> None:
    assert pe_of(safe_image(DllCharacteristics=NO_SEH)).dll_characteristics == NO_SEH
    made = image(AMD64, [Section(".text", b"\xc3", "rx")], DllCharacteristics=0x8160)
    assert pe_of(made).dll_characteristics == 0x8160


@pytest.mark.parametrize("size", [0, 4, 0x3C, 0x40, 0x44, 0x47])
def test_older_structures_have_no_table(size: int) -> None:
    config = struct.pack("<I", size) + load_config(PROGRAM + 0x2100, 1)[4:]
    pe = pe_of(safe_image(config=config))
    assert handler_table(pe, pe.read) is None


@pytest.mark.parametrize("directory_size", [64, 0x48, 0x5C, 1, 0xFFFFFFFF])
def test_the_directorys_size_means_nothing(directory_size: int) -> None:
    pe = pe_of(safe_image(directory=(0x2000, directory_size)))
    assert handler_table(pe, pe.read) is not None


def test_there_is_none_in_64_bit_images() -> None:
    sections = [Section(".rdata", load_config(PROGRAM + 0x1100, 1), "r")]
    pe = pe_of(image(AMD64, sections, directories={10: (0x1000, 64)}))
    assert handler_table(pe, pe.read) is None


def test_more_handlers_than_any_image_has() -> None:
    most = pe_of(safe_image(config=load_config(PROGRAM, MAX_HANDLERS)))
    assert handler_table(most, most.read) is not None
    pe = pe_of(safe_image(config=load_config(PROGRAM, MAX_HANDLERS + 1)))
    with pytest.raises(FormatError, match="too many"):
        handler_table(pe, pe.read)


@pytest.mark.parametrize(("flags", "alone"), [(0, False), (1, True), (2, False), (3, True)])
def test_managed_code(flags: int, alone: bool) -> None:
    pe = pe_of(safe_image(managed=flags))
    assert is_il_only(pe, pe.read) is alone


@given(
    config=st.binary(max_size=0x60),
    directory=st.tuples(st.integers(0, 0xFFFFFFFF) | st.integers(0x1F00, 0x2400), st.integers(0)),
)
def test_whatever_the_directory_says(config: bytes, directory: tuple[int, int]) -> None:
    place = directory[0], directory[1] & 0xFFFFFFFF
    pe = pe_of(safe_image(config=config, directory=place, managed=1))
    try:
        table = handler_table(pe, pe.read)
    except FormatError:
        return
    assert table is None or 0 < table.count <= MAX_HANDLERS
