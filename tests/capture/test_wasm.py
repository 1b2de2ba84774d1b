"""A host of Wasmtime through the kernel's handler: the stacks are those of a core, and whole."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.programs.wasm_hosts import build_host, installed_library

from .kernel import Handler, check_same, crash

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="session")
def host(programs_root: Path) -> Path:
    return build_host(programs_root / "wasm_host", installed_library())


@pytest.mark.parametrize(
    "arguments",
    [
        ("depth=3", "skip=2", "threads=2", "spin=1"),
        ("depth=1", "move=1"),
        ("depth=1", "end=bounds"),
    ],
    ids=["levels", "fiber", "bounds"],
)
def test_the_stacks_are_the_cores(
    host: Path, arguments: tuple[str, ...], handler: Handler, tmp_path: Path
) -> None:
    ends = {"end=bounds": signal.SIGSEGV}
    pid = crash([host, *arguments], ends.get(arguments[-1], signal.SIGABRT), cwd=tmp_path)
    report = check_same(handler, pid)
    crashed = next(each for each in report["threads"] if each["crashed"])
    kinds = [segment["kind"] for segment in crashed["segments"]]
    assert kinds.count("wasm") >= 2
    assert {each["stop"]["reason"] for each in report["threads"]} == {"root"}
    modules = {module["name"] for module in report["modules"] if module["kind"] == "wasm"}
    assert modules >= {"demo.wasm", "library.wasm"}
