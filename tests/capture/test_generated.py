"""Crashes of programs that make code while they run, through the kernel's handler.

Of each the stacks are those of its core, and with `privacy.code_names` the names are. The JVM has
dealt with the fault itself before it ends by SIGABRT.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

import unspool
from tests.programs.build import HERE, tool
from tests.programs.jvms import SMALL, classes, newest_jdk
from unspool.model import Report
from unspool.render.json_reader import from_json

from .kernel import Handler, check_same, crash

pytestmark = pytest.mark.oracle

NAMED = pytest.mark.parametrize("handler", [("--code-names", "in")], indirect=True, ids=["named"])
SWITCHES = ("--perf-basic-prof", "--interpreted-frames-native-stack")


def names(report: Report, tid: int) -> list[tuple[Any, ...]]:
    """What is known of a thread's frames of generated code, calls that were put in place too."""
    kinds = {module.index: module.kind for module in report.modules}
    (stack,) = (stack for stack in report.stacks if stack.tid == tid)
    found = []
    for index in range(len(stack.frames)):
        known = report.location(stack, index)
        if known is not None and known.module is not None and kinds[known.module] == "jit":
            found += [(each.function, each.file, each.line) for each in (*known.inlines, known)]
    return found


def check_named(handler: Handler, pid: int) -> list[tuple[Any, ...]]:
    """The report has the very frames of the core, and its names of generated code alone."""
    document = check_same(handler, pid)
    report = from_json(document)
    with unspool.open(str(handler.core(pid))) as target:
        whole = unspool.unwind(target, lines=False)
    handler.core(pid).unlink()
    for stack in report.stacks:
        assert names(report, stack.tid) == names(whole, stack.tid)
    kinds = {module["index"]: module["kind"] for module in document["modules"]}
    for thread in document["threads"]:
        assert thread["stop"]["reason"] == "root"
        for frame in thread["frames"]:
            assert "function" not in frame or "subject" in frame or kinds[frame["module"]] == "jit"
    return names(report, next(stack.tid for stack in report.stacks if stack.crashed))


@NAMED
def test_java(handler: Handler, programs_root: Path, tmp_path: Path) -> None:
    command = [
        newest_jdk(17).tool("java"), *SMALL, f"-XX:ErrorFile={tmp_path}/error",
        "-cp", classes(programs_root), "Crash", "40",
    ]  # fmt: skip
    pid = crash(command, signal.SIGABRT, cwd=tmp_path)
    methods = [name for name, _, _ in check_named(handler, pid)]
    assert methods[-2:] == ["Crash$1.run", "call_stub"]
    assert methods.count("Crash.poke") in (40, 41)  # the innermost one may be in place of a call
    # The JVM's own words, in which calls that were put in place are missing.
    told = (tmp_path / "error").read_text()
    assert "SIGSEGV" in told
    assert 0 < len(re.findall(r"^[Jj] .*Crash\.poke", told, re.MULTILINE)) <= 41


@NAMED
def test_node(handler: Handler, tmp_path: Path) -> None:
    command = [tool("node"), *SWITCHES, HERE / "node_crashes.js"]
    pid = crash(command, signal.SIGABRT, cwd=tmp_path)
    try:
        found = [name for name, _, _ in check_named(handler, pid)]
    finally:
        Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)
    # With a line a name is V8's own, without one it has the function's beginning behind it.
    wanted = r"\b(crash|method|viaSort)\b"
    words = [match[0] for name in found if (match := re.search(wanted, name))]
    assert words == ["crash", *["method"] * 6, "viaSort"]
