"""The documentation's examples print what it says that they print."""

from __future__ import annotations

import importlib.util
import re
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "demo/README.md"])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def examples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples_tool", ROOT / "tools" / "examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_print_what_is_written(examples: ModuleType, path: Path) -> None:
    text = path.read_text("utf-8")
    if examples.EXAMPLE.search(text):
        for library in ("symbolic", "iced_x86"):
            pytest.importorskip(library, reason="the examples show all that the extras add")
    assert examples.renewed(text) == text, "run: python tools/examples.py"


def test_the_readme_has_examples(examples: ModuleType) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    kinds = [match[1] for match in examples.EXAMPLE.finditer(text)]
    assert kinds.count("console") >= 4
    assert kinds.count("python") >= 1


def test_every_mark_is_before_an_example(examples: ModuleType) -> None:
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        found = len(examples.EXAMPLE.findall(text))
        assert text.count("\n<!-- run -->\n") == found, path.name


def test_a_wrong_output_is_found(examples: ModuleType) -> None:
    text = "<!-- run -->\n```console\n$ echo one\ntwo\n$ echo 'read in 7 s'\n```\n"
    assert examples.renewed(text) == (
        "<!-- run -->\n```console\n$ echo one\none\n$ echo 'read in 7 s'\nread in 0.05 s\n```\n"
    )
    with pytest.raises(ValueError, match="nothing says what"):
        examples.renewed("<!-- run -->\n```python\nprint(1)\n```\n")


def test_commands_in_documents_have_no_options_that_are_not_there() -> None:
    from unspool.cli.commands import COMMANDS
    from unspool.cli.help import options

    for path in DOCUMENTS:
        for _, body in FENCE.findall(path.read_text("utf-8")):
            for line in body.splitlines():
                if re.match(r"(\$ )?unspool\b", line) and "…" not in line:
                    command = line.partition("#")[0].partition(";")[0]
                    used = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", command))
                    names = [word for word in command.split()[1:3] if word in COMMANDS]
                    known = {option.name for option in options((names or ["stack"])[0])}
                    assert used <= known | {"--version"}, f"{path.name}: {line}"


def test_targets_of_make_in_documents_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for path in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z]+)", path.read_text("utf-8")))
        assert named <= targets, path.name
    help_text = set(re.findall(r'echo "make (\w+)', makefile))
    assert help_text == targets - {"help", "python"}


def test_paths_of_documents_in_the_code_are_there() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for name in re.findall(r"docs/[\w/.-]+\.md", path.read_text("utf-8")):
            assert (ROOT / name).is_file(), f"{path.name}: {name}"


def test_the_picture_shows_what_the_readme_shows() -> None:
    picture = re.sub(r"<[^>]*>", "", (ROOT / "docs" / "stack.svg").read_text("utf-8"))
    readme = (ROOT / "README.md").read_text("utf-8")
    lines = [line for line in unescape(picture).splitlines() if re.match(r" +\d  \w", line)]
    assert len(lines) > 10
    for line in lines:
        assert line in readme, "run: python tools/picture.py"
