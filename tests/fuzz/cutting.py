"""Files that end too early, and what is said of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.harness import directory, examine_file
from unspool.errors import UnspoolError
from unspool.model import StopReason


def cut(data: bytes, lengths: Sequence[int]) -> Iterator[tuple[int, Path]]:
    """A file with the data, cut ever shorter."""
    with tempfile.TemporaryDirectory(dir=directory()) as folder:
        path = Path(folder) / "cut"
        path.write_bytes(data)
        for length in sorted(lengths, reverse=True):
            os.truncate(path, length)
            yield length, path


def answers(data: bytes, lengths: Sequence[int]) -> dict[int, tuple[int, bool]]:
    """By length, how many frames are found, and whether something is said to be missing."""
    return {length: answer(path, length % 37 == 0) for length, path in cut(data, lengths)}


def answer(path: Path, render: bool) -> tuple[int, bool]:
    outcome = examine_file(str(path), render=render)
    if isinstance(outcome, UnspoolError):
        return 0, True
    lost = any(finding.incomplete for finding in outcome.findings)
    roots = all(stack.stop.reason == StopReason.ROOT for stack in outcome.stacks)
    return sum(len(stack.frames) for stack in outcome.stacks), lost or not roots
