"""A host of Wasmtime through the kernel's handler: the stacks are those of a core, and whole, and
they are named by the files of the modules, elsewhere."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

import unspool
from tests.programs.build import HERE
from tests.programs.wasm_hosts import build_host, expected, installed_library
from unspool import api
from unspool.model import Report
from unspool.render.json_reader import from_json

from .kernel import Handler, check_same, crash

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="session")
def host(programs_root: Path) -> Path:
    return build_host(programs_root / "wasm_host", installed_library())


@pytest.mark.parametrize(
    "arguments",
    [
        ("depth=3", "skip=2", "threads=2", "spin=1", "end=segv"),
        ("depth=1", "move=1"),
        ("depth=1", "end=bounds"),
    ],
    ids=["levels", "fiber", "bounds"],
)
def test_the_stacks_are_the_cores(
    host: Path, arguments: tuple[str, ...], handler: Handler, tmp_path: Path
) -> None:
    number = signal.SIGSEGV if arguments[-1].startswith("end=") else signal.SIGABRT
    pid = crash([host, *arguments], number, cwd=tmp_path)
    report = check_same(handler, pid)
    crashed = next(each for each in report["threads"] if each["crashed"])
    kinds = [segment["kind"] for segment in crashed["segments"]]
    assert kinds.count("wasm") >= 2
    assert {each["stop"]["reason"] for each in report["threads"]} == {"root"}
    modules = {module["name"] for module in report["modules"] if module["kind"] == "wasm"}
    assert modules >= {"demo.wasm", "library.wasm"}


def write_modules(folder: Path) -> None:
    """The host's modules, which it makes of text, as files."""
    wasmtime = pytest.importorskip("wasmtime")
    source = (HERE / "wasm_host.c").read_text()
    for name in ("LIBRARY", "DEMO"):
        (text,) = re.findall(rf"const char {name}\[\] =(.*?);\n", source, re.DOTALL)
        lines = re.findall(r'^\s*"(.*)"$', text, re.MULTILINE)
        made = "".join(lines).replace('\\"', '"')
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(made))


def functions(report: Report) -> list[list[str | None]]:
    """The functions of each activation of the crashed thread, the innermost first."""
    (stack,) = (stack for stack in report.stacks if stack.crashed)
    found: dict[int, list[str | None]] = {}
    for index, frame in enumerate(stack.frames):
        known = report.location(stack, index)
        if known is not None and known.wasm_function is not None:
            found.setdefault(frame.segment, []).append(known.function)
    return list(found.values())


def test_names_come_from_the_files_of_the_modules(
    host: Path, handler: Handler, tmp_path: Path
) -> None:
    pid = crash([host, "depth=6", "end=segv"], signal.SIGSEGV, cwd=tmp_path)
    report = from_json(handler.report(pid))
    with unspool.open(str(handler.core(pid))) as target:
        whole = api.unwind(target)
    bare = functions(report)
    assert [len(each) for each in bare] == [4] * 7
    assert {name for each in bare for name in each} == {None}
    _, missing = api.symbolicate(report)
    assert {each.name for each in missing if each.kind == "wasm"} == {"demo.wasm", "library.wasm"}
    write_modules(tmp_path)
    named, missing = api.symbolicate(report, symbols=[str(tmp_path)])
    assert "wasm" not in [each.kind for each in missing]
    assert functions(named) == functions(whole)
    assert functions(named) == [
        [name or "<wasm function 1>" for name in each] for each in expected(6)
    ]  # fmt: skip
