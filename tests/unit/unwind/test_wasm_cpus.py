"""Frames of Wasm code on each CPU, on stacks that a model of its prologues has made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build.wasm_stack import CALLS, SIGNATURE, activation
from unspool.unwind.wasm_frames import TRAITS, End, frames

HIGH = 0x7FFF_0000_0000
SIZES = st.lists(st.integers(0, 64).map(lambda each: 16 * each), max_size=40)


@pytest.mark.parametrize("cpu", CALLS)
@given(sizes=SIZES)
def test_all_frames_of_an_activation(cpu: str, sizes: list[int]) -> None:
    pcs = [0x4000_0000 + 4 * index for index in range(len(sizes))]
    made = activation(cpu, pcs, sizes, HIGH)
    traits = TRAITS[cpu.partition(" ")[0]]
    assert traits.byteorder == made.machine.order
    walk = frames(traits, made.machine.read, made.pc, made.fp, made.trampoline_fp)
    assert list(walk.pairs()) == list(made.frames)
    assert walk.end is not None
    assert walk.end.reason == End.ENTRY
    assert walk.end.fp == made.trampoline_fp
    assert walk.end.pc & ~SIGNATURE == 0x2000_0000


@pytest.mark.parametrize("cpu", CALLS)
def test_the_stack_pointer_of_the_older_frame(cpu: str) -> None:
    """What `older_sp` is: where the caller's stack pointer was when it called."""
    _, call = CALLS[cpu]
    made = activation(cpu, [0x4000_0000], [32], HIGH)
    before = made.machine.sp
    call(made.machine, 0x4000_0004, 48)
    assert made.machine.fp + TRAITS[cpu.partition(" ")[0]].older_sp == before


@pytest.mark.parametrize("cpu", ["s390x"])
def test_the_other_byte_order_is_not_taken_for_frames(cpu: str) -> None:
    made = activation(cpu, [0x4000_0000, 0x4000_0004], [32, 48], HIGH)
    made.machine.order = "little"
    walk = frames(TRAITS[cpu], made.machine.read, made.pc, made.fp, made.trampoline_fp)
    assert len(list(walk.pairs())) == 1
    assert walk.end is not None
    assert walk.end.reason in (End.PASSED, End.NOT_OLDER, End.UNALIGNED)
