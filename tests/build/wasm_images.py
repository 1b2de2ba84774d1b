"""Code images of Wasmtime's that were compiled from files of `tests.build.wasm`: each instruction
of a function is four bytes of code, and the map says where in the file it is from."""

from __future__ import annotations

from collections.abc import Sequence

from tests.build.wasm import Module
from tests.build.wasmtime import Function, Image, block_map

EACH = 4


def compiled(
    modules: Sequence[Module], starts: Sequence[Sequence[Sequence[int]]], *, names: bool = True
) -> Image:
    """The image of some modules. `starts` are for each module's functions where in the file
    their instructions begin; the modules after those of a component are the runtime's own."""
    functions, positions = [], []
    at = 0
    for number, (module, bodies) in enumerate(zip(modules, starts, strict=True)):
        first = list(module.imports).count("function")
        for index, (each, places) in enumerate(zip(module.functions, bodies, strict=True)):
            symbol = f"wasm[{number}]::function[{first + index}]::{each.name or ''}"
            functions.append(Function(symbol, at, EACH * len(places)))
            for place in places:
                positions.append((at, place))
                at += EACH
    data = b"".join((each.name or "").encode() for module in modules for each in module.functions)
    return Image(
        functions, bytes(max(at, 64)), address_map=block_map(positions),
        names=data if names else b"", e_flags=1 if len(modules) == 1 else 2,
    )  # fmt: skip
