"""A host of fibers: asynchronous calls of Wasm code, of which most wait while it is looked at.

Run with the `wasmtime` to test in PYTHONPATH and the number of fibers that are to wait. Each yields
in a loop, every second one a call deeper. One more has ended before; and the last one runs: in
a host function, which prints a line of JSON and waits for an empty line.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from typing import Any

import wasmtime
from wasmtime import Config, Engine, Func, FuncType, Module, Store

MODULE = """(module $fibers
  (import "host" "stop" (func $stop))
  (func $turn (loop $again br $again))
  (func $waits (export "waits") call $turn)
  (func $deeper (export "deeper") call $waits)
  (func $ends (export "ends"))
  (func $runs (export "runs") call $stop))"""
ffi: Any = wasmtime._ffi


class Call:
    """An asynchronous call in a store of its own. The package has no names for these."""

    def __init__(self, engine: Engine, module: Module, export: str) -> None:
        self.store = Store(engine)
        self.store.set_fuel(1 << 40)
        context = self.store._context() if callable(self.store._context) else self.store._context
        ffi.wasmtime_context_fuel_async_yield_interval(context, ctypes.c_uint64(1000))
        self.stop = Func(self.store, FuncType([], []), stop)
        self.trap = ctypes.POINTER(ffi.wasm_trap_t)()
        self.error = ctypes.POINTER(ffi.wasmtime_error_t)()
        ends = (ctypes.byref(self.trap), ctypes.byref(self.error))
        linker = wasmtime.Linker(engine)
        linker.define(self.store, "host", "stop", self.stop)
        self.instance = ffi.wasmtime_instance_t()
        made = ffi.wasmtime_linker_instantiate_async(
            linker.ptr(), context, module.ptr(), ctypes.byref(self.instance), *ends
        )
        while not ffi.wasmtime_call_future_poll(made):
            pass
        ffi.wasmtime_call_future_delete(made)
        name = export.encode()
        found = ffi.wasmtime_extern_t()
        ffi.wasmtime_instance_export_get(
            context, ctypes.byref(self.instance),
            ctypes.cast(name, ctypes.POINTER(ctypes.c_char)), len(name), ctypes.byref(found),
        )  # fmt: skip
        self.function = ffi.wasmtime_func_t.from_buffer_copy(found.of.func)
        self.future = ffi.wasmtime_func_call_async(
            context, ctypes.byref(self.function), None, 0, None, 0, *ends
        )
        self.found = found

    def poll(self) -> bool:
        """Goes on with it; whether it has ended."""
        return bool(ffi.wasmtime_call_future_poll(self.future))


def stop() -> None:
    print(json.dumps({"pid": os.getpid(), "tid": threading.get_native_id()}), flush=True)
    sys.stdin.readline()


def main() -> None:
    config = Config()
    config.consume_fuel = True
    library = ffi.dll
    if hasattr(library, "wasmtime_config_async_support_set"):
        library.wasmtime_config_async_support_set(config.ptr(), True)
    if "pool" in sys.argv:
        pool = library.wasmtime_pooling_allocation_config_new()
        library.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    engine = Engine(config)
    module = Module(engine, MODULE)
    ended = Call(engine, module, "ends")
    while not ended.poll():
        pass
    ffi.wasmtime_call_future_delete(ended.future)
    calls = [
        Call(engine, module, ("waits", "deeper")[index % 2]) for index in range(int(sys.argv[1]))
    ]
    for each in calls:
        for _ in range(3):
            assert not each.poll()
    Call(engine, module, "runs").poll()


if __name__ == "__main__":
    main()
