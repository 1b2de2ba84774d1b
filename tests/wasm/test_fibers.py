"""Fibers that wait, in real processes: on no thread's stack, and found all the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.cores import written_by_kernel
from unspool import api
from unspool.model import Finding, StopReason

from .hosts import host, look, make_dump, wasm_frames
from .install import NEWEST, folder

FIBER_HOST = Path(__file__).with_name("fiber_host.py")


def fibers_of(target: int | Path) -> list[Finding]:
    with api.open(target if isinstance(target, int) else str(target)) as opened:
        report = api.unwind(opened)
        found = api.analyse(opened, report, ["fibers"])
        again = api.analyse(opened, report, ["all"])
    assert [each.title for each in again if each.kind == "fiber_waits"] == [
        each.title for each in found
    ]
    return found


def in_turn(pid: int, path: Path) -> Iterator[int | Path]:
    """A process, minidumps of it, and its core, with which it ends."""
    yield pid
    for sanitize in (False, True):
        yield make_dump(pid, path, sanitize=sanitize)
    yield written_by_kernel(pid, path)


def functions(finding: Finding) -> list[str]:
    """The names of its Wasm frames, newest first, from the lines of its stack."""
    assert finding.detail is not None
    lines = [line.split("  ") for line in finding.detail.splitlines()[1:]]
    return [parts[1] for parts in lines if re.fullmatch(r"fibers\.wasm\+0x[0-9a-f]+", parts[2])]


@pytest.mark.parametrize(
    ("version", "config"),
    [(NEWEST, ()), (NEWEST, ("pool",)), ("36.0.0", ()), ("24.0.0", ())],
    ids=["newest", "pool", "36", "24"],
)
def test_calls_that_wait(version: str, config: tuple[str, ...], tmp_path: Path) -> None:
    """Two places where five fibers wait. One that has ended and one that runs are none."""
    folder(version)
    with host(version, "5", *config, cwd=tmp_path, program=FIBER_HOST) as running:
        for target in in_turn(running.pid, tmp_path):
            found = fibers_of(target)
            assert [each.title for each in found] == [
                "3 fibers wait: in turn (fibers.wasm)",
                "2 fibers wait: in turn (fibers.wasm)",
            ]
            assert [functions(each) for each in found] == [
                ["turn", "waits"], ["turn", "waits", "deeper"],
            ]  # fmt: skip
            for each in found:
                assert each.detail is not None
                first, *_, last = each.detail.splitlines()
                assert first.count("–0x") == min(int(each.title[0]), 3)
                assert "wasmtime_fiber_start" in last
                assert not each.incomplete
            report, stack = look(target, running.said["tid"])
            assert report.findings == []
            assert [name for name, _ in wasm_frames(report, stack)] == ["runs"]
            assert stack.stop.reason == StopReason.ROOT
