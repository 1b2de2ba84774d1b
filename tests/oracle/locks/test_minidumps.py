"""Minidumps of ours keep the words of locks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracle.locks.answers import keeps_its_promises
from tests.programs.waits import calm_survey, started, survey
from unspool import api
from unspool.analyses.locks.records import LockReport
from unspool.write.minidump import write_minidump

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("sanitize", [False, True], ids=["whole", "sanitized"])
@pytest.mark.parametrize(
    ("name", "mode", "waits"),
    [
        ("locks", "ring 3", 3), ("locks-stripped", "ring 3", 3), ("locks-static", "ring 3", 3),
        ("locks-m32", "ring 3", 3), ("locks-musl", "ring 3 r", 3), ("locks", "ring 3 R", 3),
        ("locks", "writer", 2), ("locks-m32", "writer", 2), ("locks", "loader", 2),
        ("locks", "readers", 2), ("locks", "others", 4), ("locks", "vector", 2),
        ("locks", "ring 2 p", 2), ("locks", "gone", 1), ("locks", "file", 2),
        ("locks-m32", "file", 2),
    ],
)  # fmt: skip
def test_a_minidump_says_the_same(
    name: str, mode: str, waits: int, programs_root: Path, tmp_path: Path, *, sanitize: bool
) -> None:
    """The words of the locks are kept, also of a sanitized one: owners and counts.

    Of a lock that does not say who holds it, and so does not prove to be one, only the word
    that is waited for is left by sanitizing.
    """
    dump = str(tmp_path / "a.dmp")
    words = [str(tmp_path / "words")] if mode == "vector" else []
    with started(name, programs_root, *mode.split(), *words) as process:
        live = calm_survey([process.pid], waits)
        with api.open(process.pid) as target:
            api.dump(target, dump, sanitize=sanitize)
    report = survey(dump)
    keeps_its_promises(report)
    if not sanitize or mode not in ("readers", "others"):
        assert facts(report) == facts(live)
    else:
        assert len(report.waits) == waits
    assert "cannot be read" not in " ".join(finding.title for finding in report.findings)


def facts(report: LockReport) -> list[object]:
    locks = [(lock.kind, lock.address, lock.holders) for lock in report.locks]
    return [locks, report.deadlocks, [wait.key for wait in report.waits]]


def test_locks_that_are_not_in_the_dump_are_missed(programs_root: Path, tmp_path: Path) -> None:
    """As in others' minidumps, which hold stacks and hardly anything beside."""
    dump = str(tmp_path / "a.dmp")
    with started("locks", programs_root, "ring", "2") as process:
        calm_survey([process.pid], 2)
        with api.open(process.pid) as target:
            reads = target.record_reads()
            write_minidump(target, api.unwind(target).stacks, reads, dump)
    report = survey(dump)
    keeps_its_promises(report)
    assert len(report.waits) == 2
    assert not report.deadlocks
    assert not report.complete
    assert "cannot be read" in report.findings[0].title
