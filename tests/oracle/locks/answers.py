"""What is asked of any answer of `unspool locks`, and how a program is asked."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

from jsonschema import Draft202012Validator

from tests.programs.waits import calm_survey, started
from tests.unit.render.test_json import closed
from unspool.analyses.locks.records import LockReport
from unspool.render import locks_graph, locks_json, locks_text

SCHEMA = json.loads(files("unspool.render").joinpath("locks-1.schema.json").read_text())
CLOSED = Draft202012Validator(closed(SCHEMA))


class Live:
    """Runs a mode of the program until so many threads wait, and looks at it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, name: str, *arguments: str, waits: int) -> LockReport:
        with started(name, self.root, *arguments) as process:
            report = calm_survey([process.pid], waits)
        keeps_its_promises(report)
        return report


def keeps_its_promises(report: LockReport) -> None:
    """What holds of any answer: chains are closed, and each format can be written."""
    for deadlock in report.deadlocks:
        chain = [report.waits[index] for index in deadlock.chain]
        for here, after in zip(chain, [*chain[1:], chain[0]], strict=True):
            assert after.key in [each.key for each in report.locks[here.lock].holders]
    document = json.loads("".join(locks_json.chunks(report)))
    CLOSED.validate(document)
    assert len(document["waits"]) == len(report.waits)
    ElementTree.fromstring("".join(locks_graph.svg(report)))
    assert "".join(locks_graph.dot(report)).count("->") >= len(report.waits)
    assert list(locks_text.lines(report, verbose=True))


def owner_known(name: str, kind: str) -> bool:
    """musl's normal mutexes do not know their owner, and adaptive ones are normal to it."""
    return name != "locks-musl" or kind not in "na"
