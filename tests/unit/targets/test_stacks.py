"""Which bytes of which stacks are copied."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unspool.arch.aarch64 import AARCH64
from unspool.arch.arm import ARM
from unspool.arch.base import Arch
from unspool.arch.x86 import X86
from unspool.arch.x86_64 import X86_64
from unspool.targets.live.procfs import Mapping, Maps
from unspool.targets.live.stacks import (
    _FOREIGN,
    Copied,
    Held,
    Planner,
    fair_share,
    merged,
    without,
)

MAIN = (0x7FFC_0000_0000, 0x7FFC_0002_1000)
THREAD = (0x7F00_0000_1000, 0x7F00_0080_1000)
TLS = THREAD[1] - 0x940
BSS = (0x55_0000_4000, 0x55_0003_4000)
HEAP = (0x55_0010_0000, 0x55_4010_0000)
ARENA = (0xC0_0000_0000, 0xC0_0400_0000)
CODE = (0x55_0000_0000, 0x55_0000_4000)
PC = CODE[0] + 16


def mapping(place: tuple[int, int], permissions: str = "rw-p", path: str = "") -> Mapping:
    return Mapping(*place, permissions, 0, 0, 7 if path.startswith("/") else 0, path)


MAPS = Maps(
    [
        mapping(CODE, "r-xp", "/bin/prog"),
        mapping(BSS, path="/bin/prog"),
        mapping(HEAP, path="[heap]"),
        mapping(ARENA),
        mapping(THREAD),
        mapping(MAIN, path="[stack]"),
    ]
)


def planner(arch: Arch = X86_64, pid: int = 1) -> Planner:
    return Planner(pid, MAPS, arch)


def first(*threads: Held, arch: Arch = X86_64) -> list[tuple[int, int]]:
    return planner(arch).first(threads)


# --- the used part of a stack ------------------------------------------------------------


def test_main_stack_is_copied_to_its_end() -> None:
    assert first(Held(1, PC, MAIN[1] - 0x500, 0)) == [(MAIN[1] - 0x500 - 128, MAIN[1])]


def test_only_x86_64_has_a_red_zone() -> None:
    held = Held(1, PC, MAIN[1] - 0x500, 0)
    for arch in (X86, AARCH64, ARM):
        assert first(held, arch=arch) == [(MAIN[1] - 0x500, MAIN[1])]


def test_the_red_zone_ends_with_the_mapping() -> None:
    assert first(Held(1, PC, MAIN[0] + 8, 0)) == [MAIN]


def test_thread_stack_ends_at_the_control_block() -> None:
    sp = TLS - 0x3000
    assert first(Held(2, PC, sp, TLS)) == [(sp - 128, TLS)]


def test_foreign_stack_is_bounded() -> None:
    low = HEAP[0] + 0x100000
    assert first(Held(2, PC, low + 128, TLS)) == [(low, low + _FOREIGN)]
    assert first(Held(2, PC, BSS[0] + 128, TLS)) == [BSS]


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (ARENA[0], ""), (ARENA[0] + 0x3000, ""), (0x1C0_0000_3000, ""),
        (0x1234_5400_0000, ""), (0x7F12_3456_7000, "[anon: Go: heap]"),
    ],
)  # fmt: skip
def test_thread_pointer_inside_of_a_go_arena_says_nothing(start: int, name: str) -> None:
    plan = planner()
    plan.maps = Maps([mapping(CODE, "r-xp"), mapping((start, start + 0x400_0000), path=name)])
    low = start + 0x1000
    held = Held(2, PC, low + 128, start + 0x3FF_FF80)
    assert plan.first([held]) == [(low, low + _FOREIGN)]


@pytest.mark.parametrize("start", [0x7FC0_A3A2_B000, 0x2AC0_0000_1000, 0x55C0_0001_0000])
def test_the_kernel_puts_stacks_where_go_would_ask_for_its_last_arenas(start: int) -> None:
    """Seen once in 256 processes: thread stacks at 0x7fc0xxxxxxxx were cut to 256 kB."""
    plan = planner()
    plan.maps = Maps([mapping(CODE, "r-xp"), mapping((start, start + 0x80_0000))])
    tls = start + 0x80_0000 - 0x940
    sp = tls - 300_000
    assert plan.first([Held(2, PC, sp, tls)]) == [(sp - 128, tls)]


def test_a_stack_of_64_mb_above_its_guard_is_no_arena() -> None:
    """Python's threading.stack_size(64 << 20): glibc adds the guard to it, and where the malloc
    arena of another thread follows, the stack begins at a multiple of 64 MB."""
    low, high = 0x7F9B_8800_0000, 0x7F9B_8C00_0000
    plan = planner()
    guard = mapping((low - 4096, low), "---p")
    plan.maps = Maps([mapping(CODE, "r-xp"), guard, mapping((low, high))])
    tls = high - 0x940
    sp = tls - 900_000
    assert plan.first([Held(2, PC, sp, tls)]) == [(sp - 128, tls)]


@pytest.mark.parametrize("sp", [0, 8, CODE[0] + 64, THREAD[0] - 8, (1 << 64) - 8])
def test_wild_stack_pointer_asks_for_newer_mappings(sp: int) -> None:
    plan = planner()
    assert plan.first([Held(2, PC, sp, TLS)]) == []
    assert plan.outdated


def test_wild_pc_asks_for_newer_mappings() -> None:
    plan = planner()
    plan.first([Held(1, PC, MAIN[1] - 64, 0)])
    assert not plan.outdated
    plan.first([Held(1, BSS[0], MAIN[1] - 64, 0)])
    assert plan.outdated


def test_threads_on_one_stack_are_copied_once() -> None:
    low = HEAP[0] + 0x1000
    held = [Held(tid, PC, low + 128 + tid * 64, 0) for tid in range(2, 6)]
    assert first(*held) == [(low + 128, low + 5 * 64 + _FOREIGN)]


# --- more than there is room for ------------------------------------------------------------


def test_all_is_copied_where_there_is_room() -> None:
    plan = planner()
    plan.first([Held(2, PC, THREAD[0] + 0x1000, TLS), Held(1, PC, MAIN[0] + 0x1000, 0)])
    assert plan.cut == []


def test_the_biggest_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from unspool.targets.live import stacks

    monkeypatch.setattr(stacks, "_BUDGET", 1 << 20)
    monkeypatch.setattr(stacks, "_LEAST", 0)
    plan = planner()
    small = (MAIN[1] - 0x1000 - 128, MAIN[1])
    ranges = plan.first([Held(2, PC, THREAD[0] + 0x80, TLS), Held(1, PC, MAIN[1] - 0x1000, 0)])
    assert ranges == [(THREAD[0], THREAD[0] + (1 << 20) - 0x1000 - 128), small]
    assert plan.cut == [2]


@given(st.lists(st.integers(0, 1 << 30), max_size=50), st.integers(0, 1 << 30))
def test_fair_share_fits_and_wastes_nothing(sizes: list[int], budget: int) -> None:
    share = fair_share(sizes, budget)
    total = sum(min(size, share) for size in sizes)
    assert total <= budget or not sizes
    if sum(sizes) <= budget:
        assert total == sum(sizes)
    else:
        assert total > budget - len(sizes)


def test_fair_share_where_all_fit() -> None:
    assert fair_share([1], 1) == 1
    assert fair_share([5, 2], 8) >= 5


# --- ranges -----------------------------------------------------------------------------

RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], sum(pair)))
)


def addresses(ranges: list[tuple[int, int]]) -> set[int]:
    return {address for low, high in ranges for address in range(low, high)}


@given(RANGES)
def test_merged_ranges_are_the_same_addresses(ranges: list[tuple[int, int]]) -> None:
    result = merged(ranges)
    assert addresses(result) == addresses(ranges)
    assert all(low < high for low, high in result)
    assert all(one[1] <= other[0] for one, other in pairwise(result))


@given(RANGES, RANGES)
def test_what_is_left_is_the_difference(
    whole: list[tuple[int, int]], taken: list[tuple[int, int]]
) -> None:
    for part in whole:
        left = without(part, merged(taken))
        assert addresses(left) == addresses([part]) - addresses(taken)


# --- stacks that a signal interrupted ------------------------------------------------------


def copied(low: int, data: bytes) -> Copied:
    return Copied([(low, low + len(data))], bytearray(data))


def signal_frame(arch: Arch, sp: int) -> bytes:
    """What the kernel pushes, as far as it matters: by the table that the walk uses."""
    if arch is X86_64:
        gregs = [0] * 23
        gregs[15], gregs[18] = sp, 0x002B_0000_0000_0033  # rsp; cs, gs, fs, ss
        return bytes(40) + struct.pack("<23Q", *gregs)
    if arch is X86:
        return struct.pack("<4I4I", 0, 0, 0x2B, 0x2B, 1, 2, 3, sp) + bytes(40)
    if arch is ARM:
        # siginfo; ucontext: three words and uc_stack, trap_no to oldmask, r0 to pc, cpsr,
        # fault_address; masks of 128 bytes; then uc_regspace.
        registers = [*range(13), sp, 0x1234, 0x5678, 0x10, 0]
        frame = bytes(128) + struct.pack("<5I3I18I", *[0] * 8, *registers) + bytes(128)
        return frame + struct.pack("<II", 0x5646_5001, 0x120) + bytes(280)
    words = [*range(31), sp, 0x1234, 0]  # x0-x30, sp, pc, pstate; fault_address is before them
    frame = bytes(128 + 176) + bytes(8) + struct.pack("<34Q", *words) + bytes(8)
    return frame + struct.pack("<II", 0x4650_8001, 0x210) + bytes(528)


@pytest.mark.parametrize("arch", [X86_64, X86, AARCH64, ARM], ids=lambda arch: arch.name)
def test_interrupted_stack_is_found_in_the_signal_frame(arch: Arch) -> None:
    if arch.pointer_size == 4:
        places = [
            Mapping(0x8000, 0x20000, "rw-p", 0, 0, 0, ""),
            Mapping(0xF000_0000, 0xF080_0000, "rw-p", 0, 0, 0, ""),
        ]
        maps, low, tls, saved = Maps(places), 0x9000, 0xF07F_F000, 0xF07F_8000
    else:
        maps, low, tls, saved = MAPS, BSS[0] + 0x100, TLS, TLS - 0x5000
    plan = Planner(1, maps, arch)
    held = Held(2, PC, low, tls)
    plan.first([held])
    data = bytes(256) + signal_frame(arch, saved) + bytes(512)
    ranges, places_ = plan.more([(held, low)], copied(low, data))
    red_zone = 128 if arch is X86_64 else 0
    assert ranges == [(saved - red_zone, tls)]
    assert [(place[0].tid, place[1]) for place in places_] == [(2, saved)]


def test_ordinary_handler_leads_nowhere_new() -> None:
    plan = planner()
    sp = TLS - 0x4000
    held = Held(2, PC, sp, TLS)
    ranges = plan.first([held])
    data = bytearray(ranges[0][1] - ranges[0][0])
    frame = signal_frame(X86_64, sp + 0x1000)
    data[256 : 256 + len(frame)] = frame
    assert plan.more([(held, sp)], Copied(ranges, data)) == ([], [])


def test_stacks_full_of_signal_frames_are_bounded() -> None:
    plan = planner()
    held = Held(2, PC, BSS[0] + 0x100, TLS)
    plan.first([held])
    data = b"".join(
        signal_frame(X86_64, HEAP[0] + index * (4 << 20)) for index in range(200)
    )
    ranges, _ = plan.more([(held, held.sp)], copied(held.sp, data))
    assert 0 < sum(high - low for low, high in ranges) <= 64 << 20


def test_way_back_from_a_foreign_stack() -> None:
    """Code that switched stacks by itself has left a pointer to where it came from."""
    plan = planner()
    held = Held(2, PC, BSS[0] + 0x100, TLS, registers=[3, TLS - 0x2000])
    plan.first([held])
    data = struct.pack("<6Q", 1, TLS - 0x1000, 0, HEAP[0], MAIN[0], 5)
    assert plan.more([(held, held.sp)], copied(held.sp, data))[0] == [(TLS - 0x2000 - 128, TLS)]


def test_way_back_of_the_first_thread_is_to_the_main_stack() -> None:
    plan = planner()
    held = Held(1, PC, HEAP[0] + 0x100, TLS)
    plan.first([held])
    data = struct.pack("<3Q", TLS - 0x1000, MAIN[1] - 0x800, MAIN[1] - 0x400)
    assert plan.more([(held, held.sp)], copied(held.sp, data))[0] == [
        (MAIN[1] - 0x800 - 128, MAIN[1])
    ]


def test_no_way_back_without_a_pointer() -> None:
    plan = planner()
    held = Held(2, PC, BSS[0] + 0x100, TLS)
    plan.first([held])
    assert plan.more([(held, held.sp)], copied(held.sp, bytes(64))) == ([], [])


def test_windows_of_copied_ranges() -> None:
    both = Copied([(0x100, 0x110), (0x200, 0x220)], bytearray(range(48)))
    assert both.offsets == [0, 16] and both.size == 48
    assert both.window(0x108, 100) == (8, 16)
    assert both.window(0x200, 8) == (16, 24)
    assert both.window(0x110, 8) == (0, 0)
    assert both.index(0x21F) == 1 and both.index(0x220) is None and both.index(0) is None
