"""The whole way: a real core in, text and JSON out."""

from __future__ import annotations

import json
import lzma
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from unspool.cli import main

BUNDLED = Path(__file__).parents[3] / "demo" / "bundled"
SCHEMA = json.loads(files("unspool.render").joinpath("report-1.schema.json").read_text())
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("core") / "core"
    path.write_bytes(lzma.decompress((BUNDLED / "crash.core.xz").read_bytes()))
    return str(path)


@pytest.mark.parametrize("options", [(), ("--explain",), ("--no-symbols",), ("--max-frames=2",)])
def test_json_of_a_real_core_follows_the_schema(
    core: str, capsys: Capture, options: tuple[str, ...]
) -> None:
    code = main([core, "--symbols", str(BUNDLED), "--format=json", *options])
    assert code == (1 if "--max-frames=2" in options else 0)
    document = json.loads(capsys.readouterr().out)
    Draft202012Validator(SCHEMA).validate(document)
    assert len(document["threads"]) > 1
    frames = [frame for thread in document["threads"] for frame in thread["frames"]]
    assert all(("trail" in frame) == ("--explain" in options) for frame in frames)
    assert any("function" in frame for frame in frames) == ("--no-symbols" not in options)


def test_a_report_as_a_target_shows_the_same_stacks(
    core: str, capsys: Capture, tmp_path: Path
) -> None:
    words = ["--symbols", str(BUNDLED)]
    assert main([core, "--format=json", *words]) == 0
    report = tmp_path / "report.json"
    report.write_text(capsys.readouterr().out)
    assert main([core, *words]) == 0
    whole = capsys.readouterr().out.splitlines()
    assert main([str(report)]) == 0
    again = capsys.readouterr().out.splitlines()
    assert whole[0] == again[0]
    assert "core, report of " in again[1]
    assert whole[2:] == again[2:]


@pytest.mark.parametrize("thread", ["crashed", "#0"])
def test_one_thread_may_be_selected(core: str, capsys: Capture, thread: str) -> None:
    assert main([core, "--symbols", str(BUNDLED), "--thread", thread]) == 0
    out = capsys.readouterr().out
    assert "(1 shown)" in out
    assert sum(line.startswith("Thread") for line in out.splitlines()) == 1


def test_a_thread_that_is_not_there_is_a_usage_error(core: str, capsys: Capture) -> None:
    assert main([core, "--thread", "#99"]) == 64
    assert capsys.readouterr().err.startswith("unspool: ")
