"""Minidumps, built and real, with bytes and fields changed at random."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.build import minidump_records as r
from tests.conftest import CORPUS, examples
from tests.fuzz.commands import look_into
from tests.fuzz.harness import examine, within
from tests.fuzz.minidump_seeds import KINDS, honest, places
from tests.fuzz.minidump_values import read
from tests.fuzz.mutants import Mutant, patched, rearranged
from tests.fuzz.test_cut_minidumps import small
from unspool.errors import FormatError, UnspoolError
from unspool.formats.minidump.contexts import parse_context

SECONDS = 10
REAL = sorted(path.name.removesuffix(".zst") for path in CORPUS.glob("*.dmp.zst"))
NAMES = ("small", *KINDS)


@cache
def made(name: str) -> bytes:
    if name == "small":
        return small()
    dump = honest(name)
    dump.crashpad({"key": "value"}, {0: {"inner": "thing"}})
    dump.breakpad_info(4711)
    dump.unloaded_module(0x1000, 0x2000, "gone")
    return dump.build()


@cache
def real(name: str) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    with (CORPUS / f"{name}.zst").open("rb") as stream:
        data: bytes = zstandard.ZstdDecompressor().stream_reader(stream).read()
    return data


names = st.tuples(st.sampled_from(NAMES))
mutants = patched(made, names, places) | rearranged(made, names, places)


@settings(max_examples=examples(400), suppress_health_check=list(HealthCheck))
@given(mutants)
def test_the_reader(mutant: Mutant) -> None:
    with within(SECONDS):
        read(mutant.build())


@given(st.binary(max_size=400), st.integers(0, 20), st.integers(0, 64))
def test_the_reader_of_random_bytes(rest: bytes, count: int, table: int) -> None:
    head = r.HEADER.pack(
        Signature=0x504D444D, Version=0xA793, NumberOfStreams=count, StreamDirectoryRva=table
    )
    with within(SECONDS):
        read(head + rest)


@st.composite
def directories(draw: st.DrawFn) -> bytes:
    """A directory of known streams, of sizes that fit, over random bytes."""
    body = draw(st.binary(min_size=1, max_size=600))
    kinds = [*range(26), *range(0x47670001, 0x4767000B), r.CRASHPAD_INFO, 0x4D7A0001]
    count = draw(st.integers(1, 12))
    start = 32 + 12 * count
    table = b""
    for _ in range(count):
        rva = draw(st.integers(0, start + len(body)))
        size = draw(st.integers(0, start + len(body)))
        kind = draw(st.sampled_from(kinds))
        table += r.DIRECTORY.pack(StreamType=kind, DataSize=size, Rva=rva)
    head = r.HEADER.pack(
        Signature=0x504D444D, Version=0xA793, NumberOfStreams=count, StreamDirectoryRva=32
    )
    return head + table + body


@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck))
@given(directories())
def test_streams_of_random_bytes(data: bytes) -> None:
    with within(SECONDS):
        read(data)
        examine(data)
        look_into(data)


@given(st.sampled_from(sorted(r.CONTEXTS)), st.integers(0, 1300), st.binary(max_size=1300))
def test_contexts_of_any_size(arch: str, size: int, noise: bytes) -> None:
    whole = bytearray(r.context(arch, {}))
    whole[: len(noise)] = noise
    for number in (*r.ARCHITECTURES.values(), 1, 10, 0xFFFF):
        with within(SECONDS), suppress(FormatError):
            parse_context(bytes(whole[:size]), number)


@settings(max_examples=examples(300), suppress_health_check=list(HealthCheck))
@given(mutants, st.booleans())
def test_patched_minidumps(mutant: Mutant, explain: bool) -> None:
    with within(SECONDS):
        examine(mutant.build(), explain=explain, symbols=not explain)


@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(mutants)
def test_patched_minidumps_looked_into(mutant: Mutant) -> None:
    with within(SECONDS):
        look_into(mutant.build())


if REAL:
    chosen = st.tuples(st.sampled_from(REAL))

    @settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))
    @given(patched(real, chosen, places) | rearranged(real, chosen, places))
    def test_changed_real_minidumps(mutant: Mutant) -> None:
        data = mutant.build()
        with within(SECONDS):
            read(data)
            examine(data)

    @settings(max_examples=examples(20), suppress_health_check=list(HealthCheck))
    @given(patched(real, chosen, places) | rearranged(real, chosen, places))
    def test_changed_real_minidumps_looked_into(mutant: Mutant) -> None:
        with within(3 * SECONDS):
            look_into(mutant.build())


@given(st.binary(max_size=200))
def test_random_bytes_behind_the_signature(rest: bytes) -> None:
    with within(SECONDS):
        outcome = examine(b"MDMP" + rest)
    assert isinstance(outcome, UnspoolError) or len(rest) >= 28
