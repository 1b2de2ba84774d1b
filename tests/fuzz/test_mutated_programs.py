"""Honest cores whose program's file is broken: the file is data from an attacker as well."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.build.elf import Elf, Symbol
from tests.build.process import FRAMES, HEADER, IMAGE_SIZE, MACHINES, Process, Program
from tests.conftest import examples
from tests.fuzz.harness import directory, examine, within
from tests.fuzz.mutants import Mutant, patched, rearranged
from tests.fuzz.seeds import ARCHES
from unspool.model import Report, StopReason

SECONDS = 10


@cache
def program(arch: str) -> bytes:
    """The program's file: image, sections behind it, symbols, MiniDebugInfo, a debug link."""
    return program_of(arch).build()


def program_of(arch: str) -> Program:
    made = Program(MACHINES[arch], build_id=b"")
    inner = Elf(MACHINES[arch].bits, MACHINES[arch].number)
    text = inner.section(".text", data=bytes(64), address=0x1000, flags="ax")
    inner.symbols([Symbol(f"small{i}", 0x1000 + i, 1, section=text) for i in range(40)])

    def more(image: Elf) -> None:
        image.mini_debug_info(inner.build())
        image.debug_link("prog.debug", b"")
        image.section(".debug_frame", data=made.debug_frames(), compress="zlib")

    made.extra = more
    return made


def places(data: bytes) -> list[range]:
    return [
        range(64),
        range(52, 300),
        range(HEADER, HEADER + 80),
        range(FRAMES, FRAMES + 0x180),
        range(FRAMES + 0x180, len(data)),
        range(len(data) - 900, len(data)),
    ]


def run(file: bytes, arch: str) -> Report:
    with tempfile.TemporaryDirectory(dir=directory()) as folder:
        path = Path(folder) / "prog"
        path.write_bytes(file)
        process = Process(arch, path=str(path), program=program_of(arch))
        process.thread(1, ["inner", "middle", "main", "_start"], signal=11)
        with within(SECONDS):
            outcome = examine(process.core(hold_image=False).build(), symbols=True)
    assert isinstance(outcome, Report)
    assert len(outcome.stacks) == 1
    return outcome


@pytest.mark.parametrize("arch", ARCHES)
def test_the_honest_program_gives_the_whole_stack(arch: str) -> None:
    report = run(program(arch), arch)
    [stack] = report.stacks
    names = [report.locations[frame.lookup_pc].function for frame in stack.frames]
    assert names == ["inner", "middle", "main", "_start"]
    assert stack.stop.reason == StopReason.ROOT


arches = st.tuples(st.sampled_from(ARCHES))


@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(patched(program, arches, places))
def test_patched_programs(file: Mutant) -> None:
    run(file.build(), str(file.arguments[0]))


@settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))
@given(rearranged(program, arches, places))
def test_rearranged_programs(file: Mutant) -> None:
    run(file.build(), str(file.arguments[0]))


@pytest.mark.parametrize("arch", ARCHES)
def test_a_program_cut_anywhere(arch: str) -> None:
    whole = program(arch)
    ends = [*range(1, 400, 7), *range(400, IMAGE_SIZE, 997), *range(IMAGE_SIZE, len(whole), 97)]
    for length in ends:
        run(whole[:length], arch)
