"""The bundled real cores, cut and changed, with their programs at hand."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.fuzz.harness import examine, examine_file, within
from tests.fuzz.mutants import Mutant, patched, rearranged
from unspool.errors import UnspoolError

zstandard = pytest.importorskip("zstandard")

BUNDLED = Path(__file__).parents[1] / "corpus"
NAMES = sorted(path.name.removesuffix(".core.zst") for path in BUNDLED.glob("*.core.zst"))
SECONDS = 10
LENGTHS = 60


@cache
def core(name: str) -> bytes:
    packed = (BUNDLED / f"{name}.core.zst").read_bytes()
    data: bytes = zstandard.ZstdDecompressor().decompress(packed)
    return data


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("programs")
    for path in BUNDLED.glob("*.exe.zst"):
        data = zstandard.ZstdDecompressor().decompress(path.read_bytes())
        (folder / path.name.removesuffix(".exe.zst")).write_bytes(data)
    return str(folder)


def test_there_are_real_cores() -> None:
    assert len(NAMES) > 5


@pytest.mark.parametrize("name", NAMES)
def test_a_real_core_cut_at_many_lengths(name: str, tmp_path: Path, programs: str) -> None:
    data = core(name)
    path = tmp_path / "core"
    path.write_bytes(data)
    step = max(len(data) // LENGTHS, 1)
    lengths = [*range(0, min(len(data), 4000), 67), *range(4000, len(data), step)]
    whole = examine_file(str(path), symbols=True, where=programs)
    assert not isinstance(whole, UnspoolError)
    most = sum(len(stack.frames) for stack in whole.stacks)
    with within(60):
        for length in sorted(lengths, reverse=True):
            os.truncate(path, length)
            outcome = examine_file(str(path), where=programs)
            if not isinstance(outcome, UnspoolError):
                assert not outcome.complete
                # A wrong guess may be longer than the truth, but not by much.
                assert sum(len(stack.frames) for stack in outcome.stacks) <= most + 10


def places(data: bytes) -> list[range]:
    """Headers and notes at either end, and everything."""
    return [
        range(64),
        range(300),
        range(4000),
        range(len(data)),
        range(len(data) - 4000, len(data)),
    ]


small = st.sampled_from([name for name in NAMES if len(core(name)) < 400_000] or NAMES)


@settings(max_examples=examples(100), suppress_health_check=list(HealthCheck))
@given(patched(core, st.tuples(small), places) | rearranged(core, st.tuples(small), places))
def test_changed_real_cores(programs: str, mutant: Mutant) -> None:
    with within(SECONDS):
        examine(mutant.build(), symbols=True, where=programs)
