"""FDEs found without a search table: the index reads ranges alone, as whole decoding would."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import cfi as b
from tests.build.cfi import FrameSection
from unspool.formats.cfi import CfiSection
from unspool.formats.cfi_index import index_of

START, SIZE = 0x40_1000, 0x120
LEAD = 20

FORMS = [b.ABSPTR, b.UDATA2, b.UDATA4, b.UDATA8, b.SDATA2, b.SDATA4, b.SDATA8, b.ULEB128, b.SLEB128]


def section(frames: FrameSection, **keywords: int) -> CfiSection:
    data = bytes(LEAD) + frames.build()
    return CfiSection(
        data, LEAD, len(data), frames.address, is_eh=frames.eh, address_size=frames.address_size,
        **keywords,
    )  # fmt: skip


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("kind", ["eh_frame", "debug_frame"])
@pytest.mark.parametrize("dwarf64", [False, True])
@pytest.mark.parametrize(("form", "relative"), list(itertools.product(FORMS, [0, b.PCREL])))
def test_every_encoding(form: int, relative: int, dwarf64: bool, kind: str, size: int) -> None:
    start = 0x1000 if relative == 0 and form in (b.UDATA2, b.SDATA2) else START
    frames = FrameSection(kind, start - 0x200, address_size=size, dwarf64=dwarf64)
    cie = frames.cie(fde_encoding=form | relative)
    offsets = [LEAD + frames.fde(cie, start + SIZE * n, SIZE) for n in (2, 0, 1)]
    starts, found = index_of(section(frames))
    assert starts == [start, start + SIZE, start + 2 * SIZE]
    assert found == [offsets[1], offsets[2], offsets[0]]


@pytest.mark.parametrize("form", [b.ABSPTR, b.UDATA4, b.ULEB128, b.SDATA4 | b.PCREL])
@pytest.mark.parametrize("distance", [0x20_0000, -0x20_0000])
def test_addresses_that_a_loader_has_relocated(form: int, distance: int) -> None:
    # In the buffer are the addresses of memory; those relative to their place stay as they are.
    moved = distance if not form & b.PCREL else 0
    frames = FrameSection(address=START + 0x1000, address_size=4)
    cie = frames.cie(fde_encoding=form)
    frames.fde(cie, START + moved, SIZE, b.advance_loc(4) + b.def_cfa_offset(16))
    made = section(frames, relocated=distance)
    fde = made.find(START + SIZE - 1)
    assert fde is not None
    assert (fde.start, fde.end) == (START, START + SIZE)
    assert made.find(START + SIZE) is None


def test_a_record_too_short_for_its_range_does_not_read_the_next_one() -> None:
    frames = FrameSection(address=0x5000)
    cie = frames.cie()
    broken = len(frames.out)
    frames.raw((8).to_bytes(4, "little") + (broken + 4 - cie.at).to_bytes(4, "little") + bytes(4))
    good = frames.fde(cie, START, SIZE)
    assert index_of(section(frames)) == ([START], [LEAD + good])


def test_a_record_that_is_broken_behind_its_range_costs_itself_alone() -> None:
    frames = FrameSection(address=0x5000)
    cie = frames.cie()
    frames.fde(cie, START, SIZE)
    frames.fde(cie, START + 0x10, 0x10, augmentation_size=0x7F)
    found = section(frames).find(START + 0x18)
    assert found is not None
    assert found.start == START


@given(st.binary(max_size=200), st.booleans(), st.sampled_from([4, 8]), st.integers(0, 1 << 40))
def test_any_bytes(raw: bytes, is_eh: bool, size: int, probe: int) -> None:
    made = CfiSection(raw, 0, len(raw), 0x5000, is_eh=is_eh, address_size=size)
    starts, offsets = index_of(made)
    assert starts == sorted(starts)
    assert len(starts) == len(offsets) <= len(raw) // 8
    made.find(probe)
