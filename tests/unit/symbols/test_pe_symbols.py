"""Names by exports and COFF symbols: which function is named, and which had better not be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.build import cfi, pe
from tests.build.unwind_info import Xdata, alloc, unwind_info
from unspool.formats.pe import Pe
from unspool.memory import Memory
from unspool.pe_image import PeImage
from unspool.symbols.pe.symbols import REACH, FunctionRanges, PeSymbols

BASE = 0x7FF0_0000_0000
TEXT = 0x1000
XDATA = 0x8000

Exports = Sequence[pe.Export | tuple[str, int]]


def built(
    exports: Exports = (),
    functions: Sequence[tuple[int, int, int]] | None = None,
    *,
    machine: int = pe.AMD64,
    symbols: Sequence[tuple[str, int]] = (),
    more: Sequence[pe.Section] = (),
    size: int = 0x4000,
) -> PeImage:
    """An image of a file alone: code at 0x1000, then `more`."""
    text = pe.Section(".text", bytes(size), "rx")
    data = pe.Section(".data", bytes(0x100), "rw", rva=TEXT + size)
    entries = [pe.Symbol(name, rva - TEXT, text) for name, rva in symbols]
    made = pe.image(
        machine, [text, data, *more], exports=exports or None, functions=functions, symbols=entries
    )
    file = Pe(made.file())
    return PeImage(Memory(), BASE, file, file)


def named(image: PeImage, *rvas: int) -> list[tuple[str, int] | None]:
    symbols = PeSymbols(image, [image.file] if image.file else [])
    return [symbols.lookup(rva) for rva in rvas]


# --- without unwind data ------------------------------------------------------------------


def test_an_export_names_what_follows_it_up_to_the_next() -> None:
    image = built([("one", 0x1100), ("two", 0x1200)])
    assert named(image, 0x1100, 0x11FF, 0x1200, 0x1234) == [
        ("one", 0x1100), ("one", 0x1100), ("two", 0x1200), ("two", 0x1200),
    ]  # fmt: skip


def test_nothing_is_named_before_the_first_export_and_far_behind_the_last() -> None:
    image = built([("one", 0x1100)])
    assert named(image, 0x10FF, 0x1100 + REACH - 1, 0x1100 + REACH) == [None, ("one", 0x1100), None]


def test_an_export_names_nothing_of_another_section() -> None:
    other = pe.Section("PAGE", bytes(0x200), "rx", rva=0x6000)
    image = built([("one", 0x1100), ("end", 0x4FF8), ("datum", 0x5010)], more=[other])
    assert named(image, 0x6000, 0x4FFF) == [None, ("end", 0x4FF8)]


def test_data_have_no_function_names() -> None:
    """A wild jump can lead to them."""
    assert named(built([("datum", 0x5010)]), 0x5010, 0x5020, 0x9000_0000, 0x20) == [None] * 4


def test_of_several_names_of_one_function_the_plainest_is_taken() -> None:
    image = built([("ZwClose", 0x1100), ("NtClose", 0x1100), ("__NtClose", 0x1100)])
    assert named(image, 0x1104) == [("NtClose", 0x1100)]


def test_exports_without_a_name_are_called_as_windows_debuggers_do() -> None:
    image = built([("one", 0x1100), pe.Export(None, 0x1200, ordinal=7)])
    assert named(image, 0x1150, 0x1210) == [("one", 0x1100), ("Ordinal7", 0x1200)]


def test_symbols_and_exports_make_one_list() -> None:
    image = built([("exported", 0x1100), ("alias", 0x1200)], symbols=[("inner", 0x1180)])
    assert named(image, 0x1110, 0x1190, 0x1210) == [
        ("exported", 0x1100), ("inner", 0x1180), ("alias", 0x1200),
    ]  # fmt: skip


def test_a_symbol_table_leaves_nothing_out_so_its_functions_may_be_long() -> None:
    image = built(symbols=[("long", 0x1100)])
    assert named(image, 0x1100 + 2 * REACH) == [("long", 0x1100)]


def test_names_of_i386_are_as_in_the_source() -> None:
    image = built(
        [("_lopen", 0x1100), ("ReadIt@8", 0x1200)],
        machine=pe.I386,
        symbols=[("_plain", 0x1300), ("_std@8", 0x1400), ("__Z1fv", 0x1500)],
    )
    found = [each[0] for each in named(image, 0x1100, 0x1200, 0x1300, 0x1400, 0x1500) if each]
    assert found == ["_lopen", "ReadIt", "plain", "std", "_Z1fv"]


# --- with .pdata --------------------------------------------------------------------------


def with_table(exports: Exports, *functions: tuple[int, int], **more: object) -> PeImage:
    """Each function has unwind info of its own."""
    xdata = Xdata(XDATA)
    info = xdata.add(unwind_info([alloc(4, 0x28)], prologue=4))
    entries = [(begin, end, info) for begin, end in functions]
    return built(exports, entries, more=[xdata.section()], **more)  # type: ignore[arg-type]


def test_an_export_does_not_name_the_functions_behind_it() -> None:
    image = with_table([("one", 0x1100)], (0x1100, 0x1180), (0x1180, 0x1200))
    assert named(image, 0x117F, 0x1180, 0x11FF) == [("one", 0x1100), None, None]


def test_a_function_may_be_long() -> None:
    image = with_table([("one", 0x1100)], (0x1100, 0x3F00))
    assert named(image, 0x3EFF) == [("one", 0x1100)]


def test_a_name_inside_of_a_function_is_better_than_none() -> None:
    """An entry point behind the function's begin; its begin has the better name."""
    image = with_table([("inside", 0x1140)], (0x1100, 0x1200))
    assert named(image, 0x1120, 0x1140, 0x11F0) == [None, ("inside", 0x1140), ("inside", 0x1140)]
    image = with_table([("begin", 0x1100), ("inside", 0x1140)], (0x1100, 0x1200))
    assert named(image, 0x11F0) == [("begin", 0x1100)]
    image = with_table([("inside", 0x1140)], (0x1100, 0x1200), symbols=[("begin", 0x1100)])
    assert named(image, 0x11F0) == [("begin", 0x1100)]


def test_leaf_functions_have_no_unwind_data_and_are_named_all_the_same() -> None:
    """System calls' stubs: 32 bytes each, none of them in .pdata."""
    image = with_table([("NtOne", 0x1100), ("NtTwo", 0x1120)], (0x1200, 0x1300))
    assert named(image, 0x1112, 0x1134) == [("NtOne", 0x1100), ("NtTwo", 0x1120)]


def test_a_leaf_function_is_not_named_across_another_function() -> None:
    image = with_table([("one", 0x1100), ("leaf", 0x1200)], (0x1100, 0x1180), (0x1210, 0x1220))
    assert named(image, 0x1190, 0x120F, 0x1230) == [None, ("leaf", 0x1200), None]


def test_a_leaf_function_reaches_no_further_than_a_page() -> None:
    image = with_table([("leaf", 0x1100)], (0x4000, 0x4100), symbols=[("other", 0x1140)])
    assert named(image, 0x1140 + REACH - 1, 0x1140 + REACH) == [("other", 0x1140), None]


def test_a_table_with_unused_entries_at_its_end() -> None:
    image = with_table([("leaf", 0x1300)], (0x1100, 0x1200), (0, 0), (0, 0))
    assert named(image, 0x1310) == [("leaf", 0x1300)]
    image = with_table([("leaf", 0x1100)], (0x1200, 0x1300), (0, 0), (0, 0))
    assert named(image, 0x1310) == [None]


def test_parts_of_a_function_have_its_name() -> None:
    """MSVC moves what is rarely executed away, with unwind data chained to the function's."""
    xdata = Xdata(XDATA)
    first = xdata.add(unwind_info([alloc(4, 0x28)], prologue=4))
    second = xdata.add(unwind_info(chained=(0x1100, 0x1180, first)))
    third = xdata.add(unwind_info(chained=(0x2000, 0x2040, second)))
    image = built(
        [("whole", 0x1100), ("wrong", 0x2000)],
        [(0x1100, 0x1180, first), (0x2000, 0x2040, second), (0x3000, 0x3040, third)],
        more=[xdata.section()],
    )
    assert named(image, 0x2010, 0x3010) == [("whole", 0x1100)] * 2


def test_a_part_that_leads_to_its_function_by_another_entry() -> None:
    xdata = Xdata(XDATA)
    info = xdata.add(unwind_info([alloc(4, 0x28)], prologue=4))
    table = 0x9000
    image = built(
        [("whole", 0x1100)], [(0x1100, 0x1180, info), (0x2000, 0x2040, table | 1)],
        more=[xdata.section()],
    )  # fmt: skip
    assert image.headers.directory(3) == (table, 24)
    assert named(image, 0x2010) == [("whole", 0x1100)]


def test_unwind_data_that_are_chained_in_a_circle() -> None:
    xdata = Xdata(XDATA)
    at = xdata.add(unwind_info(chained=(0x1100, 0x1180, XDATA)))
    assert at == XDATA
    image = built([("one", 0x1100)], [(0x1100, 0x1180, at)], more=[xdata.section()])
    assert named(image, 0x1110) == [("one", 0x1100)]


def test_broken_unwind_data_leave_the_part_a_function() -> None:
    image = built([("one", 0x1100)], [(0x1100, 0x1180, 0x7FFF_0000), (0x1200, 0x1280, 0x10)])
    assert named(image, 0x1110, 0x1210) == [("one", 0x1100), None]


# --- names of PDB files -------------------------------------------------------------------


def test_a_label_counts_like_an_export() -> None:
    image = with_table([("one", 0x1100)], (0x1100, 0x1180), (0x1200, 0x1280))
    symbols = PeSymbols(image)
    assert symbols.lookup(0x1210, ("static", 0x1200)) == ("static", 0x1200)
    assert symbols.lookup(0x1210, ("far", 0x1190)) is None
    assert symbols.lookup(0x1310, ("stub", 0x1300)) == ("stub", 0x1300)
    assert symbols.lookup(0x1310, ("stub", 0x1190)) is None


# --- i386 ---------------------------------------------------------------------------------


@pytest.fixture
def with_cfi() -> PeImage:
    """Two functions with DWARF, 0x1100-0x117f and 0x1180-0x11ff, the second not exported."""
    base = 0x1000_0000
    frames = cfi.FrameSection(address=base + XDATA, address_size=4)
    cie = frames.cie(data_align=-4, return_register=8)
    for begin in (0x1100, 0x1180):
        frames.fde(cie, base + begin, 0x80)
    section = pe.Section(".eh_frame", frames.build(), "r", rva=XDATA)
    exports = [("one", 0x1100), ("stub", 0x1300)]
    return built(exports, machine=pe.I386, more=[section])


def test_dwarf_knows_functions_of_i386(with_cfi: PeImage) -> None:
    assert with_cfi.eh_frame()[1] is not None
    assert named(with_cfi, 0x117F, 0x1180, 0x11FF) == [("one", 0x1100), None, None]


def test_dwarf_ends_what_has_none(with_cfi: PeImage) -> None:
    assert named(with_cfi, 0x1310, 0x1210) == [("stub", 0x1300), None]


def test_ranges_without_any_unwind_data() -> None:
    ranges = FunctionRanges(built([("one", 0x1100)], machine=pe.I386))
    assert not ranges.known
    assert ranges.around(0x1100) is None
    assert ranges.none_between(0x1000, 0x2000)
