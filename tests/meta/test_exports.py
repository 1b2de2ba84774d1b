"""The public names: all there, all documented, loaded only when used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import unspool

SOURCE = Path(unspool.__file__).parent
HOMES = {name: home for home, names in unspool._HOMES.items() for name in names}


def test_all_is_what_the_homes_have() -> None:
    assert sorted(unspool.__all__) == sorted([*HOMES, "__version__"])
    assert sorted(unspool.__all__) == unspool.__all__
    assert set(unspool.__all__) <= set(dir(unspool))


@pytest.mark.parametrize("name", HOMES)
def test_a_public_name_comes_from_its_home_and_is_documented(name: str) -> None:
    value = getattr(unspool, name)
    assert value.__module__ == f"unspool.{HOMES[name]}"
    assert value.__name__ == name
    assert len(inspect.getdoc(value) or "") > 10


@pytest.mark.parametrize("name", HOMES)
def test_type_checkers_see_what_is_loaded(name: str) -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text("utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "unspool"
        for alias in node.names
    }
    assert seen[name] == f"unspool.{HOMES[name]}"


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = unspool.opne  # type: ignore[attr-defined]


def test_unwind_stays_a_function_whatever_is_imported_first() -> None:
    code = (
        "import unspool, unspool.unwind.walk, unspool.api\n"
        "from unspool import unwind\n"
        "assert callable(unwind) and callable(unspool.unwind), unspool.unwind"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_types_are_shipped() -> None:
    assert (SOURCE / "py.typed").is_file()
