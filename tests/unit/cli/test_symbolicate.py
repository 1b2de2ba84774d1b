"""`unspool symbolicate` as a user calls it, on a report of a bundled core."""

from __future__ import annotations

import gzip
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BUNDLED
from unspool.cli import main
from unspool.cli.help import options

Capture = pytest.CaptureFixture[str]
BUILD_ID = "dc5a59c10b36bd851d432afcfcb6f436bcb8d0b8"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in [*os.environ]:
        if name.startswith("DEBUGINFOD_") or name == "_NT_SYMBOL_PATH":
            monkeypatch.delenv(name)


@pytest.fixture
def report(core: str, capsys: Capture, tmp_path: Path) -> Path:
    main(["stack", core, "--symbols", str(BUNDLED), "--no-symbols", "--format=json"])
    path = tmp_path / "report.json"
    path.write_text(capsys.readouterr().out)
    return path


def threads(text: str) -> object:
    return json.loads(text)["threads"]


def test_the_names_are_those_of_stack(core: str, report: Path, capsys: Capture) -> None:
    pytest.importorskip("symbolic")
    main(["stack", core, "--symbols", str(BUNDLED), "--format=json"])
    expected = capsys.readouterr().out
    assert main(["symbolicate", str(report), "--symbols", str(BUNDLED), "--format=json"]) == 0
    named = capsys.readouterr().out
    assert threads(named) == threads(expected)
    assert json.loads(named)["modules"] == json.loads(expected)["modules"]
    assert main(["symbolicate", str(report), "--symbols", str(BUNDLED), "--quiet"]) == 0
    text = capsys.readouterr().out
    main(["stack", core, "--symbols", str(BUNDLED), "--quiet"])
    assert text == capsys.readouterr().out


@pytest.mark.parametrize("how", ["gz", "zst", "-"])
def test_compressed_and_from_standard_input(how: str, report: Path, capsys: Capture) -> None:
    data, place = report.read_bytes(), str(report)
    if how == "gz":
        report.write_bytes(gzip.compress(data))
    elif how == "zst":
        zstandard = pytest.importorskip("zstandard")
        report.write_bytes(zstandard.compress(data))
    else:
        place = "-"
    if how == "-":
        saved = os.dup(0)
        fd = os.open(report, os.O_RDONLY)
        os.dup2(fd, 0)
        os.close(fd)
    try:
        words = ["symbolicate", place, "--symbols", str(BUNDLED), "--no-lines", "--quiet"]
        assert main(words) == 0
    finally:
        if how == "-":
            os.dup2(saved, 0)
            os.close(saved)
    assert "handle_order" in capsys.readouterr().out


def checked_missing(text: str) -> dict[str, Any]:
    """The document, which its schema allows; and that refuses it if a key is lacking."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(files("unspool.render").joinpath("missing-1.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    found: dict[str, Any] = json.loads(text)
    validator.validate(found)
    for file in found["files"]:
        assert set(file) == set(schema["$defs"]["file"]["properties"])
        for key in file:
            rest = {name: value for name, value in file.items() if name != key}
            assert not validator.is_valid({**found, "files": [rest]})
    return found


def test_the_schema_knows_every_kind_and_purpose() -> None:
    """Files that nothing identifies have no id."""
    from unspool.render.missing import document
    from unspool.symbols.missing import KINDS, MissingFile, purpose

    lacking = [
        MissingFile(0, kind, "a\udc80", id, purpose=purpose(named, lines), addresses=1)
        for kind in KINDS
        for id in (None, "5E0D1A2B3000", "dc5a59c1")
        for named in (False, True)
        for lines in (False, True)
    ]
    assert len(checked_missing(document(lacking))["files"]) == len(KINDS) * 12


@pytest.mark.parametrize("form", ["memfault", "minidump-stackwalk"])
def test_what_is_missing_has_no_other_form(report: Path, capsys: Capture, form: str) -> None:
    assert main(["symbolicate", str(report), "--missing", "--format", form]) == 64
    assert "text or json" in capsys.readouterr().err


def test_what_is_missing(report: Path, capsys: Capture) -> None:
    assert main(["symbolicate", str(report), "--missing"]) == 1
    line = f"{BUILD_ID}  crash  debug file  functions, files and lines\n"
    assert capsys.readouterr() == (line, "")
    assert main(["symbolicate", str(report), "--missing", "--format=json"]) == 1
    [file] = checked_missing(capsys.readouterr().out)["files"]
    assert (file["kind"], file["id"], file["name"]) == ("debuginfo", BUILD_ID, "crash")
    assert file["places"][0] == f".build-id/{BUILD_ID[:2]}/{BUILD_ID[2:]}.debug"
    assert main(["symbolicate", str(report), "--missing", "--symbols", str(BUNDLED)]) == 0
    assert capsys.readouterr().out == ""
    words = ["symbolicate", str(report), "--missing", "--symbols", str(BUNDLED), "--format=json"]
    assert main(words) == 0
    found = checked_missing(capsys.readouterr().out)
    assert found == {"schema": "unspool.missing/1", "files": []}


def test_a_name_is_lacking(report: Path, capsys: Capture) -> None:
    assert main(["symbolicate", str(report)]) == 1
    out = capsys.readouterr().out
    assert "not all is named: files are missing for crash" in out


def test_the_json_of_another_program(report: Path, capsys: Capture) -> None:
    words = ["symbolicate", str(report), "--symbols", str(BUNDLED), "--no-lines"]
    assert main([*words, "--format=minidump-stackwalk"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "handle_order" in [frame["function"] for frame in found["crashing_thread"]["frames"]]


def test_every_form_that_stack_has(core: str, report: Path, capsys: Capture) -> None:
    forms = [
        {option.name: option for option in options(command)}["--format"].choices
        for command in ("stack", "symbolicate")
    ]
    assert forms[0] == forms[1]
    for form in forms[0]:
        words = ["--symbols", str(BUNDLED), "--no-lines", "--quiet", "--format", form]
        assert main([core, *words]) == 0
        expected = capsys.readouterr().out
        assert main(["symbolicate", str(report), *words]) == 0
        assert capsys.readouterr().out == expected


def test_a_file_as_output(report: Path, capsys: Capture, tmp_path: Path) -> None:
    pytest.importorskip("symbolic")
    out = tmp_path / "out"
    words = ["symbolicate", str(report), "--symbols", str(BUNDLED), "-o", str(out)]
    assert main(words) == 0
    assert capsys.readouterr() == ("", "")
    assert "shop/crash.c:28" in out.read_text()
    assert main([*words, "--color=always"]) == 0
    assert "\x1b[" in out.read_text()
    assert main([*words[:-1], str(report), "--format=json"]) == 0
    assert "shop/crash.c" in report.read_text()
    assert main(["symbolicate", str(report)]) == 0


def test_a_report_is_not_overwritten_by_text(report: Path, capsys: Capture) -> None:
    before = report.read_bytes()
    for more in ([], ["--missing"], ["--missing", "--format=json"]):
        assert main(["symbolicate", str(report), "-o", str(report), *more]) == 64
    assert "add --format json" in capsys.readouterr().err
    assert report.read_bytes() == before


def test_usage(core: str, report: Path, capsys: Capture) -> None:
    assert main(["symbolicate"]) == 64
    assert main(["symbolicate", "a", "b"]) == 64
    assert main(["symbolicate", str(report), "--online", "--offline"]) == 64
    capsys.readouterr()
    assert main(["symbolicate", core]) == 2
    said = capsys.readouterr().err
    assert "is no report but a core; unspool stack names it" in said
    assert main(["symbolicate", "/none"]) == 2
    assert main(["symbolicate", "--help"]) == 0
    assert "usage: unspool symbolicate REPORT [options]" in capsys.readouterr().out


def test_online_without_servers(
    report: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("urllib3")
    monkeypatch.setenv("DEBUGINFOD_URLS", "")
    assert main(["symbolicate", str(report), "--online"]) == 1
    assert "there is no server to download from" in capsys.readouterr().out
