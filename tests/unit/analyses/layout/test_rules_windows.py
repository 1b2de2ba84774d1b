"""Verdicts on what Windows code relies on, of which the answer is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from unspool.analyses.layout import Area, Layout, rules_windows
from unspool.analyses.layout.names import label_of
from unspool.analyses.layout.paint import paint
from unspool.analyses.layout.records import Kind, Rule
from unspool.analyses.layout.reserve import tenant
from unspool.analyses.layout.windows import Windows
from unspool.model import Module

from .made_up import GIB, area, layout, mapping

LARGE, STRIPPED = 0x20, 0x01


def pe(base: int, flags: int = 0, *, mapped: bool = False, builtin: bool = False) -> Any:
    return SimpleNamespace(
        image_base=base, characteristics=flags, is_64=False, mapped=mapped,
        is_wine_builtin=builtin, is_wine_placeholder=False,
    )  # fmt: skip


def module(base: int, name: str = "a.exe") -> Module:
    return Module(0, name, base, base + 0x10000, kind="pe")


def windows(is_wine: bool = True) -> Any:
    return SimpleNamespace(is_wine=is_wine, programs=lambda: {0x400000}, asked=[])


def target(version: tuple[int, int] | None, word: int = 4) -> Any:
    wine = None if version is None else SimpleNamespace(version=version)
    return SimpleNamespace(wine=wine, arch=SimpleNamespace(pointer_size=word))


@pytest.mark.parametrize(
    ("base", "header", "verdict", "words"),
    [
        (0x400000, pe(0x400000), "ok", "at its preferred base"),
        (0x500000, pe(0x400000), "note", "relocated by +0x100000"),
        (0x300000, pe(0x400000), "note", "relocated by -0x100000"),
        (0x500000, pe(0x400000, STRIPPED), "warning", "has no relocations"),
        (0x400000, pe(0x400000, mapped=True), "unknown", "file is not at hand"),
        (0x500000, pe(0x400000, mapped=True), "note", "relocated"),
        (0x400000, None, "unknown", "headers"),
    ],
)
def test_the_programs_base(base: int, header: Any, verdict: str, words: str) -> None:
    rule = rules_windows._image_base([(module(base), header)], {base})
    assert (rule.verdict, words in rule.says) == (verdict, True)
    assert f"{base:#x}" in rule.evidence[0]


def test_without_a_peb_no_program_is_known() -> None:
    assert rules_windows._image_base([(module(0x400000), pe(0x400000))], set()).verdict == "unknown"


def test_relocated_dlls_native_ones_first() -> None:
    images = [
        (module(0x400000), pe(0x400000)),
        (module(0x7B000000, "kernel32.dll"), pe(0x10000000, builtin=True)),
        (module(0x2000000, "game.dll"), pe(0x10000000)),
        (module(0x3000000, "there.dll"), pe(0x3000000)),
        (module(0x4000000, "lost.dll"), None),
    ]
    [rule] = rules_windows._dll_bases(images, {0x400000})
    assert rule.verdict == "note"
    assert rule.says.startswith("1 DLLs are at their preferred bases, 2 are relocated; of 1 it is")
    assert rule.evidence[0].startswith("game.dll (native) at 0x2000000, linked for 0x10000000: -0x")
    assert rule.evidence[1].startswith("kernel32.dll (builtin)")


def high(flags: int, areas: list[Area], word: int = 4) -> Rule:
    made = layout(areas, word=word, windows=True)
    return rules_windows._high_addresses(made, windows(), pe(0x400000, flags))


def test_addresses_that_a_program_may_not_expect() -> None:
    above = area(0x90000000, 0x90100000, Kind.WINDOWS_HEAP, "Windows heap")
    unix = area(0xF7000000, 0xF7100000, Kind.LIBRARY, "libc.so.6 code")
    bad = high(0, [above, unix])
    assert bad.verdict == "warning"
    assert bad.evidence[0] == "its header lacks LARGE_ADDRESS_AWARE"
    assert "Windows heap" in bad.evidence[1]
    assert high(LARGE, [above, unix]).verdict == "ok"
    assert "1 MiB, none of it known to be Windows" in high(0, [unix]).says
    assert "nothing is between 2 and 4 GiB" in high(0, [], word=8).says
    assert rules_windows._high_addresses(layout([]), windows(), None).verdict == "unknown"


def test_a_large_address_aware_program_in_64_bit_wine_has_all_of_4_gib() -> None:
    stack = area(0x100100000, 0x100200000, Kind.WINE_STACK, "Unix stack")
    rule = high(LARGE, [area(0xF0000000, 0xF0001000, Kind.WINDOWS_HEAP), stack], word=8)
    assert (rule.verdict, "any address below 4 GiB" in rule.says) == ("ok", True)


def test_what_wine_gives_out_of_what_it_holds_is_windows_codes() -> None:
    """VirtualAlloc(0x90000000) of a program without LARGE_ADDRESS_AWARE; Wine 10.0 grants it."""
    held = "addresses above those of Windows code, held by Wine"
    low = area(0x82000000, 0x90000000, Kind.RESERVED, held, permissions="---p")
    given = area(0x90000000, 0x90100000, Kind.ANONYMOUS, "anonymous memory")
    rest = area(0x90100000, 0xFFB50000, Kind.RESERVED, held, permissions="---p")
    last = area(0xFFB50000, 0xFFE50000, Kind.ANONYMOUS, "anonymous memory")
    rule = high(0, [low, given, rest, last])
    assert rule.verdict == "warning"
    assert rule.evidence[1:] == [
        "0x90000000-0x90100000 rw-p anonymous memory, in the midst of what Wine holds"
    ]
    # Beside what Wine holds are things of both.
    alone = high(0, [low, rest, last])
    assert (alone.verdict, "of 3 MiB without an owner's name" in alone.says) == ("ok", True)


def test_the_dos_area() -> None:
    dos = area(0x10000, 0x110000, Kind.DOS, "DOS area")
    foreign = area(0x20000, 0x21000, Kind.LIBRARY, "libc.so.6 code")
    assert rules_windows._dos_area(layout([dos]), windows()).verdict == "ok"
    assert rules_windows._dos_area(layout([foreign]), windows()).verdict == "warning"
    assert rules_windows._dos_area(layout([]), windows()).verdict == "note"
    assert rules_windows._dos_area(layout([]), windows(False)).verdict == "not_applicable"


def test_the_shared_heap_by_version() -> None:
    there = layout([area(2 * GIB, 2 * GIB + 0x1000000)])
    assert rules_windows._shared_heap(there, target((10, 0))).verdict == "not_applicable"
    assert rules_windows._shared_heap(there, target((7, 18))).verdict == "ok"
    assert rules_windows._shared_heap(layout([]), target((5, 0))).verdict == "note"
    assert rules_windows._shared_heap(there, target(None)).verdict == "unknown"


def test_the_preloader() -> None:
    library = area(0xF7000000, 0xF7100000, Kind.LIBRARY, "libc.so.6 code")
    low = area(0x7FD00000, 0x7FD10000, Kind.LIBRARY, "libm.so.6 code")
    loader = area(0x7D400000, 0x7D402000, Kind.EXECUTABLE, "wine-preloader code")
    loader.path = "/usr/bin/wine-preloader"
    cast_target = target((10, 0))
    assert rules_windows._preloader(layout([loader, library]), cast_target).verdict == "ok"
    assert rules_windows._preloader(layout([library]), cast_target).verdict == "ok"
    bad = rules_windows._preloader(layout([low, library]), cast_target)
    assert (bad.verdict, "libm.so.6" in bad.evidence[0]) == ("warning", True)
    assert rules_windows._preloader(layout([]), cast_target).verdict == "unknown"


def test_what_became_of_each_reserved_range() -> None:
    areas = [
        area(0x110000, 0x310000, Kind.RESERVED, "held", "---p"),
        area(0x400000, 0x500000, Kind.PROGRAM, "a.exe .text"),
        area(0x60000000, 0x60100000, Kind.LIBRARY, "libc.so.6 code"),
    ]
    made = cast(Layout, layout(areas, windows=True))
    found = list(rules_windows._areas(made, target((10, 0)), windows()))
    assert [rule.verdict for rule in found] == ["note", "warning", "note"]
    assert "2 MiB held without access, 1 MiB used for Windows code" in found[1].says
    assert "1 MiB used by what does not belong there" in found[1].says
    assert found[1].evidence == ["0x60000000-0x60100000 rw-p libc.so.6 code"]
    assert len(list(rules_windows._areas(made, target((10, 0), 8), windows()))) == 4


def test_held_memory_is_no_heap_whatever_linux_calls_it() -> None:
    """The program break may be put into what Wine's preloader holds."""
    made = object.__new__(Windows)
    made.target, made.is_wine, made.asked = target((8, 0)), True, []
    found = [
        mapping(0x7F000000, 0x7FDE0000, "---p", "[heap]"),
        mapping(0x7FDE0000, 0x7FE00000, "rw-p", "[heap]"),
        mapping(0x7FE00000, 0x7FF00000, "---p", "/usr/lib/libc.so.6"),
    ]
    areas = paint(found, [made.reserved()], label_of)
    assert [(each.kind, tenant(each)) for each in areas] == [
        (Kind.RESERVED, "held"), (Kind.HEAP, "foreign"), (Kind.FILE, "unknown")
    ]  # fmt: skip
