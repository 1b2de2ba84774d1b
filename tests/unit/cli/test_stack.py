"""The whole way: a real core in, text and JSON out."""

from __future__ import annotations

import gzip
import json
import lzma
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests import stackwalk
from tests.conftest import BUNDLED
from tests.memfault import StackTrace
from unspool.cli import main

SCHEMA = json.loads(files("unspool.render").joinpath("report-1.schema.json").read_text())
Capture = pytest.CaptureFixture[str]


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


def compressed(data: bytes, form: str) -> bytes:
    if form == "zst":
        return bytes(pytest.importorskip("zstandard").compress(data))
    if form == "lz4":
        return bytes(pytest.importorskip("lz4.frame").compress(data))
    return {"gz": gzip.compress, "xz": lzma.compress}[form](data)


@pytest.mark.parametrize("form", ["gz", "zst", "xz", "lz4"])
def test_a_compressed_report_is_a_target(
    core: str, capsys: Capture, tmp_path: Path, form: str
) -> None:
    assert main([core, "--format=json", "--no-lines", "--symbols", str(BUNDLED)]) == 0
    plain = capsys.readouterr().out
    report = tmp_path / f"report.json.{form}"
    report.write_bytes(compressed(plain.encode(), form))
    assert main([str(report), "--format=json"]) == 0
    assert capsys.readouterr().out == plain
    report.write_bytes(report.read_bytes()[: report.stat().st_size * 2 // 3])
    assert main([str(report)]) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert "compressed data end early" in errors


@pytest.mark.parametrize("form", ["memfault", "minidump-stackwalk"])
def test_other_formats_of_a_real_core(
    core: str, capsys: Capture, tmp_path: Path, form: str
) -> None:
    words = ["--symbols", str(BUNDLED)]
    assert main([core, "--format", form, *words]) == 0
    direct = capsys.readouterr().out
    if form == "memfault":
        assert any(StackTrace(direct).place(pc) for pc in StackTrace(direct).active)
    else:
        stackwalk.check(json.loads(direct))
    assert main([core, "--format=json", *words]) == 0
    report = tmp_path / "report.json.gz"
    report.write_bytes(gzip.compress(capsys.readouterr().out.encode()))
    assert main([str(report), "--format", form]) == 0
    assert capsys.readouterr().out == direct


@pytest.mark.parametrize("thread", ["crashed", "#0"])
def test_one_thread_may_be_selected(core: str, capsys: Capture, thread: str) -> None:
    assert main([core, "--symbols", str(BUNDLED), "--thread", thread]) == 0
    out = capsys.readouterr().out
    assert "(1 shown)" in out
    assert sum(line.startswith("Thread") for line in out.splitlines()) == 1


def test_a_thread_that_is_not_there_is_a_usage_error(core: str, capsys: Capture) -> None:
    assert main([core, "--thread", "#99"]) == 64
    assert capsys.readouterr().err.startswith("unspool: ")
