from __future__ import annotations

import json
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest

from tests.conftest import Tool

from .asked import ask

ROOT = Path(__file__).parents[3]
CORE = str(ROOT / "demo" / "bundled" / "crash.core.xz")
SYMBOLS = str(ROOT / "demo" / "bundled")
Capture = pytest.CaptureFixture[str]
run = partial(ask, "patch-check")


def test_a_core(capsys: Capture) -> None:
    code, out, errors = run(capsys, CORE, "total", "main", "--symbols", SYMBOLS)
    assert errors == ""
    lines = out.splitlines()
    assert lines[0].startswith(f"{CORE}: x86_64, ")
    assert "by scanning" in out
    assert any(line.startswith("unsafe        unsafe        total") for line in lines)
    assert "thread 1866 returns to" in out
    assert "frame #" in out
    # A thread's outermost frames are found by scanning: nothing is proven of the others.
    assert code == 1
    assert any(line.split(" ")[:2] == ["not", "proven"] or "guessed" in line for line in lines)


def test_json_follows_its_schema(capsys: Capture) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(files("unspool.render").joinpath("patch-check-1.schema.json").read_text())
    code, out, _ = run(capsys, CORE, "total", "nosuch", "0x1000-0x2000", "--format=json",
                       "--symbols", SYMBOLS)  # fmt: skip
    document = json.loads(out)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert code == 1
    wanted = [each["wanted"] for each in document["functions"]]
    assert wanted == ["total", "nosuch", "0x1000-0x2000"]
    assert document["functions"][1]["conservative"]["verdict"] == "not proven"
    assert document["unwinding"] == "unsafe"
    assert all(each["kind"] for each in document["functions"][0]["conservative"]["evidence"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no TARGET"),
        ([CORE], "no FUNCTION"),
        ([CORE, "f", "--old", "a"], "--old and --new go together"),
        ([CORE, "0x2000-0x1000"], "no address range"),
        ([CORE, "libc!"], "no function"),
    ],
)
def test_usage(capsys: Capture, words: list[str], message: str) -> None:
    code, out, errors = run(capsys, *words)
    assert (code, out) == (64, "")
    assert message in errors


def test_two_builds_of_which_the_target_runs_neither(
    capsys: Capture, tool: Tool, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    tool("gcc", tmp_path / "a.c", "-Wl,--build-id", "-o", made)
    if not made.exists():
        pytest.skip("gcc makes no program here")
    code, _, errors = run(capsys, CORE, "--old", str(made), "--new", str(made))
    assert code == 2
    assert "runs no file of build id" in errors
    (tmp_path / "text").write_text("no ELF")
    code, _, errors = run(capsys, CORE, "--old", str(tmp_path / "text"), "--new", str(made))
    assert code == 2
    assert "ELF" in errors


def test_two_builds(capsys: Capture) -> None:
    pytest.importorskip("iced_x86")
    program = str(ROOT / "demo" / "bundled" / "crash")
    code, out, errors = run(capsys, CORE, "--old", program, "--new", program, "--symbols", SYMBOLS)
    assert (code, errors) == (0, "")
    assert "0 changed, 0 added, 0 removed" in out
    assert "no function has to be replaced" in out


def test_help(capsys: Capture) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "--old FILE" in out
