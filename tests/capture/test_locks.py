"""A program that hangs and is killed: what its minidump and its core say of the locks."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.programs.build import build
from tests.programs.running import eventually, running
from tests.programs.waits import VARIANTS, calm_survey, survey

from .kernel import Handler, prepare


@pytest.mark.parametrize(
    "handler", [("--minidump", "full"), ("--minidump", "sanitized")], indirect=True
)
@pytest.mark.parametrize("name", ["locks", "locks-m32"])
def test_a_deadlock_that_was_killed(handler: Handler, programs_root: Path, name: str) -> None:
    """The kernel's own core of the same moment, the dump by the handler: the same circle."""
    program = build(VARIANTS[name], programs_root)
    with running([program, "behind", "3"], preexec_fn=prepare) as process:
        calm_survey([process.pid], 6)
        process.send_signal(signal.SIGABRT)
        process.wait()
        pid = process.pid
    assert eventually(lambda: bool(list(handler.spool.glob(f"*-{pid}.dmp"))))
    (dump,) = handler.spool.glob(f"*-{pid}.dmp")
    for source in (dump, handler.core(pid)):
        report = survey(str(source))
        (deadlock,) = report.deadlocks
        assert deadlock.certain
        assert len(deadlock.chain) == 3
        assert len(deadlock.behind) == 3
