from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests import dumps
from tests.unit.render.test_json import closed
from unspool.analyses.anatomy import Anatomy, Node, Problem, dissect, reach, select
from unspool.render import inspect_json

SCHEMA = json.loads(files("unspool.render").joinpath("inspect-1.schema.json").read_text())
CLOSED = Draft202012Validator(closed(SCHEMA))


def document(anatomy: Anatomy, **options: Any) -> Any:
    text = "".join(inspect_json.chunks(anatomy, name="a.dmp", **options))
    assert text.isascii()
    assert text.endswith("}\n")
    return json.loads(text)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == inspect_json.SCHEMA


@pytest.mark.parametrize("name", dumps.ALL)
def test_documents_keep_to_the_schema(name: str) -> None:
    data = dumps.ALL[name]()
    anatomy = dissect(data)
    made = document(anatomy)
    CLOSED.validate(made)
    assert made["file"] == {"name": "a.dmp", "size": len(data), "complete": name != "lying"}
    assert len(made["problems"]) == len(anatomy.problems)
    assert [node["name"] for node in made["nodes"]] == [node.name for node in anatomy.nodes]


def test_a_node_has_what_it_has() -> None:
    anatomy = Anatomy(8)
    inner = Node("a", "u64", 0, 8, value="x\udcff\u2028", raw=1 << 53, meaning="m", target=(0, 8))
    twice = Node("a", "u64", 0, 8, raw=(1 << 64) - 1, meaning="m", problem="lies")
    anatomy.add(Node("s", "S", 0, 8, address=16, children=[inner, twice]))
    anatomy.problems.append(Problem("here", "it\x1b"))
    made = document(anatomy)
    CLOSED.validate(made)
    assert made["problems"] == [{"where": "here", "what": "it\x1b"}]
    assert made["nodes"] == [
        {"name": "s", "type": "S", "offset": 0, "size": 8, "address": "0x10", "children": [
            {"name": "a", "type": "u64", "offset": 0, "size": 8, "value": "x\\xff\u2028",
             "raw": 1 << 53, "meaning": "m", "target": {"offset": 0, "size": 8}},
            {"name": "a", "type": "u64", "offset": 0, "size": 8, "raw": "0xffffffffffffffff",
             "problem": "lies"},
        ]},
    ]  # fmt: skip


def test_a_selection_is_written_alone() -> None:
    anatomy = dissect(dumps.crash())
    made = document(anatomy, nodes=reach(anatomy, select(anatomy, "exception") or []))
    CLOSED.validate(made)
    names = [node["name"] for node in made["nodes"]]
    assert names == ["context of ExceptionStream", "ExceptionStream"]
