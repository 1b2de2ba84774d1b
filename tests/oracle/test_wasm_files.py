"""WebAssembly files beside LLVM's disassembler, and as names of a report that was made without."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import unspool
from tests.programs.build import HERE, build_wasm, check, run, tool
from tests.programs.running import running
from tests.wasm.install import folder
from unspool import api
from unspool.formats.wasm_code import instructions
from unspool.formats.wasm_file import read_modules
from unspool.model import Report
from unspool.render.json import dumps
from unspool.render.json_reader import loads

pytestmark = pytest.mark.oracle

SOURCE = HERE / "wasm_lines.c"
CALLS = [
    ("inner", "int r = wait_here(x + 1);"),
    ("twice", "return inner(x + x) + 1;"),
    ("middle", "int r = twice(x);"),
    ("outer", "int r = middle(x);"),
]


def in_the_package() -> Path:
    """A module of 37 functions by Rust's compiler, which comes with Wasmtime's package."""
    home = folder("36.0.0")
    assert home is not None
    return home / "wasmtime" / "bindgen" / "generated" / "root.core1.wasm"


def test_instructions_begin_where_llvm_has_them(tmp_path: Path) -> None:
    for path in (build_wasm(SOURCE, tmp_path / "x.wasm"), in_the_package()):
        data = path.read_bytes()
        [module] = read_modules(data)
        assert module.code is not None
        done = subprocess.run(
            [tool("llvm-objdump"), "-d", path], capture_output=True, text=True, check=True
        )
        lines = re.findall(r"^\s*([0-9a-f]+): ", done.stdout, re.MULTILINE)
        # LLVM counts from the section's contents, and has no locals among the instructions.
        expected = {int(text, 16) + module.code[0] for text in lines}
        found, declared = set(), set()
        for start, end in module.bodies:
            places = sorted(instructions(data, start, end))
            first = min(place for place in places if place in expected)
            found |= {place for place in places if place >= first}
            declared |= {place for place in places if place < first}
        assert found == expected
        assert not declared & expected


def shown(report: Report, text: list[str]) -> list[tuple[str | None, str | None]]:
    """Functions and source lines of the Wasm frames; calls that were put in place first."""
    found = []
    for frame in report.stacks[0].frames:
        known = report.locations.get(frame.lookup_pc)
        if known is not None and known.wasm_function is not None:
            places = [*known.inlines, known]
            found += [
                (each.function, text[each.line - 1].strip() if each.line else None)
                for each in places
            ]
    return found


def test_a_stripped_module_is_named_by_the_file_it_was(tmp_path: Path) -> None:
    """llvm-strip writes sizes with more bytes: all code lies elsewhere in the file."""
    pytest.importorskip("symbolic")
    pytest.importorskip("wasmtime")
    whole, stripped = build_wasm(SOURCE, tmp_path / "whole.wasm"), tmp_path / "stripped.wasm"
    check(run([tool("llvm-strip"), "--strip-all", whole, "-o", stripped]))
    assert read_modules(stripped.read_bytes())[0].code != read_modules(whole.read_bytes())[0].code
    early = "-Dreturn=if (x > 70000) return 0; else return"
    other = build_wasm(SOURCE, tmp_path / "other.wasm", early)
    text = SOURCE.read_text().splitlines()
    with running([sys.executable, HERE / "wasm_lines.py", stripped]) as process:
        with unspool.open(process.pid) as target:
            report = api.unwind(target, threads=process.pid, symbols=False)
            numbered = api.unwind(target, threads=process.pid)
        with unspool.open(process.pid, symbols=[str(whole)]) as target:
            at_once = api.unwind(target, threads=process.pid)
    report, numbered = loads(dumps(report)), loads(dumps(numbered))
    assert shown(report, text) == [(None, None)] * 3
    assert shown(numbered, text) == [(f"<wasm function {each}>", None) for each in (1, 2, 3)]
    for named in (at_once, *(api.symbolicate(each, symbols=[str(whole)])[0]
                             for each in (report, numbered))):  # fmt: skip
        assert shown(named, text) == CALLS
    # Too little code to be found among others, and another build even if it is given.
    for path, verdict in ((tmp_path, f"{whole} may be"), (other, f"{other} is not")):
        named, missing = api.symbolicate(report, symbols=[str(path)])
        assert shown(named, text) == [(None, None)] * 3
        assert "wasm" in [each.kind for each in missing]
        told = [each.title for each in named.findings if each.kind == "wasm_file_refused"]
        assert any(title.startswith(f"{verdict} what the code was compiled") for title in told)


@pytest.mark.parametrize("options", [["-O2", "-g"], ["-g"]], ids=["optimised", "as it is"])
def test_what_wasm_opt_wrote_fits_and_what_it_read_does_not(
    options: list[str], tmp_path: Path
) -> None:
    """It writes all code anew, even without a pass. What takes names and debug information out
    of its output leaves the code alone, if it is another program: here wabt's."""
    pytest.importorskip("symbolic")
    pytest.importorskip("wasmtime")
    whole, made = build_wasm(SOURCE, tmp_path / "whole.wasm"), tmp_path / "made.wasm"
    check(run([tool("wasm-opt"), *options, whole, "-o", made]))
    stripped = tmp_path / "stripped.wasm"
    check(run([tool("wasm-strip"), made, "-o", stripped]))
    with (
        running([sys.executable, HERE / "wasm_lines.py", stripped]) as process,
        unspool.open(process.pid) as target,
    ):
        report = api.unwind(target, threads=process.pid, symbols=False)
    text = SOURCE.read_text().splitlines()
    assert shown(api.symbolicate(report, symbols=[str(made)])[0], text) == CALLS
    named, _ = api.symbolicate(report, symbols=[str(whole)])
    assert shown(named, text) == [(None, None)] * 3
    assert [each.kind for each in named.findings].count("wasm_file_refused") == 1
