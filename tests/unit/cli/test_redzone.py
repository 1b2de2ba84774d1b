from __future__ import annotations

import json
import lzma
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Tool

from .asked import ask

pytest.importorskip("iced_x86")

ROOT = Path(__file__).parents[3]
CORE = str(ROOT / "demo" / "bundled" / "crash.core.xz")
SOURCE = "long leaf(long a) { volatile long x = a; return x + 1; }\n"
Capture = pytest.CaptureFixture[str]
run = partial(ask, "redzone")


@pytest.fixture
def leaf(tool: Tool, tmp_path: Path) -> str:
    (tmp_path / "leaf.c").write_text(SOURCE)
    tool("gcc", "-O2", "-c", tmp_path / "leaf.c", "-o", tmp_path / "leaf.o")
    if not (tmp_path / "leaf.o").exists():
        pytest.skip("gcc makes no object here")
    return str(tmp_path / "leaf.o")


def schema() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    text = files("unspool.render").joinpath("redzone-1.schema.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


def test_a_file(capsys: Capture, leaf: str) -> None:
    code, out, errors = run(capsys, leaf)
    assert (code, errors) == (0, "")
    assert out.splitlines()[0] == f"{leaf}: ELF object, x86-64"
    assert "functions: 1 within the red zone" in out
    assert "write of 8 bytes at sp-8: mov %rdi,-8(%rsp)" in out
    # A verdict is an answer, and no failure.
    code, out, _ = run(capsys, leaf, "--no-red-zone")
    assert code == 0
    assert "there is NO red zone" in out


def test_a_file_as_json(capsys: Capture, leaf: str) -> None:
    code, out, _ = run(capsys, leaf, "--format", "json", "--no-red-zone")
    document = json.loads(out)
    schema().validate(document)
    (function,) = document["functions"]
    assert (code, function["name"], function["verdict"]) == (0, "leaf", "forbidden")


def test_a_compressed_file(capsys: Capture, leaf: str, tmp_path: Path) -> None:
    packed = tmp_path / "leaf.ko.xz"
    packed.write_bytes(lzma.compress(Path(leaf).read_bytes()))
    code, out, _ = run(capsys, str(packed))
    assert code == 0
    assert "1 within the red zone" in out


def test_a_core(capsys: Capture) -> None:
    _, out, errors = run(capsys, CORE)
    assert errors == ""
    assert "not to be trusted" in out
    assert "thread 1866" in out
    _, out, _ = run(capsys, CORE, "--format", "json")
    document = json.loads(out)
    schema().validate(document)
    assert {each["kind"] for each in document["findings"]} >= {"below_stack"}
    for thread in document["threads"]:
        assert int(thread["beyond"]["high"], 16) == int(thread["sp"], 16) - 128


@pytest.mark.parametrize("content", [b"\x7fELF", b"MZ" + bytes(100), b"text\n", b"\x7fELF" * 100])
def test_what_is_no_file_of_code(capsys: Capture, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    code, out, errors = run(capsys, str(path))
    assert (code, out) == (2, "")
    assert errors.startswith("unspool: ")
    assert "internal error" not in errors
    assert str(path) in errors
    assert "; " in errors, "there is no next step"


def test_a_core_that_is_cut_says_why_the_answer_is_not_whole(
    capsys: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "core"
    path.write_bytes(lzma.decompress(Path(CORE).read_bytes())[:20_000])
    code, out, _ = run(capsys, str(path))
    assert code == 1
    assert "note: the core is truncated: it has 20,000 of at least " in out
    assert "get the whole file" in out
    path.write_bytes(path.read_bytes()[:64])  # without the table that tells its size
    assert "note: the core is truncated: it has 64 bytes" in run(capsys, str(path))[1]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"!<arch>\n", "is an archive; take its objects out"),
        (b"\x64\x86\x03\0\0\0\0\0", "is a COFF object"),
        (b"BC\xc0\xde\x35\x14\0\0", "is LLVM's own code"),
    ],
)
def test_what_compilers_leave_beside_objects(
    capsys: Capture, tmp_path: Path, start: bytes, words: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(start + bytes(100))
    code, output, errors = run(capsys, str(path))
    assert (code, output) == (2, "")
    assert words in errors


def test_an_object_without_machine_code(capsys: Capture, leaf: str, tool: Tool) -> None:
    tool("gcc", "-O2", "-flto", "-c", Path(leaf).with_suffix(".c"), "-o", leaf)
    code, output, _ = run(capsys, leaf)
    assert code == 1
    assert "no machine code in it, but the compiler's own (LTO)" in output


def test_a_file_that_is_cut(capsys: Capture, leaf: str) -> None:
    """A section table lies at the end of an object: without it there is no code to look at."""
    data = Path(leaf).read_bytes()
    Path(leaf).write_bytes(data[:300])
    code, out, _ = run(capsys, leaf)
    assert code == 1
    assert "missing: its section table is not in the file" in out


def test_broken_files_never_fail_otherwise(capsys: Capture, leaf: str, tmp_path: Path) -> None:
    from random import Random

    random = Random(6)
    data = Path(leaf).read_bytes()
    for _ in range(60):
        broken = bytearray(data[: random.randrange(64, len(data) + 1)])
        for _ in range(random.randrange(1, 12)):
            broken[random.randrange(4, len(broken))] = random.randrange(256)
        path = tmp_path / "broken.o"
        path.write_bytes(broken)
        code, _, errors = run(capsys, str(path))
        assert code in (0, 1, 2)
        assert "internal error" not in errors, errors


def test_usage_and_help(capsys: Capture) -> None:
    assert run(capsys)[0] == 64
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "--no-red-zone" in out
