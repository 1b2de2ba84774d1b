"""Lines of WebAssembly by the source map that a binary names and that lies beside it.

A source map has no id. It is held against the code: where it says anything of a function, each of
its places must be that of an instruction.
"""

from __future__ import annotations

import os
from bisect import bisect_left

from unspool.cursor import Cursor
from unspool.errors import FormatError
from unspool.formats.source_map import read_source_map
from unspool.formats.wasm_code import instructions
from unspool.symbols.files import map_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.cursor import Buffer
    from unspool.formats.source_map import SourceMap
    from unspool.model import Location
    from unspool.symbols.wasm.files import WasmFile

_MAX_URL, _MAX_MAP = 4096, 256 << 20


class WasmSourceMap:
    """Lines of the code of one module."""

    def __init__(self, file: WasmFile, source_map: SourceMap) -> None:
        self._file = file
        self._map = source_map
        self._fits: dict[int, bool] = {}

    def fill(self, location: Location) -> None:
        """Adds file and line."""
        number = location.wasm_function or 0
        place = self._file.function(location.wasm_module, number)
        if place is None or location.wasm_offset is None:
            return
        module, body = place
        if number not in self._fits:
            self._fits[number] = self._is_of(module.data, body)
        offset = location.wasm_offset - self._file.moved.get(location.wasm_module, 0)
        found = self._map.at(offset, body[0]) if self._fits[number] else None
        if found is not None:
            location.file, location.line = found

    def _is_of(self, data: Buffer, body: tuple[int, int]) -> bool:
        """Whether the map is of this function's code."""
        offsets = self._map.offsets
        inside = offsets[bisect_left(offsets, body[0]) : bisect_left(offsets, body[1])]
        try:
            return bool(inside) and instructions(data, *body).issuperset(inside)
        except FormatError:
            return False


def source_map_of(fitting: Sequence[WasmFile]) -> WasmSourceMap | None:
    """The lines that one of these files says where to find, if they are there."""
    for each in fitting:
        path = named_file(each, "sourceMappingURL") if len(each.modules) == 1 else None
        buffer = map_file(path) if path else None
        if buffer is None or len(buffer) > _MAX_MAP:
            continue
        try:
            return WasmSourceMap(each, read_source_map(bytes(buffer)))
        except FormatError:
            continue
    return None


def named_file(file: WasmFile, section: str) -> str | None:
    """The file beside a binary that one of its sections names by a URL."""
    try:
        cursor = Cursor(file.modules[0].bytes_of(section))
        url = cursor.take(min(cursor.uleb(), _MAX_URL)).decode("utf-8", "replace")
    except FormatError:
        return None
    name = url.rpartition("/")[2]
    path = os.path.join(os.path.dirname(file.path), name)
    return path if name and "\0" not in name and os.path.isfile(path) else None
