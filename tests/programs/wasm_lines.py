"""Calls `outer` of a WebAssembly file in Wasmtime, which has made debug information for gdb.

    wasm_lines.py FILE

Its host function says "ready" and waits.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import wasmtime


def wait(number: int) -> int:
    print("ready", flush=True)
    signal.pause()
    return number


def main() -> None:
    config = wasmtime.Config()
    config.debug_info = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    module = wasmtime.Module(engine, Path(sys.argv[1]).read_bytes())
    number = wasmtime.ValType.i32()
    host = wasmtime.Func(store, wasmtime.FuncType([number], [number]), wait)
    outer = wasmtime.Instance(store, module, [host]).exports(store)["outer"]
    outer(store, 5)  # type: ignore[operator]


main()
