"""Folders of programs of others: made once, whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.programs.build import Unavailable

from .kept import Kept, install


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept("a thing", tmp_path / "home" / "thing", "tests.thing.install", recipe="1")


def fill(root: Path) -> None:
    (root.parent / "download").write_text("")
    (root / "program").write_text("1")


def test_it_is_made_once_and_nothing_else_stays(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Unavailable, match=r"run python -m tests\.thing\.install"):
        kept.need()
    assert install((kept, fill)) == 0
    assert (kept.need() / "program").read_text() == "1"
    assert sorted(each.name for each in kept.folder.parent.iterdir()) == ["thing", "thing.lock"]
    kept.have(lambda root: pytest.fail("made again"))
    assert f"a thing is in {kept.folder}" in capsys.readouterr().out


def test_another_recipe_is_made_anew(kept: Kept) -> None:
    kept.have(fill)
    other = replace(kept, recipe="2")
    assert not other.is_there
    other.have(lambda root: None)
    assert not (other.need() / "program").exists()
    assert not kept.is_there


def test_what_fails_leaves_nothing_and_says_why(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(root: Path) -> None:
        fill(root)
        raise OSError("no room")

    other = replace(kept, name="another", folder=kept.folder.with_name("other"))
    assert install((kept, fail), (other, fill)) == 1
    said = capsys.readouterr()
    assert "a thing cannot be installed: no room; tests that need it are skipped" in said.err
    assert "another is in" in said.out
    assert not kept.folder.exists()
