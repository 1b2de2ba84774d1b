"""What `import unspool` offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import unspool

SOURCE = Path(unspool.__file__)
BUNDLED = Path(__file__).parents[2] / "demo" / "bundled"


def names_for_type_checkers() -> set[str]:
    """What the imports below `if TYPE_CHECKING` give."""
    tree = ast.parse(SOURCE.read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", unspool.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(unspool, name)
    assert name == "__version__" or value.__doc__


def test_type_checkers_see_what_there_is() -> None:
    assert names_for_type_checkers() == set(unspool.__all__) - {"__version__"}


def test_dir_lists_the_public_names() -> None:
    assert set(unspool.__all__) <= set(dir(unspool))


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'unspool' has no attribute 'rewind'"):
        unspool.rewind  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("first", ["unspool", "unspool.unwind", "unspool.unwind.walk"])
def test_unwind_is_the_function_whatever_was_imported_first(first: str) -> None:
    """The package of the same name must not take its place."""
    script = f"import {first}, unspool.unwind.rows, unspool; print(type(unspool.unwind).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE.parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "function"


def test_the_library_in_four_lines() -> None:
    for _ in range(2):  # the second time, all modules have been imported
        with unspool.open(str(BUNDLED / "crash.core.xz"), symbols=[str(BUNDLED)]) as target:
            report = unspool.unwind(target)
        assert isinstance(unspool.unwind, FunctionType)
        assert isinstance(report, unspool.Report)
        assert len(report.stacks) == 5
        assert report.complete


def test_the_version_is_one() -> None:
    parts = unspool.__version__.split(".")
    assert len(parts) >= 3
    assert all(part.isdecimal() for part in parts[:2])
