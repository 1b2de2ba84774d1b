"""The documentation says what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tool", ROOT / "tools" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_generated_parts_are_in_step(docs: ModuleType, path: Path) -> None:
    text = path.read_text("utf-8")
    assert docs.filled(text) == text, "run: python tools/docs.py"


def test_every_generated_part_is_in_some_document(docs: ModuleType) -> None:
    texts = "".join(path.read_text("utf-8") for path in DOCUMENTS)
    for name in docs.PARTS:
        assert docs.START.format(name) in texts
    assert texts.count("<!-- generated: ") == texts.count(docs.END)


def test_a_part_without_an_end_is_an_error(docs: ModuleType) -> None:
    with pytest.raises(ValueError, match="no end"):
        docs.filled(docs.START.format("commands") + "text")


def test_the_tool_says_what_is_out_of_step(
    docs: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(docs, "DOCS", tmp_path)
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"a\n{docs.START.format('exit codes')}old\n{docs.END}\nb\n")
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().out == "page.md is out of step\n"
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    assert "| 130 | interrupted |" in page.read_text()
    assert page.read_text().startswith("a\n")
    assert page.read_text().endswith("\nb\n")


def test_the_manual_names_every_option_and_every_key() -> None:
    import json

    from unspool.cli.help import options

    manual = (ROOT / "docs" / "cli.md").read_text("utf-8")
    for option in (*options("stack"), *options("dump"), *options("core2md")):
        assert option.name in manual
    contract = (ROOT / "docs" / "json-report.md").read_text("utf-8")
    schema = json.loads((ROOT / "src/unspool/render/report-1.schema.json").read_text("utf-8"))
    for part in [schema, *schema["$defs"].values()]:
        for key in part.get("properties", {}):
            mark = "*" if key in part.get("required", ()) else ""
            assert f"| `{key}`{mark} |" in contract


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in link:
            assert (path.parent / link).exists(), link
