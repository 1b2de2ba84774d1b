from __future__ import annotations

import gzip
import json
import re
from functools import partial
from pathlib import Path

import pytest
import zstandard

from tests import dumps
from tests.fuzz.seeds import seed

from .asked import ask

Capture = pytest.CaptureFixture[str]
run = partial(ask, "inspect")


@pytest.fixture
def dump(tmp_path: Path) -> str:
    path = tmp_path / "a.dmp"
    path.write_bytes(dumps.crash())
    return str(path)


def test_a_whole_dump(capsys: Capture, dump: str) -> None:
    code, out, errors = run(capsys, dump)
    assert (code, errors) == (0, "")
    assert out.startswith(f"{dump}: minidump of 5,")
    assert "ExceptionRecord" in out


def test_a_dump_that_lies_ends_with_1(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "lying.dmp"
    path.write_bytes(dumps.lying())
    for words in ("", "--format json", "--format html", "--hex", "--summary", "--stream thread"):
        code, out, errors = run(capsys, str(path), *words.split())
        assert (code, errors) == (1, "")
        assert out


def test_summary_stream_and_hex(capsys: Capture, dump: str) -> None:
    _, summary, _ = run(capsys, dump, "--summary")
    assert len(summary.splitlines()) == 15
    _, out, _ = run(capsys, dump, "--stream", "exception", "--stream=LinuxAuxv")
    assert [line.split()[0] for line in out.splitlines() if line[:1].strip()] == [
        "ExceptionStream", "LinuxAuxv",
    ]  # fmt: skip
    assert "context of ExceptionStream" in out
    _, out, _ = run(capsys, dump, "--stream", "#2", "--hex")
    assert re.findall(r"^0x\w+  (.*?) +string \d  (.*)", out, re.MULTILINE) == [
        ("2f 73 72 76 2f 62 69 6e", "/srv/bin/boom"), ("2d 2d 6e 6f 77 00", "--now"),
    ]  # fmt: skip


def test_json_of_a_stream(capsys: Capture, dump: str) -> None:
    code, out, _ = run(capsys, dump, "--format", "json", "--stream", "3")
    assert code == 0
    names = [node["name"] for node in json.loads(out)["nodes"]]
    assert "stack of thread 0" in names
    assert "header" not in names


def test_a_file_is_written_whole(capsys: Capture, dump: str, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    code, out, errors = run(capsys, dump, "--format", "json", "-o", str(target))
    assert (code, out, errors) == (0, "", "")
    assert json.loads(target.read_text())["schema"] == "unspool.inspect/1"
    code, _, errors = run(capsys, dump, "-o", str(tmp_path / "none" / "x"))
    assert code == 2
    assert "cannot be written" in errors


def test_a_page_is_written(capsys: Capture, dump: str) -> None:
    code, out, _ = run(capsys, dump, "--format", "html")
    assert code == 0
    assert out.lower().startswith("<!doctype html>")


def test_a_compressed_dump(capsys: Capture, tmp_path: Path) -> None:
    data = zstandard.ZstdCompressor().compress(dumps.crash())
    path = tmp_path / "a"
    path.write_bytes(data)
    assert run(capsys, str(path), "--summary")[0] == 0
    path.write_bytes(gzip.compress(dumps.crash())[:-100])
    code, out, _ = run(capsys, str(path), "--summary")
    assert code == 1
    assert "the compressed file: " in out


def test_colours_are_for_terminals_unless_wanted(capsys: Capture, dump: str) -> None:
    assert "\x1b[" not in run(capsys, dump)[1]
    assert "\x1b[36m" in run(capsys, dump, "--color", "always")[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (seed("x86_64"), "an ELF file, not a minidump; of a core, `unspool stack` shows"),
        (b"{}", "JSON text, not a minidump"),
        (b"hello\n", "a text file, not a minidump; give a minidump; of a core, `unspool dump`"),
        (b"\0\1\2\3", "no minidump: those begin with MDMP; give a minidump"),
        (b"PMDM" + bytes(40), "header: big-endian, which no supported CPU is"),
        (b"MDMP\x93\xa7", "header: needs 32 bytes, the file has 6; is the file whole?"),
    ],
)
def test_what_is_no_minidump(
    capsys: Capture, tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    code, out, errors = run(capsys, str(path))
    assert (code, out) == (2, "")
    assert errors.startswith(f"unspool: {path}: {expected}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no DUMP"),
        (["a", "b"], "more than one DUMP"),
        (["a", "--format", "xml"], "--format xml: it is text, json or html"),
        (["a", "--format", "html", "--hex"], "--hex does nothing for --format html"),
        (["a", "--format", "json", "--all"], "--all does nothing for --format json"),
        (["a", "--stream"], "--stream needs a value"),
    ],
)
def test_usage(capsys: Capture, words: list[str], expected: str) -> None:
    code, out, errors = run(capsys, *words)
    assert (code, out) == (64, "")
    assert errors.startswith(f"unspool: {expected}")


def test_a_stream_that_is_not_there(capsys: Capture, dump: str) -> None:
    code, out, errors = run(capsys, dump, "--stream", "Token")
    assert (code, out) == (64, "")
    assert "--stream Token: no such stream in this dump; it has SystemInfoStream, " in errors


def test_help(capsys: Capture) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert out.startswith("usage: unspool inspect DUMP [options]\n")
    assert "A DUMP is a minidump" in out


def test_a_part_that_a_dump_has_nothing_of(capsys: Capture, dump: str) -> None:
    assert run(capsys, dump, "--stream", "gaps") == (
        0, "nothing: the dump has no bytes of that\n", "",
    )  # fmt: skip
