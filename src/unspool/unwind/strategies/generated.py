"""What a stepper needs for code that a program has made: a strategy for each of its runtimes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.generated.code import GeneratedCode
    from unspool.unwind.step import Stepper


def add_generated(stepper: Stepper, code: GeneratedCode) -> None:
    """Registers the strategies for the runtimes whose code was found."""
    runtimes = {each.runtime.kind for each in code.modules if each.runtime is not None}
    if "wasmtime" in runtimes:
        from unspool.unwind.strategies.wasm import add_wasm

        add_wasm(stepper, code)
    if "hotspot" in runtimes:
        from unspool.unwind.strategies.hotspot import add_hotspot

        add_hotspot(stepper, code)
    if any(namer.kind == "v8" for namer in code.namers):
        from unspool.unwind.strategies.v8 import add_v8

        add_v8(stepper, code)
    from unspool.unwind.strategies.near_cfi import add_near_cfi

    add_near_cfi(stepper)
