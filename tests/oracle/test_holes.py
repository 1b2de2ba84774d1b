"""Code that a program makes where a library's segments leave room between them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import unspool
from tests.programs.build import HERE, check, run, tool
from tests.programs.cores import written_by_kernel
from tests.programs.running import running

pytestmark = pytest.mark.oracle


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the code is x86-64's")
def test_made_code_in_the_hole_of_a_library(tmp_path: Path) -> None:
    """The linker leaves holes of 2 MB here; those of 64 kB are aarch64's."""
    library, program = tmp_path / "libholes.so", tmp_path / "holes"
    apart = ["-Wl,-z,max-page-size=0x200000", "-Wl,-z,separate-code"]
    check(run([tool("gcc"), "-O1", "-fno-optimize-sibling-calls", "-shared", "-fPIC", *apart,
               HERE / "holes_library.c", "-o", library]))  # fmt: skip
    check(run([tool("gcc"), "-O1", HERE / "holes.c", library, "-o", program]))
    perf_map = tmp_path / "perf.map"
    with running([program, perf_map], cwd=tmp_path) as process:
        perf_map.rename(tmp_path / f"perf-{process.pid}.map")
        found = [calls(process.pid, tmp_path)]
        core = written_by_kernel(process.pid, tmp_path)
    assert [*found, calls(core, tmp_path)] == [[
        ("waits", "holes"), ("made_in_the_hole", f"perf-{process.pid}.map"),
        ("in_library", "libholes.so"), ("main", "holes"),
    ]] * 2  # fmt: skip


def calls(source: int | Path, symbols: Path) -> list[tuple[str | None, str]]:
    """Function and module of each frame from `waits` to `main`."""
    with unspool.open(source, symbols=[symbols]) as target:
        report = unspool.unwind(target)
    stack = report.stacks[0]
    places = [report.location(stack, index) for index in range(len(stack.frames))]
    found = [
        (place.function, report.modules[place.module].name)
        for place in places
        if place is not None and place.module is not None
    ]
    names = [name for name, _ in found]
    return found[names.index("waits") : names.index("main") + 1]
