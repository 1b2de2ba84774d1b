"""Cores with bytes and fields changed at random: never an exception that is not ours."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.build.elf import EM_386, EM_AARCH64, EM_X86_64
from tests.conftest import examples
from tests.fuzz.harness import examine, within
from tests.fuzz.seeds import ARCHES, places, seed
from unspool.errors import UnspoolError

SECONDS = 10
EXTREMES = [
    0, 1, 2, 3, 4, 7, 8, 0x10, 0x7F, 0x80, 0xFF, 0xFFF, 0x1000, 0x7FFF, 0x8000, 0xFFFF, 0x10000,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1_0000_0000, (1 << 47) - 8, 1 << 47, (1 << 63) - 1,
    1 << 63, (1 << 64) - 0x1000, (1 << 64) - 8, (1 << 64) - 1,
]  # fmt: skip

cores = st.builds(seed, st.sampled_from(ARCHES), st.sampled_from(["first", "last"]))


@st.composite
def patched(draw: st.DrawFn) -> bytes:
    """A core with up to eight places overwritten."""
    data = bytearray(draw(cores))
    spots = places(bytes(data))
    for _ in range(draw(st.integers(1, 8))):
        spot = draw(st.sampled_from(spots))
        offset = draw(st.integers(spot.start, spot.stop - 1))
        if draw(st.booleans()):
            offset -= offset % 4
            size = draw(st.sampled_from([1, 2, 4, 8]))
            value = draw(st.sampled_from(EXTREMES) | st.integers(0, len(data) + 8))
            new = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        else:
            new = draw(st.binary(min_size=1, max_size=12))
        data[offset : offset + len(new)] = new
    return bytes(data)


@st.composite
def copied(draw: st.DrawFn) -> bytes:
    """A core with pieces of itself copied, moved, dropped or repeated elsewhere."""
    data = bytearray(draw(cores))
    spots = places(bytes(data))
    for _ in range(draw(st.integers(1, 4))):
        source, target = draw(st.sampled_from(spots)), draw(st.sampled_from(spots))
        start = draw(st.integers(source.start, source.stop - 1))
        size = draw(st.sampled_from([1, 4, 8, 24, 32, 56, 64, 336, 1000]))
        piece = bytes(data[start : start + size])
        at = draw(st.integers(target.start, target.stop - 1))
        kind = draw(st.sampled_from(["over", "insert", "drop", "repeat"]))
        if kind == "over":
            data[at : at + size] = piece
        elif kind == "insert":
            data[at:at] = piece
        elif kind == "drop":
            del data[at : at + size]
        else:
            data[at : at + 10 * size] = piece * 10
    return bytes(data)


def run(data: bytes, explain: bool) -> None:
    with within(SECONDS):
        examine(data, explain=explain)


@settings(max_examples=examples(600), suppress_health_check=list(HealthCheck))
@given(patched(), st.booleans())
def test_patched_cores(data: bytes, explain: bool) -> None:
    run(data, explain)


@settings(max_examples=examples(300), suppress_health_check=list(HealthCheck))
@given(copied(), st.booleans())
def test_rearranged_cores(data: bytes, explain: bool) -> None:
    run(data, explain)


@given(
    st.sampled_from([1, 2]),
    st.sampled_from([EM_X86_64, EM_386, EM_AARCH64, 0, 40, 243]),
    st.binary(max_size=400),
)
def test_random_bytes_behind_an_elf_header(elf_class: int, machine: int, rest: bytes) -> None:
    head = bytes([0x7F, 0x45, 0x4C, 0x46, elf_class, 1, 1]) + bytes(9) + b"\4\0"
    run(head + machine.to_bytes(2, "little") + rest, False)


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    with within(SECONDS):
        outcome = examine(data)
    assert isinstance(outcome, UnspoolError) or data.startswith(b"\x7fELF")
