"""WebAssembly files for a report that came from elsewhere: found, held against what the report
knows of the binary, and never believed for their name.

A runtime keeps no id of the binary that it compiled. What a report has of it are the number of
functions, a hash of their names, and some dozens of places that instructions were compiled from,
those of its frames among them (`generated.wasm_places`). A file of another build has other
instructions at these places, or none. See docs/decisions/0033.
"""

from __future__ import annotations

import os

from unspool.errors import FormatError
from unspool.formats import wasm_file
from unspool.formats.wasm_code import instructions
from unspool.symbols.files import SymbolPaths, map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from unspool.formats.wasm_file import WasmModule
    from unspool.model import Module, WasmIdentity

    Point = tuple[int, int, int]

# So many different instructions in the right places prove a file; more if all of them are moved
# by the same number of bytes, which could be any. By chance, a place is the beginning of an
# instruction in one case of two. The same names of all functions count for some.
_PROOF, _PROOF_IF_MOVED, _BY_NAMES = 16, 24, 8
# Bytes of functions that are gone through for one file.
_MOST_CODE = 16 << 20
_MOST_PROBLEMS = 5
# Debug information of these sections alone is read.
_DWARF = ".debug_"


class WasmFile:
    """A file that fits. `proved`: its places prove it, and not its functions' names alone.

    `moved` is for each module how much later its code is in the binary that was compiled.
    """

    def __init__(
        self, path: str, modules: Sequence[WasmModule], moved: Mapping[int, int], proved: bool
    ) -> None:
        self.path = path
        self.modules = modules
        self.moved = moved
        self.proved = proved

    def function(self, module: int, number: int) -> tuple[WasmModule, tuple[int, int]] | None:
        """The module that a function is in, and where its body is."""
        if not 0 <= module < len(self.modules):
            return None
        body = self.modules[module].body(number)
        return None if body is None else (self.modules[module], body)


def debug_sections(module: WasmModule) -> dict[str, bytes]:
    """The sections of a module with debug information."""
    return {name: module.bytes_of(name) for name in module.custom if name.startswith(_DWARF)}


def open_modules(path: str) -> list[WasmModule] | None:
    """The modules of a WebAssembly file; None if it is none that can be read."""
    buffer = map_file(path)
    try:
        if buffer is not None and wasm_file.is_wasm(buffer):
            return wasm_file.read_modules(buffer)
    except FormatError:
        pass
    return None


class WasmFiles:
    """Finds the files that modules of a report were compiled from."""

    def __init__(self, symbols: SymbolPaths | Sequence[str]) -> None:
        self.symbols = symbols if isinstance(symbols, SymbolPaths) else SymbolPaths(symbols)
        self._opened: dict[str, list[WasmModule] | None] = {}
        self._refused: dict[str, str] = {}
        self._taken: set[str] = set()

    @property
    def problems(self) -> list[tuple[str, str]]:
        """Files that fit none and why, of those that were given, that have the name of a module
        without a file, or that lack proof alone."""
        problems = [each for each in self._refused.items() if each[0] not in self._taken]
        return problems[:_MOST_PROBLEMS]

    def find(self, module: Module, places: Iterable[Point]) -> list[WasmFile]:
        """The files that fit a module of the report with frames in these places.

        A file that was given by its own path is preferred, and need not be proved.
        """
        identity = module.wasm
        if identity is None:
            return []
        points = {*places, *identity.points}
        refused = {}
        given = [path for path in self.symbols.paths if os.path.isfile(path)]
        for explicit, paths in ((True, given), (False, self.symbols.wasm_files())):
            found = []
            for path in paths:
                if not explicit and path in given:
                    continue
                try:
                    fitting = self._fitting(path, identity, points, explicit)
                except Unfit as why:
                    named = os.path.basename(path) == module.name
                    if explicit or named or isinstance(why, Unproved):
                        refused[path] = f"{why.verdict}: {why}"
                    continue
                if fitting is not None:
                    found.append(fitting)
                    self._taken.add(path)
            if found:
                return found
        self._refused |= refused
        return []

    def _fitting(
        self, path: str, identity: WasmIdentity, points: set[Point], explicit: bool
    ) -> WasmFile | None:
        """The file if it is what was compiled, None if it is no such file. Raises `Unfit`."""
        if path not in self._opened:
            self._opened[path] = open_modules(path)
        modules = self._opened[path]
        if modules is None:
            return None
        counts = [len(module.bodies) for module in modules]
        if not any(counts):
            return None  # debug information alone
        known = list(identity.functions)
        if wasm_file.is_component(modules[0].data):
            # The runtime has modules that it made itself, behind those of the file.
            known = known[: len(counts)]
        if counts != known:
            raise Unfit(f"it has {_functions(counts)}, not {_functions(known)}")
        if identity.names is not None and names_hash(modules) != identity.names:
            is_stripped = not any(module.names for module in modules)
            other = "no names, and what was compiled had some" if is_stripped else "other names"
            raise Unfit(f"its functions have {other}")
        moved = moved_code(modules, points)
        enough = _PROOF_IF_MOVED if any(moved.values()) else _PROOF
        evidence = sum(point[0] in moved for point in points)
        evidence += 0 if identity.names is None else _BY_NAMES
        proved = explicit or evidence >= enough
        if not proved and identity.names is None:
            raise Unproved("it has too little code to be told from others; give it by its own path")
        return WasmFile(path, modules, moved, proved)


class Unfit(Exception):
    """Why a file is not what was compiled, in words."""

    verdict = "is not what the code was compiled from"


class Unproved(Unfit):
    """Why a file that fits is not believed."""

    verdict = "may be what the code was compiled from"


def names_hash(modules: Sequence[WasmModule]) -> str:
    """The names of all functions as `WasmIdentity.names` has them."""
    from hashlib import sha256

    made = sha256()
    for module in modules:
        made.update(b"".join(module.names[number] for number in sorted(module.names)))
    return made.hexdigest()


def moved_code(modules: Sequence[WasmModule], points: Iterable[Point]) -> dict[int, int]:
    """How much later each module's code is in the binary that has these points.

    Situation: what is not needed was taken out of the binary that runs, and the numbers before
    its code are written with more or fewer bytes since; the code is the same (llvm-strip).
    Raises `Unfit` if there is no distance with which an instruction is at each point.
    """
    wanted: dict[int, dict[int, list[int]]] = {}
    for number, function, offset in points:
        if number < len(modules):
            wanted.setdefault(number, {}).setdefault(function, []).append(offset)
    room = _MOST_CODE
    moved = {}
    for number, functions in sorted(wanted.items()):
        module = modules[number]
        bodies = []
        for function, offsets in functions.items():
            body = module.body(function)
            if body is None:
                raise Unfit(f"there is no code of function {function} in it")
            bodies.append((body[1] - body[0], body, function, offsets))
        possible: set[int] | None = None
        for size, body, function, offsets in sorted(bodies):
            room -= size
            if room < 0:
                break
            possible = _distances(module, body, offsets, possible)
            if not possible:
                raise Unfit(f"function {function} has other code in it")
        if possible is None or (len(possible) > 1 and 0 not in possible):
            raise Unfit("it has too little code to be told from others")
        moved[number] = 0 if 0 in possible else min(possible)
    return moved


def _distances(
    module: WasmModule, body: tuple[int, int], offsets: Sequence[int], possible: set[int] | None
) -> set[int]:
    """Those of the possible distances by which each offset is that of an instruction."""
    try:
        starts = instructions(module.data, *body)
    except FormatError as error:
        raise Unfit(f"its code cannot be read: {error}") from None
    for offset in offsets:
        if possible is None:
            possible = {offset - start for start in starts}
        else:
            possible = {each for each in possible if offset - each in starts}
    return possible or set()


def _functions(counts: Sequence[int]) -> str:
    if len(counts) < 2:
        return f"{counts[0]} functions" if counts and counts[0] != 1 else "1 function"
    text = ", ".join(map(str, counts[:8])) + (", …" if len(counts) > 8 else "")
    return f"modules of {text} functions"
