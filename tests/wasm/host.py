"""A host of WebAssembly that is inspected from outside: run with the `wasmtime` to test in
PYTHONPATH, and told on standard input what to do.

For each command it gets as deep as it is told, prints one line of JSON, and waits for an empty
line there: {"pid", "tid", "frames": the runtime's own backtrace of that very moment, as [function,
position in the module]}. The runtime gives one for a trap alone: a call of `trap`, a Wasm function
that does nothing else, makes it, and its own frame is left out.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading

import wasmtime
from wasmtime import Config, Engine, Func, FuncType, Instance, Module, Store, Trap, ValType

CALLS = """(module $demo
  (import "host" "back" (func $back (param i32)))
  (import "other" "through" (func $through (param i32)))
  (memory 64)
  (func $inner (param i32) local.get 0 call $back)
  (func $go (export "go") (param i32) nop local.get 0 call $inner nop)
  (func $deep (export "deep") (param i32)
    local.get 0 i32.eqz
    if i32.const 0 call $back
    else local.get 0 i32.const 1 i32.sub call $deep end)
  (func (export "unnamed") (param i32) local.get 0 call $back)
  (func $across (export "across") (param i32) local.get 0 call $through)
  (func (@name "_ZN4core3fmt5write17h0123456789abcdefE and a name that is much longer than what \
fits into a symbol of an image, é included") (export "long") (param i32) local.get 0 call $back)
  (func $leaf (param i32) (result i32) local.get 0 i32.const 3 i32.mul)
  (func $middle (param i32) (result i32) local.get 0 call $leaf i32.const 1 i32.add)
  (func $spin (export "spin") (param i32)
    (local $n i32)
    loop $again
      local.get $n call $middle local.set $n
      local.get 0 br_if $again
    end)
  (func $fill (export "fill") (param i32)
    loop $again
      i32.const 0 local.get 0 i32.const 0x400000 memory.fill
      local.get 0 br_if $again
    end)
  (func $grow (export "grow") (param i32)
    loop $again
      i32.const 0 memory.grow drop
      local.get 0 br_if $again
    end)
  (func $fault (export "fault") (param i32) local.get 0 i32.load drop)
  (func $trap (export "trap") unreachable))"""

OTHER = """(module
  (import "host" "back" (func $back (param i32)))
  (func $through (export "through") (param i32) local.get 0 call $back))"""

TAIL = """(module $tail
  (import "host" "back" (func $back (param i32)))
  (func $empty (export "empty") (param i32) local.get 0 return_call $back)
  (func $half (export "half") (param i32) local.get 0 call $empty))"""


class Host:
    """One store with its instances. `back` is what Wasm code calls."""

    def __init__(self, engine: Engine, modules: dict[str, Module]) -> None:
        self.store = Store(engine)
        self.exports: dict[str, Func] = {}
        self.depth = 0
        self.name = ""
        self.arrived = lambda: None
        back = Func(self.store, FuncType([ValType.i32()], []), self.back)
        through = Instance(self.store, modules["other"], [back]).exports(self.store)["through"]
        for name in ("calls", "tail"):
            if name in modules:
                imports = [back, through] if name == "calls" else [back]
                found = Instance(self.store, modules[name], imports).exports(self.store)
                for export in modules[name].exports:
                    self.exports[export.name] = found[export.name]

    def call(self, name: str, argument: int) -> None:
        self.exports[name](self.store, argument)

    def back(self, argument: int) -> None:
        if self.depth > 1:
            self.depth -= 1
            self.call(self.name, argument)
        else:
            self.arrived()

    def backtrace(self) -> list[list[object]]:
        try:
            self.exports["trap"](self.store)
        except Trap as trap:
            return [[frame.func_name, frame.module_offset] for frame in trap.frames][1:]
        raise AssertionError("no trap")

    def backtrace_text(self) -> str:
        try:
            self.exports["trap"](self.store)
        except Trap as trap:
            return str(trap)
        raise AssertionError("no trap")

    def levels(self, name: str, depth: int, argument: int = 0) -> None:
        """Wasm code that calls the host, which calls Wasm code: that many times."""
        self.depth, self.name = depth, name
        self.call(name, argument)


def say(**values: object) -> None:
    known = {"pid": os.getpid(), "tid": threading.get_native_id(), **values}
    print(json.dumps(known), flush=True)


def wait() -> None:
    sys.stdin.readline()


def config_of(names: list[str]) -> Config:
    config = Config()
    # Old versions of the Python package have no names for these.
    pointer = config.ptr() if hasattr(config, "ptr") else config._ptr
    setters = wasmtime._ffi.dll
    # 200 levels with Python in between take more than the usual half of a megabyte.
    if hasattr(setters, "wasmtime_config_async_stack_size_set"):  # must be larger
        setters.wasmtime_config_async_stack_size_set(pointer, ctypes.c_uint64(8 << 20))
    setters.wasmtime_config_max_wasm_stack_set(pointer, ctypes.c_size_t(6 << 20))
    for name in names:
        if name == "bare":  # without unwind tables
            setters.wasmtime_config_native_unwind_info_set(pointer, False)
        else:
            setattr(config, name, True)
    return config


def main() -> None:
    sys.setrecursionlimit(100_000)
    names = sys.argv[1:]
    tail = "wasm_tail_call" in names
    engine = Engine(config_of(names))
    modules = {"calls": Module(engine, CALLS), "other": Module(engine, OTHER)}
    if tail:
        modules["tail"] = Module(engine, TAIL)
    host = Host(engine, modules)

    def arrived() -> None:
        say(frames=host.backtrace())
        wait()

    host.arrived = arrived
    say()
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        if words[0] == "threads":
            threads(engine, modules, int(words[1]))
        elif words[0] == "run":
            say()
            host.call(words[1], 1)
        elif words[0] == "handler":
            # A signal handler that waits: it runs on top of whatever the thread executes.
            libc = ctypes.CDLL(None)
            libc.signal(signal.SIGUSR1, ctypes.cast(libc.pause, ctypes.c_void_p))
            say()
        elif words[0] == "component":
            component(engine)
        elif words[0] == "load":
            load(Host(engine, modules), Module.from_file(engine, words[1]))
        elif words[0] == "file":
            with open(words[1], "wb") as file:
                file.write(modules["calls"].serialize())
            modules["calls"] = Module.deserialize_file(engine, words[1])
            host = Host(engine, modules)
            host.arrived = arrived
            say()
        elif words[0] == "trap":
            say()
            try:
                host.exports[words[1]](host.store, *map(int, words[2:]))
            except Trap as trap:
                say(frames=[[frame.func_name, frame.module_offset] for frame in trap.frames])
        else:
            host.levels(words[0], int(words[1]), int(words[2]) if len(words) > 2 else 0)


def load(host: Host, module: Module) -> None:
    """Runs a binary of its own, and says the backtrace in the runtime's words."""

    def arrived() -> None:
        say(text=host.backtrace_text())
        wait()

    host.arrived = arrived
    imports = [Func(host.store, FuncType([ValType.i32()], []), host.back)]
    Instance(host.store, module, imports).exports(host.store)["go"](host.store, 3)


COMPONENT = """(component
  (import "host" (func $host (param "n" u32)))
  (core func $lower (canon lower (func $host)))
  (core module $m
    (import "" "h" (func $h (param i32)))
    (func $inner (param i32) local.get 0 call $h)
    (func (export "go") (param i32) local.get 0 call $inner))
  (core instance $i (instantiate $m (with "" (instance (export "h" (func $lower))))))
  (func (export "go") (param "n" u32) (canon lift (core func $i "go"))))"""


def component(engine: Engine) -> None:
    """The same by way of the component model, whose trampolines are others."""
    from wasmtime import component as model

    def arrived(store: object, number: int) -> None:
        say()
        wait()

    linker, store = model.Linker(engine), Store(engine)
    with linker.root() as root:
        root.add_func("host", arrived)
    instance = linker.instantiate(store, model.Component(engine, COMPONENT))
    go = instance.get_func(store, "go")
    assert go is not None
    go(store, 3)


def threads(engine: Engine, modules: dict[str, Module], count: int) -> None:
    """That many threads, each in an instance of its own, each one level deeper than the last."""
    ready, done = threading.Semaphore(0), threading.Event()
    found: dict[int, list[list[object]]] = {}

    def run(depth: int) -> None:
        host = Host(engine, modules)

        def arrived() -> None:
            found[threading.get_native_id()] = host.backtrace()
            ready.release()
            done.wait()

        host.arrived = arrived
        host.levels("go", depth)

    started = [threading.Thread(target=run, args=(index + 1,)) for index in range(count)]
    for each in started:
        each.start()
    for _ in started:
        ready.acquire()
    say(threads=found)
    wait()
    done.set()
    for each in started:
        each.join()


if __name__ == "__main__":
    main()
