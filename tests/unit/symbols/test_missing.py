"""What is said of modules without names, beside what a stack says of its own end."""

from __future__ import annotations

import pytest

from tests.reports import crash
from unspool.model import Location, Report, Stop, StopReason
from unspool.symbols.missing import nameless

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
