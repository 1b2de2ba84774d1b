"""`unspool locks` on Windows programs under Wine: critical sections, the loader lock, the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Tool
from tests.programs.build import Unavailable
from tests.programs.waits import calm_survey, survey
from unspool.analyses.locks.records import LockReport

from .flavours import FLAVOURS
from .locks import running

pytestmark = pytest.mark.oracle


def look(name: str, mode: str, root: Path, waits: int, *, stripped: bool = False) -> LockReport:
    try:
        with running(FLAVOURS[name], mode, root, stripped=stripped) as pid:
            return calm_survey([pid], waits)
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("stripped", [False, True], ids=["named", "stripped"])
@pytest.mark.parametrize("name", FLAVOURS)
def test_critical_sections_in_a_circle(name: str, stripped: bool, wine_root: Path) -> None:
    report = look(name, "ring", wine_root, 2, stripped=stripped)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert len(deadlock.chain) == 2
    assert [lock.kind for lock in report.locks] == ["critical_section"] * 2
    distance = abs((report.locks[0].address or 0) - (report.locks[1].address or 0))
    assert distance == (40 if name.endswith("x86_64") else 24), "neighbours in an array"
    assert not any(finding.kind == "loading_with_lock" for finding in report.findings)


@pytest.mark.parametrize("name", FLAVOURS)
def test_the_loader_lock_in_a_circle(name: str, wine_root: Path) -> None:
    report = look(name, "loader", wine_root, 2)
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert [lock.name for lock in report.locks].count("the loader lock") == 1
    loading = [each for each in report.findings if each.kind == "loading_with_lock"]
    assert len(loading) == 2
    assert all("LoadLibrary" in finding.title for finding in loading)


@pytest.mark.parametrize("name", ["8.0-x86_64", "10.0-wow64"])
def test_a_queue_before_a_thread_that_sleeps_is_no_deadlock(name: str, wine_root: Path) -> None:
    report = look(name, "convoy", wine_root, 4)
    assert not report.deadlocks
    (lock,) = report.locks
    assert [holder.thread for holder in lock.holders] == [0]


@pytest.mark.parametrize("name", FLAVOURS)
def test_what_has_no_holder_says_so(name: str, wine_root: Path) -> None:
    report = look(name, "others", wine_root, 2)
    assert not report.deadlocks
    srw, handle = report.locks
    assert (srw.kind, handle.kind) == ("srw_lock", "handle")
    assert srw.address is not None
    assert "do not know" in (srw.unknown or "")
    assert "wineserver" in (handle.unknown or "")


@pytest.mark.parametrize("name", ["8.0-x86_64", "8.0-i386"])
def test_a_core_says_the_same(name: str, wine_root: Path, tmp_path: Path, tool: Tool) -> None:
    try:
        with running(FLAVOURS[name], "ring", wine_root) as pid:
            calm_survey([pid], 2)
            tool("gcore", "-o", tmp_path / "core", str(pid))
    except Unavailable as reason:
        pytest.skip(str(reason))
    report = survey(str(tmp_path / f"core.{pid}"))
    (tmp_path / f"core.{pid}").unlink()
    (deadlock,) = report.deadlocks
    assert deadlock.certain
    assert [lock.kind for lock in report.locks] == ["critical_section"] * 2
