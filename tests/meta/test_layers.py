"""Imports only go down (docs/decisions/0001-layers.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "unspool"

# From the bottom to the top. A module's rank is that of the first component below `unspool`.
RANKS = (
    {"errors", "lazy", "record"},
    {"cursor"},
    {"memory"},
    {"arch", "formats"},
    {"model"},
    {"image", "pe_eh_frame"},
    {"pe_image"},
    {"space"},
    {"wine"},
    {"generated"},
    {"unwind"},
    {"symbols"},
    {"targets"},
    {"write"},
    {"analyses"},
    {"render"},
    {"api"},
    {"capture"},
    {"cli"},
    {"__main__"},
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
# An architecture is a parameter of the readers of notes, whose layouts differ by nothing else:
# they need its type and never import it to run.
TYPES_ONLY = {("formats", "arch")}
# But for the package itself, which offers names of every layer.
FILES = sorted(set(SOURCE.rglob("*.py")) - {SOURCE / "__init__.py"})


def component(module: str) -> str:
    return module.split(".")[1] if module.startswith("unspool.") else ""


def is_for_types(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def imports(tree: ast.AST, for_types: bool = False) -> Iterator[tuple[str, int, bool]]:
    """(module, line, whether only type checkers see it) of every import, at any depth."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, for_types
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module is not None
            if node.module == "unspool":
                for alias in node.names:
                    yield f"unspool.{alias.name}", node.lineno, for_types
            else:
                yield node.module, node.lineno, for_types
        elif isinstance(node, ast.stmt) and is_for_types(node):
            yield from imports(node, True)
        else:
            yield from imports(node, for_types)


def own_imports(path: Path) -> Iterator[tuple[str, str, int, bool]]:
    """(importing component, imported component, line, types only) of imports of this package."""
    relative = path.relative_to(SOURCE)
    importer = relative.parts[0].removesuffix(".py")
    for module, line, for_types in imports(ast.parse(path.read_text("utf-8"))):
        imported = component(module)
        if imported not in ("", "__version__", importer):
            yield importer, imported, line, for_types


def test_every_module_has_a_rank() -> None:
    components = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in FILES}
    assert components <= set(RANK)


def test_the_map_of_the_documentation_has_every_layer_in_its_place() -> None:
    guide = (SOURCE.parents[1] / "docs" / "how-it-works.md").read_text("utf-8")
    rows = guide.partition("imports only go down")[2].split("```")[1].strip().splitlines()
    ranks = [RANK[row.split()[0]] for row in rows]
    assert ranks == sorted(ranks, reverse=True)
    assert set(RANK) - {"__main__"} <= set(re.findall(r"\w+", "\n".join(rows)))


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix().replace("/", ".")
)
def test_imports_go_down(path: Path) -> None:
    upward = [
        f"{path.name}:{line}: {importer} imports {imported}"
        for importer, imported, line, for_types in own_imports(path)
        if RANK[imported] >= RANK[importer]
        and not (for_types and (importer, imported) in TYPES_ONLY)
    ]
    assert not upward


def test_targets_never_import_the_unwinder() -> None:
    guilty = {
        path.name
        for path in (SOURCE / "targets").rglob("*.py")
        if any(imported == "unwind" for _, imported, _, _ in own_imports(path))
    }
    assert not guilty


def test_formats_open_no_files() -> None:
    for path in (SOURCE / "formats").rglob("*.py"):
        modules = {module for module, _, _ in imports(ast.parse(path.read_text("utf-8")))}
        assert not modules & {"os", "io", "pathlib", "mmap", "subprocess"}, path.name


def test_one_module_imports_symbolic() -> None:
    importers = {
        path.relative_to(SOURCE).as_posix()
        for path in FILES
        for module, _, for_types in imports(ast.parse(path.read_text("utf-8")))
        if module.split(".")[0] == "symbolic" and not for_types
    }
    assert importers <= {"symbols/native.py"}


def test_only_the_command_line_prints() -> None:
    printers = {
        path.relative_to(SOURCE).as_posix()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write")
    }
    assert all(name.startswith("cli/") for name in printers)
