"""The bundled cores of Wine processes, cut and changed: TEBs, frames, headers, unwind data."""

from __future__ import annotations

import json
import lzma
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import examples
from tests.corpus.reduce.core_file import CoreFile, Piece, Segment
from tests.fuzz.harness import examine, within
from tests.fuzz.mutants import Mutant, patched, rearranged
from unspool.errors import UnspoolError
from unspool.model import Report, StopReason

BUNDLED = Path(__file__).parents[1] / "corpus" / "wine"
NAMES = ("wine-8.0-x86_64", "wine-10.0-i386", "wine-10.0-wow64")
# Threads with every kind of switch, so that one look at a core takes a tenth of a second.
SCENARIOS = {"wndproc", "null_deref", "suspended_spin", "apc", "unix_call"}
NT_PRSTATUS, NT_386_TLS = 1, 0x200
PAGE = 0x1000
SECONDS = 10
LENGTHS = 40


@cache
def core(name: str) -> bytes:
    """A bundled core with a few of its threads, and with the pages alone that are not zero."""
    wanted = {
        thread["tid"]
        for thread in json.loads((BUNDLED / f"{name}.json").read_text())["threads"]
        if thread["scenario"] in SCENARIOS and thread["depth"] > 2
    }
    data = lzma.decompress((BUNDLED / f"{name}.core.xz").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "core"
        path.write_bytes(data)
        file = CoreFile(path)
        file.notes = notes_of(file, wanted)
        file.write(path, [piece for each in file.segments for piece in filled(data, each)], "")
        return path.read_bytes()


def notes_of(file: CoreFile, wanted: set[int]) -> list[tuple[bytes, int, bytes]]:
    kept = []
    tid = 0
    at = 32 if file.is_64 else 24
    for owner, kind, contents in file.notes:
        if kind == NT_PRSTATUS:
            tid = int.from_bytes(contents[at : at + 4], "little")
        if kind not in (NT_PRSTATUS, NT_386_TLS) or tid in wanted:
            kept.append((owner, kind, contents))
    return kept


def filled(data: bytes, segment: Segment) -> list[Piece]:
    held = data[segment.offset : segment.offset + segment.held]
    pages = [at for at in range(0, len(held), PAGE) if held[at : at + PAGE].strip(b"\0")]
    if not pages:
        return [Piece(segment.address, segment.size, segment.flags)]
    first = segment.address + pages[0]
    found = [Piece(segment.address, pages[0], segment.flags)] if pages[0] else []
    whole = held[pages[0] :]
    size = segment.size - pages[0]
    return [*found, Piece(first, size, segment.flags, [(first, whole)])]


@cache
def places(data: bytes) -> list[range]:
    """Headers, notes, and each piece of memory with something in it."""
    found = [range(64), range(64, 4000)]
    for at in range(4096, len(data), 512):
        piece = data[at : at + 512]
        if piece.strip(b"\0"):
            found.append(range(at, at + len(piece)))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_are_whole(name: str) -> None:
    report = examine(core(name))
    assert isinstance(report, Report)
    assert {stack.stop.reason for stack in report.stacks} == {StopReason.ROOT}
    assert len(report.stacks) >= len(SCENARIOS)
    assert len(core(name)) < 4 << 20


@pytest.mark.parametrize("name", NAMES)
def test_cut_at_many_lengths(name: str) -> None:
    data = core(name)
    lengths = [*range(64, 30_000, 997), *range(30_000, len(data), len(data) // LENGTHS)]
    with within(60):
        for length in lengths:
            outcome = examine(data[:length])
            assert isinstance(outcome, UnspoolError) or not outcome.complete


@settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))
@given(
    patched(core, st.tuples(st.sampled_from(NAMES)), places)
    | rearranged(core, st.tuples(st.sampled_from(NAMES)), places)
)
def test_changed_cores(mutant: Mutant) -> None:
    with within(SECONDS):
        examine(mutant.build(), symbols=True)
