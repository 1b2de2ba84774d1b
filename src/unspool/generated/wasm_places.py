"""Where in a WebAssembly binary frames are from, and which binary that is.

A report leaves the machine without names, and its code is in no file that has an id. What is
known of the binary are the image's own tables: how many functions it has, a hash of their names,
and which instruction of which function some of the code is from. Whoever has the binary can hold
that against it, see `symbols.wasm.files` and docs/decisions/0033.
"""

from __future__ import annotations

from unspool.errors import FormatError
from unspool.formats.wasmtime import EF_MODULE, WASM
from unspool.generated.wasm_names import module_names
from unspool.generated.wasmtime import WasmCode
from unspool.memory import Fault
from unspool.model import Location, WasmIdentity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from unspool.formats.wasmtime import Function
    from unspool.generated.code import GeneratedCode

    Point = tuple[int, int, int]

# Functions that are looked at, spread over all, and places in all of them together.
_FUNCTIONS, _PLACES = 16, 96
_MAX_MODULES = 1000
_MAX_NAMES = 8 << 20


def add_places(locations: dict[int, Location], pcs: Iterable[int], code: GeneratedCode) -> None:
    """Adds the place of WebAssembly code at these look-up pcs to what is known of them.

    Their modules are told which binary that is.
    """
    known: dict[int, _Positions] = {}
    for pc in pcs:
        found = code.at(pc)
        if found is None or not isinstance(found.runtime, WasmCode):
            continue
        function = found.runtime.function_at(pc)
        if function is None or function.kind != WASM or function.index is None:
            continue
        location = locations.setdefault(pc, Location(found.module.index))
        location.wasm_module, location.wasm_function = function.module or 0, function.index
        positions = known.get(found.module.base)
        if positions is None:
            positions = known[found.module.base] = _Positions(found.runtime)
            if found.module.wasm is None:
                found.module.wasm = identity(found.runtime)
        if location.wasm_offset is None:
            location.wasm_offset = positions.at(pc)


def identity(code: WasmCode) -> WasmIdentity | None:
    """What is known of the binary of an image; None if it has no WebAssembly functions."""
    functions = [each for each in code.functions.all if each.kind == WASM]
    modules = 1 + max((each.module or 0 for each in functions), default=-1)
    if not 0 < modules <= _MAX_MODULES:
        return None
    counts = [0] * modules
    for each in functions:
        counts[each.module or 0] += 1
    functions.sort(key=_place)
    points = _points(_Positions(code), _spread(functions))
    return WasmIdentity(counts, _names(code), _in_order(points), module_names(code))


def _names(code: WasmCode) -> str | None:
    """A hash of the functions' names. Components have such of modules that no file has."""
    _, size = code.image.sections.get(".name.wasm", (0, 0))
    if not 0 < size <= _MAX_NAMES or not code.image.flags & EF_MODULE:
        return None
    from hashlib import sha256

    try:
        return sha256(code.section(".name.wasm")).hexdigest()
    except (FormatError, Fault):
        return None


def _spread(functions: Sequence[Function]) -> list[Function]:
    """Some of the functions, the first and the last among them: what is put in or taken out
    between two of them moves all that follow."""
    last = len(functions) - 1
    if last < _FUNCTIONS:
        return list(functions)
    return [functions[last * index // (_FUNCTIONS - 1)] for index in range(_FUNCTIONS)]


def _points(positions: _Positions, functions: Sequence[Function]) -> Iterator[Point]:
    tries = _PLACES // len(functions)
    for each in functions:
        start = positions.code.text_start + each.start
        # Places that are spread over its code, and its last byte.
        steps = {each.size * step // tries for step in range(1, tries)} | {each.size - 1}
        found = {positions.at(start + step) for step in steps}
        for position in sorted(place for place in found if place is not None):
            yield each.module or 0, each.index or 0, position


def _in_order(points: Iterable[Point]) -> list[Point]:
    """The points as far as later functions lie later in the binary.

    Of components the last modules are ones that the runtime has made itself, to adapt others:
    their offsets are those of binaries that nobody has.
    """
    found: list[Point] = []
    for point in points:
        if found and point[2] <= found[-1][2]:
            break
        found.append(point)
    return found


class _Positions:
    """Positions by the address map of an image; one that cannot be read is not read again."""

    def __init__(self, code: WasmCode) -> None:
        self.code = code
        self._is_broken = False

    def at(self, address: int) -> int | None:
        if self._is_broken:
            return None
        try:
            return self.code.position(address)
        except (FormatError, Fault):
            self._is_broken = True
            return None


def _place(function: Function) -> tuple[int, int]:
    return function.module or 0, function.index or 0
