"""What an image of each runtime tells of its binary: the file fits, and no other build does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import unspool
from unspool.formats.wasm_code import instructions
from unspool.formats.wasm_file import WasmModule, read_modules
from unspool.generated.wasm_places import identity
from unspool.generated.wasmtime import WasmCode
from unspool.model import Module
from unspool.symbols.wasm.files import Unfit, WasmFiles, moved_code

from .install import VERSIONS, folder

pytestmark = pytest.mark.oracle

COMPILE = """
import signal, sys, wasmtime
module = wasmtime.Module.from_file(wasmtime.Engine(), sys.argv[1])
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def binary() -> Path:
    """A module of 37 functions by Rust's compiler, which comes with Wasmtime's package."""
    home = folder("36.0.0")
    assert home is not None
    return home / "wasmtime" / "bindgen" / "generated" / "root.core1.wasm"


def compiled(version: str, path: Path) -> Module:
    """The module as it is in the memory of a process that has compiled it."""
    home = folder(version)
    command = [sys.executable, "-c", COMPILE, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(home) if home else ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            with unspool.open(process.pid) as target:
                (found,) = (
                    each
                    for each in target.generated.modules
                    if isinstance(each.runtime, WasmCode) and identity(each.runtime) is not None
                )
                assert isinstance(found.runtime, WasmCode)
                found.module.wasm = identity(found.runtime)
                return found.module
        finally:
            process.kill()


def with_one_more(module: WasmModule, function: int, at: int) -> WasmModule:
    """The module with a `nop` in the code of a function."""
    other = WasmModule(bytes(module.data[:at]) + b"\x01" + bytes(module.data[at:]))
    other.imported = module.imported
    other.bodies = [
        (start + (index > function), end + (index >= function))
        for index, (start, end) in enumerate(module.bodies)
    ]
    return other


@pytest.mark.parametrize("version", VERSIONS)
def test_one_instruction_more_is_another_binary(version: str, binary: Path) -> None:
    known = compiled(version, binary)
    assert known.wasm is not None
    assert len(known.wasm.points) > 40
    [file] = WasmFiles([str(binary.parent)]).find(known, ())
    assert (file.path, file.moved, file.proved) == (str(binary), {0: 0}, True)
    [module] = read_modules(binary.read_bytes())
    refused = tries = 0
    # In the first and the last function it may be before or behind all places that are known.
    for function, body in list(enumerate(module.bodies))[1:-1]:
        places = sorted(instructions(module.data, *body))
        for at in (places[-1], places[len(places) // 2]):
            tries += 1
            try:
                moved_code([with_one_more(module, function, at)], known.wasm.points)
            except Unfit:
                refused += 1
    assert tries == 70
    assert refused == tries
