from __future__ import annotations

import json as standard
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests import reports
from unspool.errors import InputError
from unspool.model import (
    Attempt,
    Crash,
    Finding,
    Frame,
    Inline,
    Location,
    Module,
    Report,
    Segment,
    Stack,
    Stop,
    TargetInfo,
)
from unspool.render import json
from unspool.render.json_reader import from_json, loads

SCHEMA = standard.loads(files("unspool.render").joinpath("report-1.schema.json").read_text())


def to_json(report: Report) -> dict[str, Any]:
    """The document as Python objects."""
    document = standard.loads(json.dumps(report))
    assert isinstance(document, dict)
    return document


def closed(schema: Any) -> Any:
    """The schema with no room for keys that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and "type" in schema:
        result["additionalProperties"] = False
    return result


VALIDATOR = Draft202012Validator(SCHEMA)
CLOSED = Draft202012Validator(closed(SCHEMA))

SMALL = {**reports.ALL, "overflow": lambda: reports.overflow(300)}

texts = st.text(st.characters(codec="utf-8"), max_size=8)
addresses = st.integers(0, 2**64 - 1)
counts = st.integers(0, 2**40)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


frames = st.builds(
    Frame,
    st.integers(1, 50) | st.integers(1, 2**64 - 2),
    maybe(addresses),
    st.sampled_from(["context", "cfi", "scan", "q\"'"]),
    st.booleans(),
    st.just(0),
    maybe(st.lists(st.builds(Attempt, texts, texts), max_size=2)),
)
stacks = st.builds(
    Stack,
    counts,
    st.integers(-5, 2**32),
    st.lists(frames, max_size=6),
    st.lists(st.builds(Segment, texts, maybe(addresses), maybe(addresses), maybe(texts)),
             min_size=1, max_size=2),
    st.builds(Stop, st.sampled_from(["root", "fault"]), texts),
    name=maybe(texts),
    crashed=st.booleans(),
)  # fmt: skip
inlines = st.builds(Inline, texts, maybe(texts), maybe(counts))
modules = st.builds(
    Module,
    st.just(0),
    texts,
    st.just(0),
    st.just(2**64 - 1),
    path=maybe(texts),
    kind=texts,
    bias=maybe(addresses),
    code_id=maybe(texts),
    debug_id=maybe(texts),
    debug_file=maybe(texts),
    pdb_name=maybe(texts),
    code_base=maybe(addresses),
    code_end=maybe(addresses),
)
system = st.fixed_dictionaries(
    {},
    optional={
        "os_version": texts, "cpu": texts, "cpu_count": counts, "memory_maps": counts,
        "distribution": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("id", "release", "codename", "description"), texts)
        ),
    },
)  # fmt: skip
wine = st.fixed_dictionaries(
    {},
    optional={
        "version": texts, "bitness": st.sampled_from([32, 64]), "build": texts,
        "wow64": st.booleans(),
    },
)  # fmt: skip
made = st.builds(
    Report,
    st.builds(
        TargetInfo, texts, texts, texts, path=maybe(texts), pid=maybe(counts),
        executable=maybe(texts), command_line=maybe(st.lists(texts, max_size=3)),
        wine=maybe(wine), captured_at=maybe(texts),
        truncated=maybe(st.booleans()), system=maybe(system),
    ),
    modules.map(lambda module: [module]),
    st.lists(stacks, max_size=3),
    crash=maybe(st.builds(Crash, texts.filter(bool), counts, maybe(st.integers(-99, 999)),
                          maybe(addresses), maybe(counts), maybe(counts), maybe(texts))),
    locations=st.dictionaries(
        st.integers(0, 50),
        st.builds(Location, st.just(0), texts, counts, maybe(texts), maybe(counts),
                  st.lists(inlines, max_size=2).map(tuple)),
    ),
    findings=st.lists(
        st.builds(Finding, texts, texts, detail=maybe(texts),
                  threads=st.lists(counts, max_size=3).map(tuple), incomplete=st.booleans()),
        max_size=2,
    ),
)  # fmt: skip


@given(made)
def test_a_report_survives_being_written_and_read(report: Report) -> None:
    document = to_json(report)
    CLOSED.validate(document)
    again = from_json(document)
    assert to_json(again) == document
    assert again.complete == report.complete
    assert (again.target, again.crash, again.modules) == (
        report.target, report.crash, report.modules,
    )  # fmt: skip
    assert again.stacks == report.stacks
    assert again.findings == report.findings
    for stack in report.stacks:
        for frame in stack.frames:
            found = again.locations[frame.lookup_pc]
            assert found == report.locations.get(frame.lookup_pc, Location(0))


@pytest.mark.parametrize("name", SMALL)
def test_outputs_follow_the_schema_and_use_no_key_that_it_lacks(name: str) -> None:
    CLOSED.validate(to_json(SMALL[name]()))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for definition in [SCHEMA, *SCHEMA["$defs"].values()]:
        for name, value in definition.get("properties", {}).items():
            target = value.get("$ref", "").rpartition("/")[2]
            assert "description" in value or "description" in SCHEMA["$defs"][target], name


def test_null_values_are_left_out_but_for_those_that_must_be_there() -> None:
    target = TargetInfo("core", "x86_64")
    module = Module(0, "x", 0, 1)
    stack = Stack(0, 1, [Frame(5, None, "context", True)], [Segment("unix")], Stop("root"))
    assert to_json(Report(target, [module], [stack])) == {
        "schema": "unspool.report/1",
        "target": {"kind": "core", "arch": "x86_64", "os": "linux"},
        "modules": [{"index": 0, "name": "x", "kind": "elf", "base": "0x0", "end": "0x1"}],
        "threads": [
            {
                "index": 0,
                "tid": 1,
                "crashed": False,
                "segments": [{"kind": "unix"}],
                "stop": {"reason": "root"},
                "frames": [{"index": 0, "pc": "0x5", "trust": "context", "segment": 0}],
            }
        ],
    }


def test_every_record_has_a_line_of_its_own() -> None:
    text = json.dumps(reports.crash())
    report = reports.crash()
    records = sum(len(stack.frames) for stack in report.stacks) + len(report.modules)
    lines = text.splitlines()
    assert len(lines) == 5 + records + len(report.stacks)
    assert all(line.count('"trust"') <= 1 for line in lines)


def test_a_frame_is_exact_if_it_is_the_first_unless_it_says_otherwise() -> None:
    found = reports.signal_stack()
    found.stacks[0].frames[0].exact = False
    frames = to_json(found)["threads"][0]["frames"]
    assert [frame.get("exact") for frame in frames] == [False, None, True, True, None]


def test_modules_are_named_where_there_are_no_symbols() -> None:
    found = reports.crash()
    found.locations = {}
    frames = to_json(found)["threads"][0]["frames"]
    assert [frame["module"] for frame in frames] == [0, 0, 0, 1]
    assert frames[1]["module_offset"] == "0x130"
    assert "function" not in frames[1]


def test_offsets_count_from_the_pc() -> None:
    frame = to_json(reports.crash())["threads"][0]["frames"][1]
    assert (frame["module_offset"], frame["function_offset"]) == ("0x130", 32)


def test_text_is_ascii_and_well_formed_whatever_the_dump_holds() -> None:
    text = json.dumps(reports.hostile())
    assert text.isascii()
    assert "\\xff" in str(standard.loads(text)["modules"][0]["path"])
    # Lone surrogates: Python's parser takes them, most others do not.
    assert "\\ud" not in text


def test_a_negative_bias_is_written_modulo_2_to_the_64() -> None:
    found = reports.crash()
    found.modules[0].bias = -0x1000
    assert to_json(found)["modules"][0]["bias"] == "0xfffffffffffff000"


def test_pieces_are_small_however_many_frames_there_are() -> None:
    report = reports.overflow(50_000)
    assert max(map(len, json.chunks(report))) < 200_000
    assert standard.loads("".join(json.chunks(report))) == to_json(report)


@pytest.mark.parametrize("name", SMALL)
def test_what_was_read_is_written_the_same(name: str) -> None:
    text = json.dumps(SMALL[name]())
    assert json.dumps(loads(text)) == text
    assert json.dumps(loads(text.encode())) == text


# --- reports from elsewhere -------------------------------------------------------------


def example() -> dict[str, Any]:
    return to_json(reports.crash())


def changed(path: str, value: object) -> dict[str, Any]:
    document = example()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = document
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", ..., "its schema is not unspool.report/1"),
        ("schema", 1, "its schema is not"),
        ("schema", "unspool.report/2", "which this version does not read"),
        ("schema", "something/1", "its schema is not"),
        ("target", ..., "target is not an object"),
        ("target.kind", ..., "target.kind is not a string"),
        ("target.arch", 5, "target.arch is not a string"),
        ("target.pid", -1, "target.pid is not a whole number"),
        ("target.pid", True, "target.pid is not a whole number"),
        ("target.pid", 1.5, "target.pid is not a whole number"),
        ("target.pid", 2**63, "target.pid is not a whole number"),
        ("target.command_line", ["a", 1], "target.command_line is not a list of strings"),
        ("target.truncated", "yes", "target.truncated is not true or false"),
        ("target.wine", "8.0", "target.wine is not an object"),
        ("crash", [], "crash is not an object"),
        ("crash.address", 8, "crash.address is not an address"),
        ("modules", ..., "modules is not a list"),
        ("modules", {}, "modules is not a list"),
        ("modules.1", 5, "modules[1] is not an object"),
        ("modules.1.base", "400000", "modules[1].base is not an address"),
        ("modules.1.base", "0x", "modules[1].base is not an address"),
        ("modules.1.base", "0x1_0", "modules[1].base is not an address"),
        ("modules.1.base", "0x 1", "modules[1].base is not an address"),
        ("modules.1.base", "0x+1", "modules[1].base is not an address"),
        ("modules.1.base", "0xg", "modules[1].base is not an address"),
        ("modules.1.base", "0x1" + 16 * "0", "modules[1].base is not an address"),
        ("modules.1.base", "0x\u0661", "modules[1].base is not an address"),
        ("modules.1.index", 0, "modules is not indices that differ"),
        ("threads", None, "threads is not a list"),
        ("threads.0.tid", "1", "threads[0].tid is not a whole number"),
        ("threads.0.crashed", ..., "threads[0].crashed is not true or false"),
        ("threads.0.stop", "root", "threads[0].stop is not an object"),
        ("threads.0.segments", [], "threads[0].frames[0].segment is not the index of a segment"),
        ("threads.0.frames.2.pc", ..., "threads[0].frames[2].pc is not an address"),
        ("threads.0.frames.2.pc", "0x-1", "threads[0].frames[2].pc is not an address"),
        ("threads.0.frames.2.trust", None, "threads[0].frames[2].trust is not a string"),
        ("threads.0.frames.2.index", 7, "threads[0].frames[2].index is not 2"),
        ("threads.0.frames.1.index", True, "threads[0].frames[1].index is not 1"),
        ("threads.0.frames.2.segment", 1, "segment is not the index of a segment"),
        ("threads.0.frames.2.module", 3, "frames[2].module is not the index of a module"),
        ("threads.0.frames.2.exact", 1, "frames[2].exact is not true or false"),
        ("threads.0.frames.2.line", -1, "frames[2].line is not a whole number"),
        ("threads.0.frames.1.inlines.0.function", ..., "inlines[0].function is not a string"),
        ("threads.0.frames.1.inlines", {}, "frames[1].inlines is not a list"),
        ("threads.0.frames.1.trail", [{"strategy": "x"}], "trail[0].answer is not a string"),
        ("findings", [{"kind": "x"}], "findings[0].title is not a string"),
        ("findings", [{"kind": "x", "title": "y", "threads": ["1"]}], "threads is not a list of"),
    ],
)  # fmt: skip
def test_an_error_names_the_value_to_blame(path: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_json(changed(path, value))
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_unknown_keys_and_values_are_accepted() -> None:
    document = changed("threads.0.frames.2.trust", "tarot")
    document["threads"][0]["frames"][2]["colour"] = {"red": 1}
    document["target"]["arch"] = "m68k"
    document["new"] = []
    VALIDATOR.validate(document)
    assert from_json(document).stacks[0].frames[2].trust == "tarot"


@pytest.mark.parametrize("key", ["crash", "findings"])
def test_optional_parts_may_be_null(key: str) -> None:
    document = changed(key, None)
    VALIDATOR.validate(document)
    assert not getattr(from_json(document), key)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "1", "null", '"unspool.report/1"', "[" * 100_000, "NaN", "1" * 10_000,
        b"\xff\xfe\x00", b"\x7fELF", '{"schema": NaN}', '{"a":' * 50_000,
    ],
    ids=lambda value: str(value)[:10],
)  # fmt: skip
def test_what_is_no_report_is_refused_in_a_line(text: str | bytes) -> None:
    with pytest.raises(InputError) as caught:
        loads(text)
    assert str(caught.value).startswith("not a report: ")
    assert caught.value.hint or "JSON" in caught.value.message
    assert len(str(caught.value)) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | st.just("0x1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_report_that_was_tampered_with_is_read_or_refused(data: st.DataObject) -> None:
    document = example()
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys)) if keys else None
            if key is None:
                break
            if isinstance(place[key], dict | list) and data.draw(st.integers(0, 4)):
                place = place[key]
                continue
            if data.draw(st.booleans()):
                place[key] = data.draw(json_values)
            else:
                del place[key]
            break
    try:
        report = from_json(document)
    except InputError:
        return
    # What is accepted can be written again, and is then beyond doubt.
    CLOSED.validate(to_json(report))


def test_surrogates_in_a_report_become_words() -> None:
    document = changed("target.path", "\udcff/core")
    assert from_json(document).target.path == "\\xff/core"
