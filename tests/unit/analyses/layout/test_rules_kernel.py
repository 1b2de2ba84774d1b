"""Verdicts on where the kernel puts things, of address spaces of which the answer is known."""

from __future__ import annotations

import pytest

from unspool.analyses.layout import rules_kernel
from unspool.analyses.layout.build import _top
from unspool.analyses.layout.records import Area, Kind, Layout
from unspool.analyses.layout.system import System

from .made_up import GIB, area, layout

MIB = 1 << 20
COMPAT_LAYOUT = 0x200000


@pytest.mark.parametrize(
    ("arch", "word", "end", "words", "top"),
    [
        ("x86", 4, 0xFFFFD000, "more than 3 GiB", 0xFFFFE000),
        ("x86", 4, 0xBFFFF000, "3G/1G", 3 * GIB),
        ("x86", 4, 0x7FFF0000, "2G/2G", 3 * GIB),
        ("x86_64", 8, 0x7FFFFFFFF000, "within 47 bits, which every x86_64", 1 << 47),
        ("x86_64", 8, 0xFFFFFFFFFFF000, "56 bits", 1 << 56),
        ("aarch64", 8, 0x7FF5EB7000, "within 48 bits, which every aarch64", 1 << 39),
        ("aarch64", 8, 0xFFFFE2621000, "within 48 bits, which every aarch64", 1 << 48),
        ("aarch64", 8, 0xFFFFFFFFFF000, "52 bits", 1 << 52),
    ],
)
def test_the_split_of_the_address_space(
    arch: str, word: int, end: int, words: str, top: int
) -> None:
    vsyscall = area(0xFFFFFFFFFF600000, 0xFFFFFFFFFF601000, Kind.KERNEL)
    made = layout([area(end - 0x1000, end), *([vsyscall] if word == 8 else [])], word=word)
    made.target.arch = arch
    assert words in rules_kernel.top(made).says
    assert _top(made) == top


def images(linker: int, *libraries: int, word: int = 4, system: System | None = None) -> Layout:
    found = []
    for index, base in enumerate((linker, *libraries)):
        made = area(base, base + 0x1000, Kind.LIBRARY)
        made.module = index
        found.append(made)
    return layout(sorted(found, key=lambda each: each.start), word=word, system=system)


@pytest.mark.parametrize(
    ("linker", "libraries", "word", "verdict", "words"),
    [
        (0xF7F23000, (0xF7CE2000,), 4, "ok", "from high addresses down"),
        (0x55631000, (0x55670000, 0x558A0000), 4, "warning", "from low addresses up"),
        (0x2ACF23F03000, (0x2ACF23F51000,), 8, "note", "from low addresses up"),
        # A stack without a limit, by a kernel of today.
        (0x2AA45000, (0x2A7CF000,), 4, "warning", "it leaves what is above to the first stack"),
        (0x150C50A35000, (0x150C5083A000,), 8, "ok", "from high addresses down"),
        (0xF7000000, (0xF6000000, 0xF8000000), 4, "unknown", "above and below"),
        (0xF7000000, (), 4, "unknown", "no dynamic linker and library"),
    ],
)
def test_the_direction_of_mappings(
    linker: int, libraries: tuple[int, ...], word: int, verdict: str, words: str
) -> None:
    # What the process may do today says nothing of how it was laid out.
    for system in (System(), System(stack_limit=-1), System(legacy=1)):
        rule = rules_kernel.direction(images(linker, *libraries, word=word, system=system), linker)
        assert (rule.id, rule.verdict) == ("mmap-direction", verdict)
        assert words in rule.says


def test_the_dynamic_linker_of_a_process_with_a_preloader_is_known_by_its_name() -> None:
    made = images(0xF7F23000, 0xF7CE2000)
    assert rules_kernel.direction(made, 0).verdict == "unknown"
    made.areas[-1].name = "ld-linux.so.2 constants"
    assert rules_kernel.direction(made, 0).verdict == "ok"


def test_the_direction_without_libraries() -> None:
    alone = layout([area(0x400000, 0x401000, Kind.EXECUTABLE)], system=System())
    assert rules_kernel.direction(alone, 0).verdict == "unknown"
    alone.system = System(personality=COMPAT_LAYOUT)
    rule = rules_kernel.direction(alone, 0)
    assert (rule.verdict, "ADDR_COMPAT_LAYOUT" in rule.evidence[0]) == ("warning", True)


def stack_layout(below: Area, limit: int | None, *, windows: bool = False) -> Layout:
    stack = area(0xBF000000, 0xC0000000, Kind.STACK, "first stack")
    stack.path, stack.threads = "[stack]", (0,)
    return layout([below, stack], system=System(stack_limit=limit), windows=windows)


def test_room_of_the_first_stack() -> None:
    far, near = area(0x10000000, 0x10001000), area(0xBEFF0000, 0xBEFF1000)
    assert rules_kernel.stack_room(stack_layout(far, 8 * MIB)).verdict == "ok"
    assert rules_kernel.stack_room(stack_layout(near, 8 << 30)).verdict == "warning"
    without = rules_kernel.stack_room(stack_layout(far, -1))
    assert (without.verdict, "2.7 GiB" in without.says) == ("note", True)
    assert rules_kernel.stack_room(stack_layout(far, None)).verdict == "unknown"
    held = area(0xBEFF0000, 0xBEFF1000, Kind.RESERVED, permissions="---p")
    assert rules_kernel.stack_room(stack_layout(held, 8 << 30, windows=True)).verdict == "note"
    assert rules_kernel.stack_room(layout([])).verdict == "unknown"


def test_a_stack_that_no_thread_of_wine_is_on_need_not_grow() -> None:
    made = stack_layout(area(0xBEFF0000, 0xBEFF1000), 8 << 30, windows=True)
    assert rules_kernel.stack_room(made).verdict == "warning"
    made.areas[-1].threads = ()
    assert rules_kernel.stack_room(made).verdict == "note"
