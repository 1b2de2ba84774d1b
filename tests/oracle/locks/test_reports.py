"""What `--analyses locks` adds to a report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.waits import calm_survey, started
from unspool import api
from unspool.analyses.locks.findings import findings
from unspool.model import Finding

pytestmark = pytest.mark.oracle


def analysed(name: str, root: Path, *arguments: str, waits: int) -> list[Finding]:
    """What `--analyses locks` adds to a report."""
    with started(name, root, *arguments) as process:
        calm_survey([process.pid], waits)
        with api.open(process.pid) as target:
            return findings(target, api.unwind(target))


def test_a_deadlock_in_a_report_stands_alone(programs_root: Path) -> None:
    (deadlock,) = analysed("locks", programs_root, "behind", "3", waits=6)
    assert deadlock.kind == "deadlock"
    assert list(deadlock.threads or ()) == [1, 2, 3]
    lines = (deadlock.detail or "").splitlines()
    assert len(lines) == 4
    assert all("waits #" in line and "in take, locks.c:" in line for line in lines[:3])
    assert all("held by thread" in line and "is thread id" in line for line in lines[:3])
    assert lines[3].startswith("behind it: thread ")


def test_a_convoy_in_a_report_is_one_finding(programs_root: Path) -> None:
    (convoy,) = analysed("locks", programs_root, "convoy", "30", waits=30)
    assert convoy.kind == "lock_wait"
    assert convoy.title.startswith("30 threads wait for mutex 0x")
    assert "(locks of locks), in take, locks.c:" in convoy.title
    assert "; held by thread " in convoy.title
    assert len((convoy.detail or "").splitlines()) <= 30


def test_other_waits_in_a_report_are_one_finding_each(programs_root: Path) -> None:
    found = analysed("locks", programs_root, "others", waits=4)
    assert {each.kind for each in found} == {"lock_wait"}
    assert len(found) == 4
    assert any("waits for the end of thread" in each.title for each in found)
