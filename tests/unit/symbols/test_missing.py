"""What is said of modules without names, beside what a stack says of its own end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.elf import Elf
from tests.reports import crash
from unspool.model import Finding, Location, Report, Stop, StopReason
from unspool.symbols.missing import nameless, unfit

LIBGAME = 2  # a module of these reports that no file was found for


def unnamed(*modules: int) -> Report:
    report = crash()
    for module in modules:
        report.locations[0x1000 + module] = Location(module)
    return report


def test_modules_whose_files_are_missing_are_named_once() -> None:
    (finding,) = nameless(unnamed(0, LIBGAME, LIBGAME))
    assert finding.kind == "missing_files"
    assert finding.title == "not all is named: files are missing for boom, libgame.so"
    assert "--symbols" in (finding.detail or "")
    assert not finding.incomplete, "a stack is whole whatever its functions are called"


@pytest.mark.parametrize(
    ("attribute", "value"), [("file", "/srv/lib/libgame.so"), ("debug_file", "/x"), ("kind", "jit")]
)
def test_files_that_were_found_know_no_more(attribute: str, value: str) -> None:
    report = unnamed(LIBGAME)
    setattr(report.modules[LIBGAME], attribute, value)
    assert nameless(report) == []


def test_a_stack_that_ends_for_it_says_so_by_itself() -> None:
    report = unnamed(LIBGAME)
    words = "no unwind data for libgame.so, whose file was not found"
    report.stacks[0].stop = Stop(StopReason.NO_STRATEGY, words)
    assert nameless(report) == []


def test_named_code_lacks_nothing() -> None:
    report = crash()
    assert nameless(report) == []


def test_a_file_of_another_build_is_said_to_be_one(tmp_path: Path) -> None:
    paths = []
    for name, build_id in [("own", "ab" * 20), ("other", "12" * 20), ("none", "")]:
        builder = Elf(64, 62)
        if build_id:
            builder.build_id(bytes.fromhex(build_id))
        (tmp_path / name).write_bytes(builder.build())
        paths.append(str(tmp_path / name))
    (tmp_path / "text").write_text("hello")
    report = unnamed(LIBGAME)
    report.modules[LIBGAME].code_id = "ef" * 20
    found = unfit(report, [*paths, str(tmp_path / "text"), str(tmp_path)])
    words = f"{tmp_path}/other belongs to no module here: its build id is {'12' * 20}"
    assert [finding.title for finding in found] == [words]
    report.findings.append(Finding("file_refused", f"{paths[1]} is not the file that crashed"))
    assert unfit(report, paths) == []
    report.findings.clear()
    report.modules[LIBGAME].code_id = None  # it may be this one's
    assert unfit(report, paths) == []
