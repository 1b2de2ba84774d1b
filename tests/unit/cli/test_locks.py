"""`unspool locks` as a user calls it, on a bundled core of a program with idle threads."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import BUNDLED
from unspool.cli import main

Capture = pytest.CaptureFixture[str]


def test_waits_that_are_no_deadlock(core: str, capsys: Capture) -> None:
    assert main(["locks", core, "--symbols", str(BUNDLED)]) == 0
    out = capsys.readouterr().out
    assert "4 threads wait for 4 locks: no deadlock" in out
    assert "in next_job, crash.c:60" in out
    assert "system call" not in out
    assert main(["locks", core, "--symbols", str(BUNDLED), "--verbose"]) == 0
    assert "system call 202 (futex)" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["text", "json", "dot", "svg"])
def test_several_targets_in_every_format(
    core: str, tmp_path: Path, capsys: Capture, form: str
) -> None:
    other = tmp_path / "other"
    other.write_bytes(Path(core).read_bytes())
    command = ["locks", core, str(other), core, "--symbols", str(BUNDLED), "--format", form]
    assert main(command) == 0
    out = capsys.readouterr().out
    if form == "json":
        assert len(json.loads(out)["processes"]) == 2, "the same target twice is one"
    elif form == "svg":
        assert "the end of thread 1866" in "".join(ElementTree.fromstring(out).itertext())
    elif form == "dot":
        assert out.startswith("digraph")


def test_a_report_holds_no_memory(core: str, tmp_path: Path, capsys: Capture) -> None:
    report = tmp_path / "report.json"
    main(["stack", core, "--no-symbols", "--format=json"])
    report.write_text(capsys.readouterr().out)
    assert main(["locks", str(report)]) == 2
    assert "a report holds no memory" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--thread", "1", "x"], ["x"] * 257])
def test_usage(arguments: list[str], capsys: Capture) -> None:
    assert main(["locks", *arguments]) == 64
    assert capsys.readouterr().err.startswith("unspool: ")


def test_a_target_that_is_not_there(core: str, capsys: Capture) -> None:
    assert main(["locks", core, "/nonexistent/core"]) == 2
    assert not capsys.readouterr().out


def test_help(capsys: Capture) -> None:
    assert main(["locks", "--help"]) == 0
    out = capsys.readouterr().out
    assert "unspool locks TARGET" in out
    assert max(map(len, out.splitlines())) <= 80
