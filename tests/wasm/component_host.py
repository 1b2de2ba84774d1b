"""A host of a component of three modules, of which the one in the middle has no names of functions.

Run with the paths of two binaries with DWARF that take the place of the others, or with none. The
first one's function calls the host, which prints a line of
JSON and waits; then it traps, and the runtime's words for that are printed as the next line.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import wasmtime
from wasmtime import Config, Engine, Store, Trap, WasmtimeError
from wasmtime import component as model

MODULE = """(core module (import "h" "f" (func $f (param i32))) (memory (export "memory") 2)
  (func $call (export "go") (param i32) local.get 0 call $f unreachable))"""
NAMELESS = MODULE.replace("module", "module $none").replace("call $f", "call 0")
for each in ("$call ", "$f "):
    NAMELESS = NAMELESS.replace(each, "")
# Symbols have it cut.
LONG = "$" + 12 * "long_name_"
COMPONENT = f"""(component
  (import "host" (func $host (param "n" u32)))
  (core func $lower (canon lower (func $host)))
  {MODULE.replace("module", "module $first")}
  {NAMELESS}
  {MODULE.replace("module", "module $last").replace("$call", LONG)}
  (core instance $f (instantiate $first (with "h" (instance (export "f" (func $lower))))))
  (core instance $n (instantiate $none (with "h" (instance (export "f" (func $f "go"))))))
  (core instance $l (instantiate $last (with "h" (instance (export "f" (func $n "go"))))))
  (func (export "go") (param "n" u32) (canon lift (core func $l "go"))))"""
_CORE_MODULE = 1


def with_modules(binary: bytes, modules: dict[int, bytes]) -> bytes:
    """A component with other modules in place of its own, by their numbers: text has no way to
    say what bytes a module has."""
    out, number = binary[:8], 0
    for kind, body in sections(binary):
        data = body
        if kind == _CORE_MODULE:
            data = modules.get(number, body)
            number += 1
        out += bytes([kind]) + uleb(len(data)) + data
    return out


def sections(binary: bytes) -> Iterator[tuple[int, bytes]]:
    at = 8
    while at < len(binary):
        kind, size, shift, at = binary[at], 0, 0, at + 1
        while True:
            byte, at = binary[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield kind, binary[at : at + size]
        at += size


def uleb(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def main() -> None:
    binaries = [Path(path).read_bytes() for path in sys.argv[1:3]]
    binary = with_modules(
        bytes(wasmtime.wat2wasm(COMPONENT)), dict(zip((0, 2), binaries, strict=False))
    )
    engine = Engine(Config())
    linker, store = model.Linker(engine), Store(engine)

    def arrived(store: object, number: int) -> None:
        print(json.dumps({"pid": os.getpid(), "tid": threading.get_native_id()}), flush=True)
        sys.stdin.readline()

    with linker.root() as root:
        root.add_func("host", arrived)
    go = linker.instantiate(store, model.Component(engine, binary)).get_func(store, "go")
    assert go is not None
    try:
        go(store, 3)
    except (Trap, WasmtimeError) as trap:
        print(json.dumps({"text": str(trap)}), flush=True)


if __name__ == "__main__":
    main()
