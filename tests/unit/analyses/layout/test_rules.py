"""Verdicts on address spaces of which the answer is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unspool.analyses.layout import rules
from unspool.analyses.layout.records import Kind, Rule
from unspool.analyses.layout.system import System, stack_limit

from .made_up import GIB, area, layout

MIB = 1 << 20


def verdict(rule: Rule) -> tuple[str, str]:
    return rule.id, rule.verdict


def test_null_page_and_low_memory() -> None:
    fine = layout([area(0x10000, 0x20000)], system=System(min_address=65536))
    assert verdict(rules.null_page(fine)) == ("null-page", "ok")
    assert "vm.mmap_min_addr is 65536" in rules.null_page(fine).evidence
    assert verdict(rules.low_memory(fine)) == ("low-64k", "ok")
    bad = layout([area(0, 0x1000, name="jump table")])
    assert verdict(rules.null_page(bad)) == ("null-page", "warning")
    assert "jump table" in rules.null_page(bad).evidence[0]
    held = layout([area(0, 0x10000, Kind.RESERVED, permissions="---p")])
    assert verdict(rules.null_page(held)) == ("null-page", "ok")
    assert verdict(rules.low_memory(held)) == ("low-64k", "ok")
    low = [area(0x8000, 0x9000)]
    assert verdict(rules.low_memory(layout(low))) == ("low-64k", "note")
    assert verdict(rules.low_memory(layout(low, windows=True))) == ("low-64k", "warning")


def test_room_for_a_large_dll() -> None:
    assert verdict(rules.room(layout([])))[1] == "ok"
    every = 48 * MIB
    full = [area(at, at + MIB) for at in range(every, 4 * GIB, every + MIB)]
    tight = layout(full)
    assert all(block.size < 64 * MIB for block in tight.blocks)
    assert verdict(rules.room(tight))[1] == "warning"
    # What Wine holds, Windows code can have; a native program cannot.
    held = [area(0x10000, 4 * GIB, Kind.RESERVED, permissions="---p")]
    assert verdict(rules.room(layout(held)))[1] == "warning"
    assert verdict(rules.room(layout(held, windows=True)))[1] == "ok"
    assert verdict(rules.room(layout(held, word=8, top=1 << 47)))[1] == "not_applicable"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=8))
def test_the_largest_block_by_counting(pieces: list[tuple[int, int]]) -> None:
    page, at, areas = 0x8000, 0, []
    for skip, size in pieces:
        areas.append(area(at + skip * page, at + (skip + size) * page))
        at = areas[-1].end
    limit = 0x200000
    [block] = rules.blocks_of(areas, [limit])
    best = run = 0
    for low in range(0x10000, limit, 0x10000):
        free = all(each.end <= low or each.start >= low + 0x10000 for each in areas)
        run = run + 0x10000 if free else 0
        best = max(best, run)
    assert block.size == best
    holes = rules.holes_of(areas, limit)
    used = sum(max(min(each.end, limit) - min(each.start, limit), 0) for each in areas)
    assert sum(hole.size for hole in holes) == limit - used


def test_stacks_without_guards() -> None:
    guard = area(0x1000, 0x2000, Kind.GUARD, permissions="---p")
    stack = area(0x2000, 0x3000, Kind.STACK, "stack of thread 1")
    assert rules.guards(layout([guard, stack])).verdict == "ok"
    assert rules.guards(layout([stack])).verdict == "ok"
    bare = rules.guards(layout([area(0x1000, 0x2000, name="victim"), stack]))
    assert bare.verdict == "note"
    assert "victim" in bare.evidence[0]
    assert rules.guards(layout([])).verdict == "not_applicable"


def test_overcommit_and_the_number_of_mappings() -> None:
    areas = [area(0x1000, 0x2000)]
    assert rules.overcommit(layout(areas)).verdict == "unknown"
    assert rules.overcommit(layout(areas, system=System(overcommit=0))).verdict == "ok"
    strict = System(overcommit=2, commit_limit=8 * GIB, committed=GIB)
    assert rules.overcommit(layout(areas, system=strict)).verdict == "note"
    strict.committed = 8 * GIB
    assert rules.overcommit(layout(areas, system=strict)).verdict == "warning"
    many = [area(at * 0x2000, at * 0x2000 + 0x1000) for at in range(100)]
    assert rules.map_count(layout(many)).verdict == "unknown"
    assert rules.map_count(layout(many, system=System(max_maps=100))).verdict == "warning"
    assert rules.map_count(layout(many, system=System(max_maps=65530))).verdict == "ok"


def test_limits_and_sizes_in_words() -> None:
    head = b"Limit                     Soft Limit           Hard Limit           Units\n"
    row = b"Max stack size            8388608              unlimited            bytes\n"
    assert stack_limit(head + row) == 8 * MIB
    assert stack_limit(row.replace(b"8388608", b"unlimited")) == -1
    assert stack_limit(head) is None
    assert stack_limit(b"Max stack size") is None
    sizes = {0: "0 B", 4096: "4 KiB", 1 << 20: "1 MiB", 3 * GIB // 2: "1.5 GiB"}
    assert {size: rules.size_of(size) for size in sizes} == sizes
    assert rules.size_of(1 << 60) == "1024 PiB"
    assert System(randomize=2, personality=0x40000).is_random is False
    assert System(randomize=2, personality=0).is_random is True
    assert System().is_random is None
