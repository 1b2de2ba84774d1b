"""A core cut at every length: an answer from what is there, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.cutting import answers
from tests.fuzz.harness import examine_file, within
from tests.fuzz.seeds import ARCHES, seed
from unspool.errors import UnspoolError

PARTS = 4


def check(data: bytes, lengths: list[int]) -> None:
    with within(60):
        found = answers(data, [*lengths, len(data)])
    frames, incomplete = found.pop(len(data))
    assert (frames, incomplete) == (11, False)
    padding = len(data) - len(data.rstrip(b"\0"))
    for length, (some, incomplete) in found.items():
        assert some <= frames
        assert incomplete, f"cut to {length} of {len(data)} bytes, and nothing is said"
    assert padding < 200


@pytest.mark.parametrize("part", range(PARTS))
def test_a_core_cut_at_every_length(part: int) -> None:
    data = seed("x86_64")
    check(data, list(range(part, len(data), PARTS)))


@pytest.mark.parametrize("notes", ["first", "last"])
@pytest.mark.parametrize("arch", ARCHES)
def test_a_core_cut_at_many_lengths(arch: str, notes: str) -> None:
    data = seed(arch, notes)
    near_notes = range(2500) if notes == "first" else range(len(data) - 2500, len(data))
    check(data, [*range(0, len(data), 61), *list(near_notes)[::5]])


def test_the_notes_of_a_gcore_are_lost_first_and_the_report_says_so(tmp_path: Path) -> None:
    data = seed("x86_64", "last")
    (tmp_path / "core").write_bytes(data[: len(data) - 3000])
    outcome = examine_file(str(tmp_path / "core"))
    assert not isinstance(outcome, UnspoolError)
    assert outcome.stacks == []
    assert any("no threads" in finding.title for finding in outcome.findings)
    assert not outcome.complete
