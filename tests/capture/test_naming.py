"""A crash captured by the kernel's handler and named elsewhere has the names of its core."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path

import pytest

from tests.oracle.test_symbolicate import moved, names
from tests.programs.cores import arguments
from tests.programs.table import BY_NAME
from unspool import api
from unspool.render.json_reader import loads

from .kernel import Handler, crash
from .test_stacks import made

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("name", ["inline", "templates", "threads", "chain-m32-O2"])
def test_a_captured_crash(
    name: str, handler: Handler, programs_root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("symbolic")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program = BY_NAME[name]
    path = made(program, programs_root)
    pid = crash([path, *arguments(program, path)], getattr(signal, program.signal))
    document = handler.report_file(pid).read_bytes()
    assert not any(
        "function" in frame
        for thread in json.loads(gzip.decompress(document))["threads"]
        for frame in thread["frames"]
    )
    with api.open(str(handler.core(pid))) as target:
        expected = api.unwind(target)
    report = moved(loads(gzip.decompress(document)), tmp_path / "tree")
    named, _ = api.symbolicate(report, symbols=[str(tmp_path / "tree")])
    ours, theirs = by_thread(named), by_thread(expected)
    assert ours == theirs
    assert any(location.line for location in named.locations.values())


def by_thread(report: object) -> dict[int, list[object]]:
    """Names by the thread's id: a core may list threads in another order."""
    stacks = report.stacks  # type: ignore[attr-defined]
    found: dict[int, list[object]] = {}
    for stack, locations in zip(stacks, names(report), strict=True):  # type: ignore[arg-type]
        found[stack.tid] = [
            each and (each.function, each.function_offset, each.file, each.line, len(each.inlines))
            for each in locations  # type: ignore[attr-defined]
        ]
    return found
