"""What every module keeps to: its size, its documentation, what it imports and when."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.seeds import seed

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "unspool"
FILES = sorted(SOURCE.rglob("*.py"))

MAX_LINES = 400
MAX_FUNCTION = 70
# A longer module must be data, and say so in its first lines.
DATA_TABLE = re.compile(r"data table", re.IGNORECASE)

# Each costs milliseconds, and a walk of a small core takes twenty.
HEAVY = {
    "argparse", "asyncio", "concurrent", "contextlib", "dataclasses", "datetime", "email", "enum",
    "functools", "hashlib", "http", "importlib.metadata", "importlib.resources", "inspect",
    "json", "logging", "lzma", "multiprocessing", "pathlib", "pickle", "platform", "random", "re",
    "shutil", "socket", "ssl", "subprocess", "tempfile", "textwrap", "traceback",
    "typing", "urllib", "uuid", "zipfile",
}  # fmt: skip
# Writing and reading JSON is all that these do, and nothing else imports them early.
ALLOWED = {("render/json.py", "json"), ("render/json_reader.py", "json")}
# What these import is needed for the network, and who asks for that waits longer anyway.
ONLINE = "symbols/online/"


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def early_imports(path: Path) -> set[str]:
    """Modules that are imported with this one, those for type checkers not counted."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_fits_in_the_head(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    is_table = DATA_TABLE.search("\n".join(lines[:5])) is not None
    assert len(lines) <= MAX_LINES or is_table, f"{len(lines)} lines"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_function_is_endless(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            size = (node.end_lineno or 0) - node.lineno + 1
            assert size <= MAX_FUNCTION, f"{node.name}: {size} lines"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_says_what_it_is(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert "from __future__ import annotations" in text


def test_a_folder_of_tests_says_what_it_is_for() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    silent = {
        folder.name
        for folder in folders
        if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
    }
    assert not silent


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_heavy_is_imported_early(path: Path) -> None:
    guilty = {
        module
        for module in early_imports(path)
        if (module in HEAVY or module.split(".")[0] in HEAVY)
        and (name_of(path), module.split(".")[0]) not in ALLOWED
    }
    if name_of(path).startswith(ONLINE):
        return
    assert not guilty
    assert not any(module.startswith("unspool.symbols.online") for module in early_imports(path))


# A command that ends in an answer, and the modules that it has loaded beside those that the
# interpreter loads by itself.
PROGRAM = """
import sys
before = set(sys.modules)
from unspool.cli import main
code = main(sys.argv[1:])
print("\\nloaded:", code, *sorted(set(sys.modules) - before))
"""
TOO_MUCH = {
    "argparse", "asyncio", "collections.abc", "ctypes", "dataclasses", "datetime", "email", "enum",
    "hashlib", "http", "inspect", "json", "logging", "multiprocessing", "pathlib", "random", "re",
    "rich", "shutil", "socket", "ssl", "subprocess", "symbolic", "tempfile", "typing", "urllib",
    "zstandard", "lz4", "lzma", "zlib",
}  # fmt: skip


def test_a_stack_of_a_small_core_loads_nothing_heavy(tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_bytes(seed("x86_64"))
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "stack", "--no-symbols", core],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    code, *loaded = result.stdout.rpartition("loaded: ")[2].split()
    assert code == "0", result.stdout
    assert not TOO_MUCH & set(loaded)
    ours = [name for name in loaded if name.startswith("unspool")]
    assert not any("live" in name or "ptrace" in name for name in ours), ours
