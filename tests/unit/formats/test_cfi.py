"""CIEs, FDEs and search tables, from an assembler with encoders of its own."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import cfi as b
from tests.build.cfi import FrameSection
from unspool.cursor import Cursor
from unspool.errors import FormatError
from unspool.formats.cfi import CfiSection, EhFrameHdr, Fde
from unspool.formats.cfi_row import row_at

LEAD = 24  # sections lie somewhere in a file, not at its start
START, SIZE = 0x40_1000, 0x120


def section(frames: FrameSection, **keywords: int) -> CfiSection:
    data = bytes(LEAD) + frames.build()
    return CfiSection(
        data, LEAD, len(data), frames.address, is_eh=frames.eh, address_size=frames.address_size,
        **keywords,
    )  # fmt: skip


def fde_at(found: CfiSection, offset: int) -> Fde:
    fde = found.fde_at(LEAD + offset)
    assert fde is not None
    return fde


FORMS = [b.ABSPTR, b.UDATA2, b.UDATA4, b.UDATA8, b.SDATA2, b.SDATA4, b.SDATA8, b.ULEB128, b.SLEB128]
RELATIVE = [0, b.PCREL, b.DATAREL, b.TEXTREL]
# What each may be relative to must be near enough for two bytes.
NEAR = {b.PCREL: 0x40_0800, b.DATAREL: 0x40_0100, b.TEXTREL: 0x40_0F00}


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize(("form", "relative"), list(itertools.product(FORMS, RELATIVE)))
def test_every_encoding_of_an_fdes_addresses(form: int, relative: int, size: int) -> None:
    start = 0x1000 if relative == 0 and form in (b.UDATA2, b.SDATA2) else START
    bases = b.Bases(text=NEAR[b.TEXTREL], data=NEAR[b.DATAREL])
    frames = FrameSection(address=NEAR[b.PCREL], address_size=size, bases=bases)
    cie = frames.cie(fde_encoding=form | relative, initial=b.def_cfa(7, 8))
    at = frames.fde(cie, start, SIZE, b.advance_loc(4) + b.def_cfa_offset(16))
    found = section(frames, data_base=bases.data, text_base=bases.text)
    fde = fde_at(found, at)
    assert (fde.start, fde.end) == (start, start + SIZE)
    assert row_at(found, fde, start + 4).cfa_offset == 16


@pytest.mark.parametrize("form", [b.SDATA4, b.SDATA8, b.SLEB128, b.ABSPTR])
def test_code_below_its_unwind_data_and_above(form: int) -> None:
    for start in (0x1000, 0x7000_0000):
        frames = FrameSection(address=0x3000_0000)
        at = frames.fde(frames.cie(fde_encoding=form | b.PCREL), start, SIZE)
        assert fde_at(section(frames), at).start == start


@pytest.mark.parametrize("shift", range(8))
def test_aligned_pointers(shift: int) -> None:
    frames = FrameSection(address=0x5000)
    frames.address += shift
    at = frames.fde(frames.cie(fde_encoding=b.ALIGNED), START, SIZE)
    fde = fde_at(section(frames), at)
    assert fde.start == START


@pytest.mark.parametrize("encoding", [b.INDIRECT | b.ABSPTR, 0x05, 0x0D, 0x60, 0x70])
def test_encodings_that_make_no_sense_for_code(encoding: int) -> None:
    frames = FrameSection(address=0x5000)
    at = frames.fde(frames.cie(fde_encoding=encoding), START, SIZE, encoding=b.ABSPTR)
    try:
        fde = fde_at(section(frames), at)
    except FormatError:
        return
    assert encoding in (0x60, 0x70)  # reserved: read as if relative to nothing
    assert fde.start >= 0


PERSONALITIES = [
    b.ABSPTR, b.PCREL | b.SDATA4, b.INDIRECT | b.PCREL | b.SDATA4, b.ULEB128, b.ALIGNED, b.OMIT,
    b.SDATA8, b.INDIRECT | b.DATAREL | b.UDATA4,
]  # fmt: skip


@pytest.mark.parametrize("personality", PERSONALITIES)
@pytest.mark.parametrize("lsda", [b.ABSPTR, b.PCREL | b.SDATA4, b.ULEB128, b.OMIT, b.UDATA2])
def test_personality_and_lsda_are_skipped(personality: int, lsda: int) -> None:
    frames = FrameSection(address=0x5000)
    cie = frames.cie(
        augmentation="zPLR", personality=(personality, 0x6000), lsda_encoding=lsda,
        initial=b.def_cfa(7, 8) + b.offset(16, 1),
    )  # fmt: skip
    at = frames.fde(cie, START, SIZE, b.advance_loc(4) + b.def_cfa_offset(99), lsda=0x77)
    found = section(frames)
    row = row_at(found, fde_at(found, at), START + 4)
    assert (row.cfa_register, row.cfa_offset, list(row.rules)) == (7, 99, [16])


@pytest.mark.parametrize(
    ("augmentation", "signal"),
    [("zR", False), ("zRS", True), ("zRB", False), ("zSRB", True), ("zRG", False), ("z", False),
     ("zRx", False), ("", False), ("eh", False)],
)  # fmt: skip
def test_augmentations(augmentation: str, signal: bool) -> None:
    frames = FrameSection(address=0x5000)
    extra = b"\1\2\3" if "x" in augmentation else b""
    cie = frames.cie(
        augmentation=augmentation, augmentation_extra=extra, eh_pointer=0x1234,
        initial=b.def_cfa(7, 8),
    )  # fmt: skip
    at = frames.fde(cie, START, SIZE, b.advance_loc(4) + b.def_cfa_offset(16))
    found = section(frames)
    row = row_at(found, fde_at(found, at), START + 4)
    assert row.signal_frame is signal
    assert (row.cfa_register, row.cfa_offset) == (7, 16)


@pytest.mark.parametrize("augmentation", ["x", "R", "ehz", "armcc+"])
def test_an_augmentation_without_a_length_cannot_be_skipped(augmentation: str) -> None:
    frames = FrameSection()
    at = frames.fde(frames.cie(augmentation=augmentation), START, SIZE)
    with pytest.raises(FormatError, match="augmentation"):
        fde_at(section(frames), at)


@pytest.mark.parametrize("kind", ["eh_frame", "debug_frame"])
@pytest.mark.parametrize("dwarf64", [False, True])
@pytest.mark.parametrize("version", [1, 3, 4])
@pytest.mark.parametrize("size", [4, 8])
def test_versions_and_formats(kind: str, dwarf64: bool, version: int, size: int) -> None:
    frames = FrameSection(kind, 0x5000, address_size=size, dwarf64=dwarf64)
    augmentation = "zR" if kind == "eh_frame" else ""
    cies = [
        frames.cie(
            version=version, augmentation=augmentation, code_align=4, data_align=-4,
            return_register=number, initial=b.def_cfa(7, 8),
        )
        for number in (16, 30)
    ]  # fmt: skip
    ats = [
        frames.fde(cies[i % 2], START + i * SIZE, SIZE, b.advance_loc(1) + b.offset(3, i + 1))
        for i in range(6)
    ]
    found = section(frames)
    for i, at in enumerate(ats):
        fde = fde_at(found, at)
        assert (fde.start, fde.end) == (START + i * SIZE, START + (i + 1) * SIZE)
        row = row_at(found, fde, fde.start + 4)
        assert row.ra_column == (16, 30)[i % 2]
        assert row.rules[3][1] == -4 * (i + 1)
        assert 3 not in row_at(found, fde, fde.start + 3).rules
        by_address = found.find(fde.end - 1)
        assert by_address is not None
        assert by_address.start == fde.start


def test_a_wide_return_column() -> None:
    for version, column in ((1, 255), (3, 300), (4, 100_000)):
        frames = FrameSection()
        at = frames.fde(frames.cie(version=version, return_register=column), START, SIZE)
        assert fde_at(section(frames), at).cie.ra_column == column


@pytest.mark.parametrize("version", [0, 2, 5, 255])
def test_unknown_versions(version: int) -> None:
    frames = FrameSection()
    at = frames.fde(frames.cie(version=version), START, SIZE)
    with pytest.raises(FormatError, match="version"):
        fde_at(section(frames), at)


@pytest.mark.parametrize(("size", "segment"), [(0, 0), (3, 0), (16, 0), (8, 4)])
def test_odd_sizes_in_a_version_4_cie(size: int, segment: int) -> None:
    frames = FrameSection("debug_frame")
    cie = frames.cie(version=4, augmentation="", segment_size=segment, address_size=size)
    cie.address_size = 8
    at = frames.fde(cie, START, SIZE)
    with pytest.raises(FormatError):
        fde_at(section(frames), at)


def test_a_version_4_cie_may_have_another_address_size_than_the_file() -> None:
    frames = FrameSection("debug_frame", address_size=4)
    cie = frames.cie(version=4, augmentation="")
    at = frames.fde(cie, 0xFFFF_0000, 0x8000)
    found = section(frames)
    found.address_size = 8
    fde = fde_at(found, at)
    assert (fde.start, fde.end) == (0xFFFF_0000, 0xFFFF_8000)


def test_what_is_no_fde() -> None:
    frames = FrameSection(address=0x5000)
    cie = frames.cie()
    frames.fde(cie, START, SIZE)
    found = section(frames)
    assert found.fde_at(LEAD + cie.at) is None
    assert found.fde_at(LEAD + len(frames.out)) is None  # the terminator
    for offset in (-1, LEAD - 1, 1 << 40, len(found.buffer)):
        with pytest.raises(FormatError):
            found.fde_at(offset)
    with pytest.raises(FormatError):
        found.fde_at_address(0x5000)
    with pytest.raises(FormatError):
        found.fde_at_address(0)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFE])
def test_lying_lengths(length: int) -> None:
    frames = FrameSection(address=0x5000)
    cie = frames.cie()
    at = frames.fde(cie, START, SIZE, length=length)
    found = section(frames)
    with pytest.raises(FormatError):
        fde_at(found, at)
    assert found.find(START) is None


@pytest.mark.parametrize("identity", [1, 4, 0x7FFFFFFF, 0xFFFFFFFE, 0x80000000])
def test_lying_cie_pointers(identity: int) -> None:
    frames = FrameSection(address=0x5000)
    at = frames.fde(frames.cie(), START, SIZE, id=identity)
    with pytest.raises(FormatError):
        fde_at(section(frames), at)


def test_an_fde_that_points_at_an_fde_as_its_cie() -> None:
    frames = FrameSection()
    first = frames.fde(frames.cie(), START, SIZE)
    at = frames.fde(first, START, SIZE)
    with pytest.raises(FormatError):
        fde_at(section(frames), at)


def test_an_fde_that_points_at_itself() -> None:
    frames = FrameSection("debug_frame")
    frames.cie(augmentation="")
    at = frames.fde(len(frames.out), START, SIZE)
    with pytest.raises(FormatError):
        fde_at(section(frames), at)


@pytest.mark.parametrize("where", ["cie", "fde"])
@pytest.mark.parametrize("size", [20, 100, 1 << 30, (1 << 64) - 1])
def test_lying_augmentation_lengths(where: str, size: int) -> None:
    frames = FrameSection()
    lies = {"augmentation_size": size}
    cie = frames.cie(initial=b.def_cfa(7, 8), **(lies if where == "cie" else {}))
    at = frames.fde(cie, START, SIZE, **(lies if where == "fde" else {}))
    found = section(frames)
    with pytest.raises(FormatError):
        row_at(found, fde_at(found, at), START)


# --- sections without a search table --------------------------------------------------


def test_find_passes_over_what_is_broken_or_dead() -> None:
    frames = FrameSection(address=0x5000)
    cie = frames.cie()
    frames.fde(cie, 0, 0x5000_0000)  # a dropped function's: start 0
    frames.fde(cie, START, 0)  # empty
    frames.fde(cie, START, SIZE, id=3)  # a CIE pointer into nowhere
    frames.fde(frames.cie(version=9), START, SIZE)
    good = frames.fde(cie, START, SIZE)
    found = section(frames).find(START + SIZE - 1)
    assert found is not None
    assert found.start == START
    assert section(frames).find(START + SIZE) is None
    assert section(frames).find(START - 1) is None
    assert good


def test_find_goes_on_behind_a_terminator() -> None:
    # Static linking of objects that carry their own crtend leaves zero words in between.
    frames = FrameSection(address=0x5000)
    frames.fde(frames.cie(), START, SIZE)
    frames.raw(bytes(4))
    frames.fde(frames.cie(), START + SIZE, SIZE)
    fde = section(frames).find(START + SIZE)
    assert fde is not None
    assert fde.start == START + SIZE


def test_find_looks_through_overlapping_fdes() -> None:
    frames = FrameSection(address=0x5000)
    cie = frames.cie()
    frames.fde(cie, START, 0x1000)
    frames.fde(cie, START + 0x100, 0x10)
    frames.fde(cie, START + 0x200, 0x10)
    found = section(frames)
    for address, start in ((0x105, 0x100), (0x205, 0x200), (0x150, 0), (0x800, 0)):
        fde = found.find(START + address)
        assert fde is not None
        assert fde.start == START + start


RANGES = st.lists(
    st.tuples(st.integers(0x1000, 0xFFFF), st.integers(1, 0x400)), min_size=1, max_size=20
)


def disjoint(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for start, size in sorted(ranges):
        if not kept or start >= sum(kept[-1]):
            kept.append((start, size))
    return kept


@given(RANGES, st.randoms(use_true_random=False), st.lists(st.integers(0, 0x10500), max_size=20))
def test_find_agrees_with_a_list_of_ranges(
    ranges: list[tuple[int, int]], random: object, probes: list[int]
) -> None:
    ranges = disjoint(ranges)
    shuffled = list(ranges)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    frames = FrameSection(address=0x20_0000)
    cie = frames.cie()
    for start, size in shuffled:
        frames.fde(cie, start, size)
    found = section(frames)
    borders = [p for s, n in ranges for p in (s - 1, s, s + n - 1, s + n)]
    for probe in [*probes, *borders]:
        covering = [(s, s + n) for s, n in ranges if s <= probe < s + n]
        fde = found.find(probe)
        assert ([(fde.start, fde.end)] if fde else []) == covering


# --- the search table -----------------------------------------------------------------


def header(frames: FrameSection, address: int, **keywords: object) -> EhFrameHdr:
    raw = bytes(LEAD) + b.eh_frame_header(frames, address, **keywords)  # type: ignore[arg-type]
    return EhFrameHdr(raw, LEAD, len(raw), address, frames.address_size)


TABLES = [b.DATAREL | b.SDATA4, b.DATAREL | b.SDATA8, b.ABSPTR, b.UDATA4, b.SDATA4, b.UDATA8,
          b.DATAREL | b.ABSPTR]  # fmt: skip


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("pointer", [b.PCREL | b.SDATA4, b.ABSPTR, b.DATAREL | b.SDATA4, b.UDATA8])
@pytest.mark.parametrize("count", [b.UDATA4, b.UDATA2, b.ABSPTR, b.ULEB128])
def test_search_tables_of_every_encoding(size: int, table: int, pointer: int, count: int) -> None:
    frames = FrameSection(address=0x50_0000, address_size=size)
    cie = frames.cie()
    starts = [START + i * SIZE for i in range(7)]
    ats = {start: frames.fde(cie, start, SIZE - 8) for start in reversed(starts)}
    hdr = header(
        frames, 0x4F_0000, table_encoding=table, pointer_encoding=pointer, count_encoding=count
    )
    assert hdr.eh_frame == 0x50_0000
    assert len(hdr) == 7
    for start in starts:
        for probe in (start, start + SIZE - 1):
            assert hdr.find(probe) == 0x50_0000 + ats[start]
    assert hdr.find(START - 1) is None
    assert hdr.find(0) is None


@pytest.mark.parametrize("encoding", [b.UDATA4, b.ABSPTR])
def test_absolute_tables_of_addresses_in_the_upper_half(encoding: int) -> None:
    # A 32-bit process has its libraries above 0x80000000.
    frames = FrameSection(address=0xF7E0_0000, address_size=4)
    cie = frames.cie()
    ats = [frames.fde(cie, start, 16) for start in (0x0804_8000, 0xF7D0_0000, 0xF7D1_0000)]
    hdr = header(frames, 0xF7DF_0000, table_encoding=encoding)
    assert hdr.find(0xF7D0_0004) == 0xF7E0_0000 + ats[1]
    assert hdr.find(0x0804_8004) == 0xF7E0_0000 + ats[0]


@pytest.mark.parametrize("keywords", [{"count_encoding": b.OMIT}, {"table_encoding": b.OMIT}])
def test_a_header_without_a_table(keywords: dict[str, int]) -> None:
    frames = FrameSection(address=0x50_0000)
    frames.fde(frames.cie(), START, SIZE)
    hdr = header(frames, 0x4F_0000, **keywords)
    assert (len(hdr), hdr.eh_frame) == (0, 0x50_0000)
    assert hdr.find(START) is None


def test_an_empty_table() -> None:
    hdr = header(FrameSection(address=0x5000), 0x4000)
    assert len(hdr) == 0
    assert hdr.find(START) is None


@pytest.mark.parametrize("count", [4, 1 << 20, (1 << 32) - 1])
def test_a_table_that_claims_more_entries_than_there_are(count: int) -> None:
    frames = FrameSection(address=0x50_0000)
    cie = frames.cie()
    ats = [frames.fde(cie, START + i * SIZE, SIZE) for i in range(3)]
    hdr = header(frames, 0x4F_0000, count=count)
    assert len(hdr) == 3
    assert hdr.find(START + SIZE) == 0x50_0000 + ats[1]


@pytest.mark.parametrize("version", [0, 2, 255])
def test_headers_of_unknown_version(version: int) -> None:
    with pytest.raises(FormatError):
        header(FrameSection(), 0x4000, version=version)


@pytest.mark.parametrize("table", [b.ULEB128, b.UDATA2, b.PCREL | b.SDATA4, 0x0F, b.INDIRECT])
def test_tables_that_cannot_be_searched(table: int) -> None:
    raw = bytes([1, b.PCREL | b.SDATA4, b.UDATA4, table]) + bytes(64)
    with pytest.raises(FormatError):
        EhFrameHdr(raw, 0, len(raw), 0x4000, 8)


@pytest.mark.parametrize("length", range(12))
def test_cut_headers(length: int) -> None:
    frames = FrameSection(address=0x50_0000)
    frames.fde(frames.cie(), START, SIZE)
    raw = b.eh_frame_header(frames, 0x4F_0000)[:length]
    with pytest.raises(FormatError):
        EhFrameHdr(raw, 0, len(raw), 0x4F_0000, 8)


def test_an_unsorted_table_gives_an_answer_whose_range_can_be_checked() -> None:
    frames = FrameSection(address=0x50_0000)
    cie = frames.cie()
    for start in (0x9000, 0x1000, 0x7000, 0x3000):
        frames.fde(cie, start, 0x100)
    hdr = header(frames, 0x4F_0000, ordered=False)
    found = section(frames)
    for probe in range(0, 0xA000, 0x80):
        at = hdr.find(probe)
        if at is not None:
            found.fde_at_address(at)


@given(st.binary(max_size=200), st.sampled_from([4, 8]), st.integers(0, 1 << 32))
def test_any_bytes_as_a_header(raw: bytes, size: int, probe: int) -> None:
    try:
        hdr = EhFrameHdr(b"\1" + raw, 0, len(raw) + 1, 0x4000, size)
    except FormatError:
        return
    assert len(hdr) * 8 <= len(raw)
    hdr.find(probe)


@given(
    st.integers(0, 255), st.binary(min_size=0, max_size=12), st.sampled_from([4, 8]), st.booleans()
)
def test_any_encoding_of_any_bytes(encoding: int, raw: bytes, size: int, signed: bool) -> None:
    found = CfiSection(raw, 0, len(raw), 0x5000, is_eh=True, address_size=size)
    try:
        value = found.read_encoded(Cursor(raw), encoding, size, signed=signed)
    except FormatError:
        return
    assert 0 <= value < 1 << 8 * size
