"""Frames that are named by what their code works on: all documents use the same names."""

from __future__ import annotations

import json as standard

import pytest

from tests import reports
from unspool.errors import InputError
from unspool.model import SUBJECT, Inline, Location, Module, Report
from unspool.render import json, stackwalk_json, text
from unspool.render.json_reader import loads
from unspool.symbols.symbolicate import locate, symbolicate
from unspool.targets.base import Options

CODE = 0x7F00_2000_0000
INTERPRETER = CODE + 0x400
DIG, MAIN = SUBJECT + 0x1000, SUBJECT + 0x2000


def interpreted() -> Report:
    """Two methods in the one loop of an interpreter, called by a function of the program."""
    loop = [INTERPRETER, INTERPRETER + 1, INTERPRETER + 1]
    stack = reports.stack(0, reports.frames(*loop, reports.BOOM + 0x160))
    stack.subjects = {0: DIG, 1: DIG, 2: MAIN}
    report = reports.report(stack)
    report.modules.append(Module(3, "interpreter", CODE, CODE + 0x1000, kind="jit"))
    report.locations |= {
        INTERPRETER: Location(3, "loop", 0),
        DIG: Location(3, "Hole.dig", None, "Hole.java", 12, (Inline("Hole.lift", "Hole.java", 3),)),
        MAIN: Location(3, "Hole.main", None, "Hole.java", 40),
    }
    return report


def test_the_text_names_each_frame_by_its_own_subject() -> None:
    report = interpreted()
    for verbose in (False, True):
        shown = [line for line in text.lines(report, verbose=verbose) if "Hole.java" in line]
        words = ["lift", "dig", "lift", "dig", "main"]
        assert [word in line for word, line in zip(words, shown, strict=True)] == [True] * 5
    assert not any("loop" in line for line in text.lines(report))


def test_recursion_is_folded_by_methods_and_not_by_the_interpreters_pc() -> None:
    report = interpreted()
    stack = report.stacks[0]
    stack.frames = reports.frames(*[CODE + 0x401] * 60)
    stack.subjects = dict.fromkeys(range(50), DIG) | dict.fromkeys(range(50, 60), MAIN)
    lines = list(text.lines(report))
    assert [line.strip() for line in lines if "more frames" in line] == [
        "… 45 more frames of Hole.dig()", "… 5 more frames of Hole.main()",
    ]  # fmt: skip


def test_a_report_in_json_keeps_them() -> None:
    report = interpreted()
    written = json.dumps(report)
    records = standard.loads(written)["threads"][0]["frames"]
    assert [each.get("subject") for each in records] == [0, 0, 1, None]
    assert [each["function"] for each in records] == ["Hole.dig", "Hole.dig", "Hole.main", "main"]
    read = loads(written)
    assert json.dumps(read) == written
    stack = read.stacks[0]
    for index in range(3):
        location = read.location(stack, index)
        expected = report.location(report.stacks[0], index)
        assert location == expected
    assert INTERPRETER not in read.locations


@pytest.mark.parametrize("value", [-1, "1", 1.5, True])
def test_a_subject_is_a_whole_number(value: object) -> None:
    document = standard.loads(json.dumps(interpreted()))
    document["threads"][0]["frames"][0]["subject"] = value
    with pytest.raises(InputError, match="subject"):
        loads(standard.dumps(document))


def test_other_documents_use_the_same_names() -> None:
    document = standard.loads("".join(stackwalk_json.chunks(interpreted())))
    names = [each["function"] for each in document["threads"][0]["frames"]]
    assert names == ["Hole.dig", "Hole.dig", "Hole.main", "main"]


class _Names:
    def locate(self, pc: int) -> Location | None:
        return Location(None, f"method {pc - SUBJECT:x}") if pc > SUBJECT else None


def test_naming_asks_the_codes_names_for_subjects_once() -> None:
    report = interpreted()
    for key in (DIG, MAIN):
        del report.locations[key]
    asked = []

    def code_names(module: Module, lines: bool) -> _Names:
        asked.append((module.index, lines))
        return _Names()

    named = symbolicate(report, lambda module: None, Options(), code_names=code_names, lines=False)
    stack = named.stacks[0]
    places = [named.location(stack, index) for index in range(3)]
    assert [each and each.function for each in places] == ["method 1000"] * 2 + ["method 2000"]
    assert [each and each.module for each in places] == [3] * 3
    assert asked == [(3, False)] * 2


def test_without_names_a_frame_is_in_its_codes_module() -> None:
    report = interpreted()
    report.locations.clear()
    place = locate(report).location(report.stacks[0], 0)
    assert place == Location(3)
