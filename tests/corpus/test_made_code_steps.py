"""What code does until it returns, asked at every instruction of real aarch64 code that a program
has made: the same recordings as `test_wasm_steps`, with nothing known of the runtime."""

from __future__ import annotations

import lzma
from collections import Counter

import pytest

import unspool
from tests.programs.wasm_hosts import read_steps
from unspool.unwind.step import Found, Query
from unspool.unwind.strategies.code_ahead import AheadInMadeCode

from .test_wasm_steps import HERE, NAMES, Process

ARM64 = [name for name in NAMES if "aarch64" in name]


@pytest.mark.parametrize("name", ARM64)
def test_the_caller_is_the_one_that_called(name: str) -> None:
    steps = list(read_steps(lzma.decompress((HERE / f"{name}.steps.xz").read_bytes())))
    found: Counter[str] = Counter()
    with unspool.open(str(HERE / f"{name}.core.xz")) as target:
        process = Process(target)
        space = target.space
        arch = space.arch
        strategy = AheadInMadeCode(space)
        for step in steps:
            registers = process.state(step)
            window = space.memory.window(step.sp)
            answer = strategy.answer(Query(step.pc, True, registers, window, above=step.sp))
            if isinstance(answer, Found):
                assert answer.registers[arch.pc] == step.callers[0], hex(step.pc)
                found[answer.trust] += 1
    assert sum(found.values()) > 0.85 * len(steps), found
    assert found["leaf"] > 40
    assert found["frame_pointer"] > 300
