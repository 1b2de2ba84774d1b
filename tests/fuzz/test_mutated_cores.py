"""Cores with bytes and fields changed at random: never an exception that is not ours."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.build.elf import EM_386, EM_AARCH64, EM_X86_64
from tests.conftest import examples
from tests.fuzz.harness import examine, within
from tests.fuzz.mutants import Mutant, patched, rearranged
from tests.fuzz.seeds import ARCHES, places, seed
from unspool.errors import UnspoolError

SECONDS = 10
cores = st.tuples(st.sampled_from(ARCHES), st.sampled_from(["first", "last"]))


def run(data: bytes, explain: bool = False) -> None:
    with within(SECONDS):
        examine(data, explain=explain, symbols=not explain)


@settings(max_examples=examples(600), suppress_health_check=list(HealthCheck))
@given(patched(seed, cores, places), st.booleans())
def test_patched_cores(core: Mutant, explain: bool) -> None:
    run(core.build(), explain)


@settings(max_examples=examples(300), suppress_health_check=list(HealthCheck))
@given(rearranged(seed, cores, places), st.booleans())
def test_rearranged_cores(core: Mutant, explain: bool) -> None:
    run(core.build(), explain)


@given(
    st.sampled_from([1, 2]),
    st.sampled_from([EM_X86_64, EM_386, EM_AARCH64, 0, 40, 243]),
    st.binary(max_size=400),
)
def test_random_bytes_behind_an_elf_header(elf_class: int, machine: int, rest: bytes) -> None:
    head = bytes([0x7F, 0x45, 0x4C, 0x46, elf_class, 1, 1]) + bytes(9) + b"\4\0"
    run(head + machine.to_bytes(2, "little") + rest)


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    with within(SECONDS):
        outcome = examine(data)
    assert isinstance(outcome, UnspoolError) or data.startswith(b"\x7fELF")
