"""Every program's core, compared with the source, with gdb and with eu-stack."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import pytest

from tests.programs.build import HERE
from tests.programs.cores import Core
from tests.programs.table import PROGRAMS

from .compare import disagreements, functions
from .differences import differences
from .peers import PEERS
from .unspool_command import Answer

pytestmark = pytest.mark.oracle

EVERY_CORE = [f"{program.name}/{kind}" for program in PROGRAMS for kind in program.kinds]
every_core = pytest.mark.parametrize("core", EVERY_CORE, indirect=True)


@every_core
def test_stack_is_as_the_source_says(core: Core, answer: Answer) -> None:
    program = core.program
    found = functions(answer.crashed, program)
    if core.kind == "gcore":
        expected = program.others + Counter([program.waiting] if program.waiting else [])
        assert Counter(tuple(functions(t, program)) for t in answer.threads) == expected
        return
    if program.repeats:
        assert len(found) >= program.repeats
        found = [name for name, _ in groupby(found)]
    assert found == list(program.ours)
    rest = Counter(tuple(functions(t, program)) for t in answer.threads if not t["crashed"])
    if program.others:
        assert rest == program.others


@every_core
def test_every_stack_reaches_its_root(core: Core, answer: Answer) -> None:
    if not core.program.root:
        pytest.skip("the source says that this stack has no root to be found")
    stops = {t["tid"]: t["stop"] for t in answer.threads if t["stop"]["reason"] != "root"}
    assert not stops
    assert answer.code == 0, answer.errors


@every_core
def test_crash_is_as_the_source_says(core: Core, answer: Answer) -> None:
    if core.kind == "gcore":
        assert not answer.report.get("crash")
        assert not any(thread["crashed"] for thread in answer.threads)
        return
    crash = answer.report["crash"]
    assert crash["signal"] == core.program.signal
    assert [t["index"] for t in answer.threads if t["crashed"]] == [crash["thread_index"]]
    # What qemu-user writes has no signal information beyond the number.
    if core.program.address is not None and not core.kind.startswith("qemu"):
        assert int(crash["address"], 16) == core.program.address


@every_core
@pytest.mark.parametrize("peer", PEERS)
def test_frames_agree(core: Core, answer: Answer, peer: str) -> None:
    hangs = [d for d in differences(f"{core.program.name}/{core.kind}", peer) if d.hangs]
    if hangs:
        pytest.skip(hangs[0].why)
    theirs = PEERS[peer](core)
    assert {thread["tid"] for thread in answer.threads} == set(theirs)
    problems = disagreements(answer, core.program, core.kind, peer, theirs)
    assert not problems, problems


@pytest.mark.parametrize("core", ["inline/kernel"], indirect=True)
def test_inlined_calls_and_lines_are_as_the_source_says(core: Core, answer: Answer) -> None:
    pytest.importorskip("symbolic")
    lines = (HERE / core.program.source).read_text().splitlines()
    outer = next(f for f in answer.crashed["frames"] if f["function"] == "outer")
    inlined = [(call["function"], lines[call["line"] - 1].strip()) for call in outer["inlines"]]
    assert inlined == [
        ("innermost", "int r = crash(p, x + work);"),
        ("inner", "int r = innermost(p, x + work);"),
    ]
    assert outer["file"].endswith("tests/programs/inline.c")
    assert lines[outer["line"] - 1].strip() == "int r = inner(p, x + work);"
